//! Runs a history from its seed.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    rc::Rc,
    time::{Duration, Instant},
};

use actix::MailboxError;
use actix_rt::{
    task::JoinHandle,
    time::{sleep, timeout},
};
use actix_statsig::{
    CallKind, CheckGates, ConfigEvaluation, Error, GateEvaluation, GetConfigs, Statsig,
    test_util::{FAILPOINTS, panic_at},
};
use fastrand::Rng;

use crate::{
    fate::{Given, Weather, read},
    model::{Model, Told},
    plan::{Plan, Question, Step, Through, people},
    support::{Script, settle, virtual_time},
};

/// The result of a history.
pub(crate) struct Lived {
    pub(crate) violations: Vec<String>,
    pub(crate) trace: Vec<String>,
    pub(crate) tally: BTreeMap<&'static str, u64>,
    pub(crate) restarts: u64,
    pub(crate) transports: usize,
}

/// The virtual-time limit; a history that exceeds it hangs.
const LONGEST_HISTORY: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Longer than any request, and than any call that outlives its callers.
const LONG_ENOUGH: Duration = Duration::from_secs(60);

pub(crate) fn live(seed: u64) -> Lived {
    virtual_time(async move {
        let mut rng = Rng::with_seed(seed);
        let plan = Plan::draw(&mut rng, people().len());
        let weather = Weather::draw(&mut rng);
        let model = Model::new(plan.settings, people(), weather, rng.fork());
        let model = Rc::new(RefCell::new(model));
        let life = Life::begin(&plan, Rc::clone(&model));
        let lived = timeout(LONGEST_HISTORY, life.through(plan.steps, rng)).await;
        let mut model = model.borrow_mut();
        let (restarts, transports) = lived.unwrap_or_else(|_| {
            model.violation(format_args!("the history does not end"));
            (0, 0)
        });
        Lived {
            violations: std::mem::take(&mut model.violations),
            trace: std::mem::take(&mut model.trace),
            tally: model.tally().collect(),
            restarts,
            transports,
        }
    })
}

struct Life {
    statsig: Statsig,
    script: Script,
    model: Rc<RefCell<Model>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Life {
    fn begin(plan: &Plan, model: Rc<RefCell<Model>>) -> Self {
        disarm();
        let calls = Rc::clone(&model);
        let script = Script::new(move |call| calls.borrow_mut().called(call, now()));
        let statsig = script.start(plan.settings.config());
        Self { statsig, script, model, tasks: Vec::new() }
    }

    async fn through(mut self, steps: Vec<(Duration, Step)>, mut rng: Rng) -> (u64, usize) {
        let mut is_shut_down = false;
        for (gap, step) in steps {
            if !gap.is_zero() {
                sleep(gap).await;
            }
            is_shut_down |= matches!(step, Step::ShutDown { .. });
            self.take(step).await;
        }
        let restarts;
        if is_shut_down || rng.bool() {
            self.quiet().await;
            restarts = self.statsig.stats().restarts;
        } else {
            restarts = 0;
        }
        if is_shut_down {
            self.expect_end("the shutdown").await;
        }
        let Self { statsig, script, model, tasks } = self;
        drop(statsig);
        let this = (script, model);
        for task in tasks {
            finished(&this.1, task).await;
        }
        sleep(LONG_ENOUGH).await;
        settle().await;
        if this.0.alive() > 0 {
            this.1.borrow_mut().violation(format_args!("the transport outlives every handle"));
        }
        (restarts, this.0.started())
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Ask(question) => self.ask(question),
            Step::Flush { stays } => {
                let statsig = self.statsig.clone();
                let flush = async move { drop(statsig.flush().await) };
                if stays {
                    self.tasks.push(actix_rt::spawn(flush));
                } else {
                    drop(timeout(Duration::ZERO, flush).await);
                }
            }
            Step::Panic { failpoint, times } => {
                self.model.borrow_mut().armed(failpoint, times);
                panic_at(failpoint, times);
            }
            Step::Weather(weather) => self.model.borrow_mut().weather = weather,
            Step::Look => {
                settle().await;
                self.model.borrow_mut().look();
            }
            Step::Quiet => self.quiet().await,
            Step::ShutDown { limit } => self.shut_down(limit),
        }
    }

    fn ask(&mut self, question: Question) {
        let (id, lane) = self.model.borrow_mut().asked(&question, now());
        let user = self.model.borrow().user(lane.who);
        let json = user.to_json();
        let Question { names, exposure, bypass_cache, through, patience, .. } = question;
        let asked = names.clone();
        let model = Rc::clone(&self.model);
        // `send` sends a message when it is called; a handle sends one when its future is polled.
        macro_rules! ask {
            ($message:ident, $evaluation:ident) => {{
                let message = $message::new(user, names);
                let message = match exposure {
                    None => message,
                    Some(true) => message.with_exposure(),
                    Some(false) => message.without_exposure(),
                };
                let message = if bypass_cache { message.bypass_cache() } else { message };
                let read =
                    move |answer: Vec<$evaluation>| read(&answer, &json, &asked, lane.exposure);
                let caller = Caller { id, patience, model };
                match through {
                    Through::Nobody => return self.statsig.addr().do_send(message),
                    Through::Address => {
                        let answer = self.statsig.addr().send(message);
                        actix_rt::spawn(caller.wait(answer, read))
                    }
                    Through::Handle => {
                        let statsig = self.statsig.clone();
                        let answer = async move { Ok(statsig.ask(message).await) };
                        actix_rt::spawn(caller.wait(answer, read))
                    }
                }
            }};
        }
        let task = match lane.kind {
            CallKind::CheckGate => ask!(CheckGates, GateEvaluation),
            CallKind::GetConfig => ask!(GetConfigs, ConfigEvaluation),
            other => unreachable!("{other:?}"),
        };
        self.tasks.push(task);
    }

    fn shut_down(&mut self, limit: Duration) {
        let shutdown = self.model.borrow_mut().shutdown_began(limit, now());
        let (statsig, model) = (self.statsig.clone(), Rc::clone(&self.model));
        self.tasks.push(actix_rt::spawn(async move {
            let report = statsig.shutdown(limit).await;
            model.borrow_mut().shut_down(shutdown, report, now());
        }));
    }

    async fn quiet(&mut self) {
        for task in self.tasks.drain(..) {
            finished(&self.model, task).await;
        }
        sleep(LONG_ENOUGH).await;
        settle().await;
        disarm();
        self.model.borrow_mut().quiet(&self.statsig.stats());
    }

    async fn expect_end(&mut self, of: &str) {
        settle().await;
        if self.script.alive() > 0 {
            self.model.borrow_mut().violation(format_args!("the transport outlives {of}"));
        }
        let again = self.model.borrow_mut().shutdown_began(Duration::ZERO, now());
        let report = self.statsig.shutdown(Duration::ZERO).await;
        self.model.borrow_mut().shut_down(again, report, now());
    }
}

struct Caller {
    id: usize,
    patience: Option<Duration>,
    model: Rc<RefCell<Model>>,
}

impl Caller {
    async fn wait<E>(
        self,
        answer: impl Future<Output = Result<Result<Vec<E>, Error>, MailboxError>>,
        read: impl FnOnce(Vec<E>) -> Result<Vec<Given>, String>,
    ) {
        let answer = timeout(self.patience.unwrap_or(Duration::MAX), answer).await;
        let told = match answer {
            Err(_) => return self.model.borrow_mut().left(self.id, now()),
            Ok(Err(_)) => Told::MailboxClosed,
            Ok(Ok(Err(error))) => Told::Failed(error),
            Ok(Ok(Ok(answer))) => read(answer).map_or_else(Told::Wrong, Told::Right),
        };
        self.model.borrow_mut().told(self.id, &told, now());
    }
}

async fn finished(model: &RefCell<Model>, task: JoinHandle<()>) {
    if let Err(error) = task.await {
        model.borrow_mut().violation(format_args!("a caller's task broke: {error}"));
    }
}

fn disarm() {
    for failpoint in FAILPOINTS {
        panic_at(failpoint, 0);
    }
}

#[allow(clippy::disallowed_methods, reason = "virtual, as the component's clock is")]
fn now() -> Instant {
    actix_rt::time::Instant::now().into_std()
}

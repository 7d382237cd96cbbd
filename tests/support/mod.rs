//! Set-up that the tests share: virtual time and a scripted transport.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

pub mod faulty_proxy;
pub mod hostile;
pub mod http_proxy;
pub mod log;
pub mod own_process;
pub mod process;
#[cfg(feature = "test-util")]
pub mod properties;
pub mod served;
pub mod tls_server;
pub mod trace;
pub mod upstream;

use std::{
    cell::{Cell, Ref, RefCell},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use actix::{Actor, ActorContext, Context, Handler, Recipient, System};
use actix_rt::time::{Instant, sleep, sleep_until, timeout};
#[cfg(feature = "test-util")]
use actix_statsig::test_util::{LocalStatsig, Rules};
use actix_statsig::{
    CallKind, Config, ConfigBuilder, ConfigEvaluation, Error, Evaluation, FlushPolicy,
    GateEvaluation, Statsig, User,
    transport::{Call, CallRequest, Outcome},
};
use serde_json::json;
use tokio::runtime::{Builder, Runtime};

/// Runs a test in a `System` whose clock advances only while every task waits for it.
pub fn virtual_time<F: Future>(test: F) -> F::Output {
    virtual_time_on(paused(), test)
}

pub fn virtual_time_on<F: Future>(mut runtime: Builder, test: F) -> F::Output {
    let runtime = move || -> Runtime { runtime.build().expect("a runtime") };
    System::with_tokio_rt(runtime).block_on(test)
}

pub fn paused() -> Builder {
    let mut builder = Builder::new_current_thread();
    builder.enable_all().start_paused(true);
    builder
}

/// A configuration without a cache, so that repeated requests reach the transport.
pub fn config() -> ConfigBuilder {
    Config::builder("secret-key").cache_ttl(Duration::ZERO)
}

/// The same with timeouts that even a busy machine meets.
pub fn patient() -> ConfigBuilder {
    config().timeout(Duration::from_secs(30)).attempt_timeout(Duration::from_secs(10))
}

/// Starts the component on this arbiter.
pub fn start_here(config: ConfigBuilder) -> Statsig {
    Statsig::start_in_current_arbiter(config.build().expect("a valid configuration"))
        .expect("a running arbiter")
}

/// Starts the component on this arbiter, with this server in place of Statsig.
#[cfg(feature = "test-util")]
pub fn start(server: &LocalStatsig, config: ConfigBuilder) -> Statsig {
    start_here(config.base_url(server.url()))
}

/// A server with one gate, `open`.
#[cfg(feature = "test-util")]
pub fn open_server() -> LocalStatsig {
    LocalStatsig::start(Rules::new().gate("open", true)).expect("a free port")
}

/// A flush policy, with or without a cache. The guarantees hold for each variant.
#[derive(Clone, Copy, Debug)]
pub struct Variant {
    pub policy: FlushPolicy,
    pub is_caching: bool,
}

impl Variant {
    pub const ALL: [Self; 4] = [
        Self { policy: FlushPolicy::Interval, is_caching: false },
        Self { policy: FlushPolicy::Interval, is_caching: true },
        Self { policy: FlushPolicy::Adaptive, is_caching: false },
        Self { policy: FlushPolicy::Adaptive, is_caching: true },
    ];

    /// The configuration for this variant, with `cache_ttl` if it caches.
    pub fn of(self, config: ConfigBuilder, cache_ttl: Duration) -> ConfigBuilder {
        let cache_ttl = if self.is_caching { cache_ttl } else { Duration::ZERO };
        config.flush_policy(self.policy).cache_ttl(cache_ttl)
    }
}

/// Runs a test in virtual time with each variant. A caching variant keeps answers for longer than
/// the test takes.
#[allow(clippy::print_stdout, reason = "shown if it fails")]
pub fn with_each_variant<F: Future<Output = ()>>(test: impl Fn(ConfigBuilder) -> F) {
    for variant in Variant::ALL {
        println!("{variant:?}");
        virtual_time(test(variant.of(config(), Duration::from_secs(24 * 60 * 60))));
    }
}

pub fn user(id: impl ToString) -> User {
    User::new(id.to_string()).expect("a user id")
}

/// What a [`Scripted`] transport does with a call.
pub enum Reaction {
    Answer,
    AnswerAfter(Duration),
    Reply(Outcome),
    ReplyAfter(Duration, Outcome),
    /// Times out at the call's deadline.
    TimeOut,
    /// Holds the call until [`Script::release`].
    Hold,
    /// Drops the call without an answer.
    Lose,
    LoseAfter(Duration),
    Panic,
    /// Drops the call without an answer, and stops the transport.
    Stop,
}

type React = Box<dyn FnMut(&CallRequest) -> Reaction>;

/// Tells a [`Scripted`] transport how to react, and records its calls.
#[derive(Clone)]
pub struct Script(Rc<Inner>);

struct Inner {
    react: RefCell<React>,
    calls: RefCell<Vec<CallRequest>>,
    held: RefCell<Vec<Call>>,
    started: Cell<usize>,
    alive: Cell<usize>,
}

impl Script {
    pub fn new(react: impl FnMut(&CallRequest) -> Reaction + 'static) -> Self {
        Self(Rc::new(Inner {
            react: RefCell::new(Box::new(react)),
            calls: RefCell::default(),
            held: RefCell::default(),
            started: Cell::default(),
            alive: Cell::default(),
        }))
    }

    pub fn answering() -> Self {
        Self::new(|_| Reaction::Answer)
    }

    /// Starts the component on this arbiter with a transport that follows the script.
    pub fn start(&self, config: ConfigBuilder) -> Statsig {
        let script = self.clone();
        let factory = move || Ok::<Recipient<Call>, Error>(script.transport());
        Statsig::builder(config.build().expect("a valid configuration"))
            .transport(factory)
            .start_in_current_arbiter()
            .expect("a running arbiter")
    }

    pub fn transport(&self) -> Recipient<Call> {
        self.0.started.set(self.0.started.get() + 1);
        Scripted(self.clone()).start().recipient()
    }

    /// The number of transports started so far.
    pub fn started(&self) -> usize {
        self.0.started.get()
    }

    /// The number of transports still alive.
    pub fn alive(&self) -> usize {
        self.0.alive.get()
    }

    pub fn calls(&self) -> Ref<'_, Vec<CallRequest>> {
        self.0.calls.borrow()
    }

    /// The names of each call, in the order of the calls.
    pub fn names(&self) -> Vec<Vec<String>> {
        let names = |call: &CallRequest| call.names.iter().map(ToString::to_string).collect();
        self.calls().iter().map(names).collect()
    }

    /// Answers the calls held so far.
    pub fn release(&self) {
        for call in self.0.held.take() {
            let outcome = answer(call.request());
            call.complete(outcome);
        }
    }
}

/// A transport that follows a [`Script`] instead of using HTTP.
struct Scripted(Script);

impl Actor for Scripted {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Context<Self>) {
        let alive = &self.0.0.alive;
        alive.set(alive.get() + 1);
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        let alive = &self.0.0.alive;
        alive.set(alive.get() - 1);
    }
}

impl Handler<Call> for Scripted {
    type Result = ();

    fn handle(&mut self, call: Call, ctx: &mut Context<Self>) {
        let script = &self.0.0;
        script.calls.borrow_mut().push(call.request().clone());
        let reaction = (script.react.borrow_mut())(call.request());
        match reaction {
            Reaction::Answer => {
                let outcome = answer(call.request());
                call.complete(outcome);
            }
            Reaction::AnswerAfter(delay) => {
                actix_rt::spawn(async move {
                    sleep(delay).await;
                    let outcome = answer(call.request());
                    call.complete(outcome);
                });
            }
            Reaction::Reply(outcome) => call.complete(outcome),
            Reaction::ReplyAfter(delay, outcome) => {
                actix_rt::spawn(async move {
                    sleep(delay).await;
                    call.complete(outcome);
                });
            }
            Reaction::TimeOut => {
                let deadline = call.request().deadline;
                actix_rt::spawn(async move {
                    sleep_until(deadline.into()).await;
                    call.complete(Err(Error::timeout(Duration::ZERO, None)));
                });
            }
            Reaction::Hold => script.held.borrow_mut().push(call),
            Reaction::Lose => drop(call),
            Reaction::LoseAfter(delay) => {
                actix_rt::spawn(async move {
                    sleep(delay).await;
                    drop(call);
                });
            }
            Reaction::Panic => panic!("the script says so"),
            Reaction::Stop => ctx.stop(),
        }
    }
}

/// Answers that show which user they belong to: see [`gate`] and [`homepage`].
pub fn answer(call: &CallRequest) -> Outcome {
    let one = |name: &Arc<str>| match call.kind {
        CallKind::CheckGate => Evaluation::from(gate(&call.user, name, call.exposure)),
        CallKind::GetConfig => Evaluation::from(value(&call.user, name, call.exposure)),
        other => unreachable!("{other:?}"),
    };
    Ok(call.names.iter().map(|name| Some(one(name))).collect())
}

/// The evaluation that the scripted transport gives this user.
pub fn gate(user: &User, name: &str, exposure: bool) -> GateEvaluation {
    GateEvaluation::new(name, is_open(user, name)).with_rule(format!("{user:?}"), mode(exposure))
}

pub fn value(user: &User, name: &str, exposure: bool) -> ConfigEvaluation {
    let user_json: serde_json::Value = serde_json::from_str(&user.to_json()).expect("JSON");
    let value = json!({"user": user_json, "name": name});
    ConfigEvaluation::new(name, value.as_object().cloned().expect("an object"))
        .with_rule(format!("{user:?}"), mode(exposure))
}

fn mode(exposure: bool) -> &'static str {
    if exposure { "exposed" } else { "quiet" }
}

/// Whether a gate is open for a user: about half of them are, different ones for each user.
pub fn is_open(user: &User, name: &str) -> bool {
    format!("{user:?}{name}").bytes().fold(0u8, u8::wrapping_add).is_multiple_of(2)
}

/// The time on the runtime's clock.
#[allow(clippy::disallowed_methods, reason = "the component gets its time from there")]
pub fn now() -> Instant {
    Instant::now()
}

/// Runs everything that is ready, so that every message sent so far is handled.
///
/// Each hop of a message between tasks takes one turn of the runtime. The longest path, from a
/// caller to the transport and back, takes about ten. A sleep would also run everything that is
/// ready, but it would advance the clock by a millisecond, and a flush could become due.
pub async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

/// Flushes the buffer and runs everything that is ready, without a wait for the calls' outcomes.
pub async fn flush_now(statsig: &Statsig) {
    let statsig = statsig.clone();
    // A task keeps the message's reply: actix skips a message whose sender has dropped it.
    actix_rt::spawn(async move { statsig.flush().await });
    settle().await;
}

/// Polls, in real time, a condition that cannot be awaited, such as a statistic.
pub async fn until(condition: impl Fn() -> bool) {
    let looks = async {
        while !condition() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(LIMIT, looks).await.expect("the condition was not met in time");
}

/// Limits work that must not hang.
pub async fn limited<T>(work: impl Future<Output = T>) -> T {
    timeout(LIMIT, work).await.expect("the work did not end in time")
}

/// Longer than any step of a test takes.
pub const LIMIT: Duration = Duration::from_secs(120);

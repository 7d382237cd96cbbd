//! The transport's shell: calls in, attempts as tasks beside it, outcomes out. It carries out what
//! `queue` and `retry` decide; its attempts report back by message, so that it alone writes.

use std::{
    panic::AssertUnwindSafe,
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Instant,
};

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message, Supervised};
use actix_rt::time::sleep;
use futures_util::FutureExt;
use rustls::ClientConfig;

use super::{
    http::{Failure, HttpClient},
    queue::FairQueue,
    retry::{Decision, RetryPolicy, Tried},
};
use crate::{
    clock, config::Config, error::Error, evaluation::Evaluation, failpoint::failpoint,
    messages::Call, shared::Shared,
};

/// Makes the HTTP calls: so many at once, each with its retries, all within their deadlines.
pub(crate) struct TransportActor {
    config: Config,
    tls: Arc<ClientConfig>,
    retry: RetryPolicy,
    queue: FairQueue<Job>,
    in_flight: usize,
    http: Option<Rc<HttpClient>>,
    /// When the next look at the queue's deadlines is planned.
    watched: Option<Instant>,
    shared: Arc<Shared>,
}

/// A call and what has been tried for it.
#[derive(Debug)]
struct Job {
    call: Call,
    tried: Tried,
    last: Option<Arc<Error>>,
}

impl TransportActor {
    pub(crate) fn new(config: Config, tls: Arc<ClientConfig>, shared: Arc<Shared>) -> Self {
        Self {
            retry: RetryPolicy::new(config.retry_attempts()),
            queue: FairQueue::default(),
            in_flight: 0,
            http: None,
            watched: None,
            config,
            tls,
            shared,
        }
    }

    fn enqueue(&mut self, job: Job, ctx: &mut Context<Self>) {
        failpoint("transport.call");
        let request = job.call.request();
        self.queue.push(request.user.clone(), request.deadline, job);
        self.start_attempts(ctx);
    }

    /// Starts as many attempts as there are places, and sees to it that what has to wait is
    /// answered at its deadline.
    fn start_attempts(&mut self, ctx: &mut Context<Self>) {
        let now = clock::now();
        for job in self.queue.expire(now) {
            self.time_out(job);
        }
        while self.in_flight < self.config.max_in_flight()
            && let Some(job) = self.queue.pop()
        {
            match self.http() {
                Ok(http) => self.start(job, http, now, ctx),
                Err(error) => job.call.complete(Err(error)),
            }
        }
        self.watch_deadlines(now, ctx);
    }

    fn start(&mut self, job: Job, http: Rc<HttpClient>, now: Instant, ctx: &mut Context<Self>) {
        self.in_flight += 1;
        let left = job.call.request().deadline.saturating_duration_since(now);
        let limit = left.min(self.config.attempt_timeout());
        let transport = ctx.address();
        // A task of its own: in the actor's context every wake would poll every attempt, and a
        // panic in one would end them all.
        actix_rt::spawn(async move {
            let attempt = async {
                failpoint("attempt");
                http.attempt(job.call.request(), job.tried.reconnected, limit).await
            };
            let result = AssertUnwindSafe(attempt).catch_unwind().await;
            let result = result.unwrap_or_else(|_| {
                tracing::error!("an attempt panicked");
                let error = Error::Internal { detail: "an attempt panicked" };
                Err(Failure { error, died_on_reuse: false })
            });
            transport.do_send(Attempted { job, result });
        });
    }

    fn settle(&mut self, attempted: Attempted, ctx: &mut Context<Self>) {
        failpoint("transport.attempted");
        let Attempted { mut job, result } = attempted;
        let Failure { error, died_on_reuse } = match result {
            Ok(evaluations) => return job.call.complete(Ok(evaluations)),
            Err(failure) => failure,
        };
        job.tried.attempts += 1;
        let request = job.call.request();
        let left = request.deadline.saturating_duration_since(clock::now());
        if left.is_zero() {
            job.last = job.last.or(Some(Arc::new(error)));
            return self.time_out(job);
        }
        let random = fastrand::f64();
        let decision = self.retry.decide(job.tried, &error, died_on_reuse, left, random);
        tracing::debug!(path = request.kind.path(), %error, ?decision, "an attempt failed");
        match decision {
            Decision::GiveUp => job.call.complete(Err(error)),
            Decision::Reconnect => {
                job.tried = Tried { attempts: job.tried.attempts - 1, reconnected: true };
                self.enqueue(job, ctx);
            }
            Decision::RetryAfter(delay) => {
                job.last = Some(Arc::new(error));
                let transport = ctx.address();
                actix_rt::spawn(async move {
                    sleep(delay).await;
                    transport.do_send(Again(job));
                });
            }
        }
    }

    fn time_out(&self, job: Job) {
        let error = Error::Timeout { limit: self.config.timeout(), last: job.last };
        job.call.complete(Err(error));
    }

    fn watch_deadlines(&mut self, now: Instant, ctx: &mut Context<Self>) {
        let Some(next) = self.queue.next_deadline() else { return };
        if self.watched.is_some_and(|watched| watched <= next && watched > now) {
            return;
        }
        self.watched = Some(next);
        // A look that finds nothing, because another was planned since, does no harm.
        ctx.run_later(next.saturating_duration_since(now), |actor, ctx| {
            actor.guarded(ctx, Self::start_attempts)
        });
    }

    fn http(&mut self) -> Result<Rc<HttpClient>, Error> {
        if let Some(http) = &self.http {
            return Ok(Rc::clone(http));
        }
        let http = HttpClient::new(&self.config, &self.tls)?;
        self.http = Some(Rc::clone(&http));
        Ok(http)
    }

    /// As in `BatchActor`: a panic ends in a restart. The call it was about is dropped by the
    /// unwinding, and says so to whoever waits for it.
    fn guarded(
        &mut self,
        ctx: &mut Context<Self>,
        work: impl FnOnce(&mut Self, &mut Context<Self>),
    ) {
        let work = AssertUnwindSafe(|| work(self, ctx));
        if std::panic::catch_unwind(work).is_err() {
            tracing::error!("TransportActor panicked");
            ctx.stop();
        }
    }
}

impl Actor for TransportActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.watched = None;
        self.guarded(ctx, Self::start_attempts);
    }
}

impl Supervised for TransportActor {
    /// Starts again with a client, and so a pool of connections, of its own.
    fn restarting(&mut self, _: &mut Context<Self>) {
        self.shared.counters.restarts.fetch_add(1, Relaxed);
        tracing::warn!("TransportActor restarts");
        self.http = None;
    }
}

impl Handler<Call> for TransportActor {
    type Result = ();

    fn handle(&mut self, call: Call, ctx: &mut Context<Self>) {
        let job = Job { call, tried: Tried::default(), last: None };
        self.guarded(ctx, |actor, ctx| actor.enqueue(job, ctx));
    }
}

/// An attempt has ended.
#[derive(Debug)]
struct Attempted {
    job: Job,
    result: Result<Vec<Option<Evaluation>>, Failure>,
}

impl Message for Attempted {
    type Result = ();
}

impl Handler<Attempted> for TransportActor {
    type Result = ();

    fn handle(&mut self, attempted: Attempted, ctx: &mut Context<Self>) {
        // First of all, so that nothing that fails later leaves the place taken.
        self.in_flight -= 1;
        self.guarded(ctx, |actor, ctx| {
            actor.settle(attempted, ctx);
            actor.start_attempts(ctx);
        });
    }
}

/// A call's backoff is over.
#[derive(Debug)]
struct Again(Job);

impl Message for Again {
    type Result = ();
}

impl Handler<Again> for TransportActor {
    type Result = ();

    fn handle(&mut self, Again(job): Again, ctx: &mut Context<Self>) {
        self.guarded(ctx, |actor, ctx| actor.enqueue(job, ctx));
    }
}

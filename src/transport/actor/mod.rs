//! The transport's shell: calls in, attempts as tasks beside it, outcomes out. It carries out what
//! `queue` and `retry` decide; its attempts report back by message, so that it alone writes.

mod attempts;
pub(super) mod factory;
mod handlers;
mod job;
mod parked;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Instant,
};

use actix::{Actor, ActorContext, AsyncContext, Context, Supervised, fut::wrap_future};
use actix_rt::time::sleep;
use rustls::ClientConfig;

use self::{job::Job, parked::Parked};
use super::{
    http::HttpClient,
    queue::FairQueue,
    retry::{
        policy::RetryPolicy,
        upstream::{Gate, Server, Upstream},
    },
};
use crate::{
    config::Config,
    message::call::{Call, Outcome},
    model::error::Error,
    rt::{clock, failpoint::failpoint, restart_backoff::RestartBackoff, yielding::YieldCounter},
    shared::Shared,
    telemetry::stats::BreakerState,
};

/// Makes the HTTP calls: so many at once, each with its retries, all within their deadlines.
pub(super) struct TransportActor {
    config: Config,
    tls: Arc<ClientConfig>,
    retry: RetryPolicy,
    upstream: Upstream,
    queue: FairQueue<Job>,
    parked: Parked,
    http: Option<Rc<HttpClient>>,
    /// How often the key had changed when `config` got it.
    key_changes: u64,
    /// When the next look at what waits is planned.
    watched: Option<Instant>,
    restarts: RestartBackoff,
    restart_reason: Option<&'static str>,
    turns: YieldCounter,
    shared: Arc<Shared>,
}

pub(super) const CONNECTIONS_FAIL: &str = "its connections fail";

impl TransportActor {
    fn new(
        config: Config,
        max_in_flight: usize,
        tls: Arc<ClientConfig>,
        shared: Arc<Shared>,
        server: Arc<Server>,
    ) -> Self {
        Self {
            retry: RetryPolicy::new(config.retry_attempts()),
            parked: Parked::new(&server),
            upstream: Upstream::new(&config, server),
            queue: FairQueue::new(max_in_flight),
            http: None,
            key_changes: 0,
            watched: None,
            restarts: RestartBackoff::default(),
            restart_reason: None,
            turns: YieldCounter::default(),
            config,
            tls,
            shared,
        }
    }

    fn receive(&mut self, call: Call, ctx: &mut Context<Self>) {
        failpoint("transport.call");
        let now = clock::now();
        self.shared.note_asked(now);
        let job = Job::new(call, now);
        match &job.call.request().refusal {
            None => self.upstream.called(),
            // A part of the names of a call that was refused: it is a retry.
            Some(_) if self.upstream.may_retry(&job.call.request().user) => self.count_retry(),
            Some(refusal) => {
                let refusal = refusal.clone();
                return self.finish(job, Err(refusal));
            }
        }
        self.enqueue(job, ctx);
    }

    fn enqueue(&mut self, job: Job, ctx: &mut Context<Self>) {
        self.line_up(job);
        self.start_attempts(ctx);
    }

    fn line_up(&mut self, mut job: Job) {
        let request = job.call.request();
        let (user, deadline) = (request.user.clone(), request.deadline);
        job.has_waited |= !self.queue.may_start(&user);
        self.queue.push(user, deadline, job);
    }

    /// Starts as many attempts as there are places and Statsig may be asked for, and sees to it that
    /// what has to wait goes on when it can, or is answered at its deadline.
    fn start_attempts(&mut self, ctx: &mut Context<Self>) {
        let now = clock::now();
        for job in self.queue.expire(now) {
            self.note_wait(&job, now);
            self.time_out(job);
        }
        self.move_parked(now);
        // What does not get through needs no place in flight.
        while let Some(job) = self.queue.pop(self.upstream.lets_through(now)) {
            match self.upstream.gate(job.call.request(), now, fastrand::f64()) {
                Gate::Open if self.queue.may_start(&job.call.request().user) => {
                    self.start_one(job, now, ctx);
                }
                // Another transport has opened it in this moment: from here on a place is needed.
                Gate::Open => self.line_up(job),
                Gate::Probing => {
                    // It may have waited for calm until now, longer than probes go on by themselves.
                    self.shared.note_asked(now);
                    self.parked.for_probe(job, now);
                }
                Gate::Calm { until } => self.parked.for_calm(job, until, now),
                Gate::Refused(error) => self.refuse(job, error, now),
            }
        }
        self.probe(now, ctx);
        self.show_breaker(now);
        self.watch(now, ctx);
    }

    fn start_one(&mut self, job: Job, now: Instant, ctx: &mut Context<Self>) {
        self.note_wait(&job, now);
        match self.http() {
            Ok(http) => self.start(job, http, now, ctx),
            Err(error) => self.finish(job, Err(error)),
        }
    }

    /// Refuses a call. If no attempt was made, its duration says nothing about calls to Statsig: only
    /// its wait counts, for a probe or for a place.
    fn refuse(&self, job: Job, error: Error, now: Instant) {
        if !job.is_untried() {
            return self.finish(job, Err(error));
        }
        if job.has_waited {
            self.note_wait(&job, now);
        }
        self.shared.counters.refused_calls.fetch_add(1, Relaxed);
        #[cfg(feature = "metrics")]
        crate::telemetry::metrics::call_ended::<()>(
            job.call.request().kind,
            now.saturating_duration_since(job.received),
            Err(&error),
        );
        job.call.complete(Err(error));
    }

    /// It has waited for a place: until it got one, or was answered without.
    fn note_wait(&self, job: &Job, now: Instant) {
        if job.is_untried() {
            let waited = now.saturating_duration_since(job.received);
            self.shared.counters.queueing.record(waited, now);
            #[cfg(feature = "metrics")]
            crate::telemetry::metrics::call_waited(job.call.request().kind, waited);
        }
    }

    /// Shows the breaker's state where it can be seen. It is logged when it opens and closes, not at
    /// each of its probes.
    fn show_breaker(&self, now: Instant) {
        use BreakerState::{Closed, HalfOpen, Open};
        self.upstream.show(self.shared.asked(), now, |breaker, denied_until| {
            self.shared.deny_until(denied_until);
            let Some((state, cause)) = breaker else { return };
            let cause = cause.map(tracing::field::display);
            match (self.shared.counters.breaker_is(state), state) {
                (Closed, Open | HalfOpen) => {
                    let base_url = self.config.base_url();
                    tracing::warn!(base_url, cause, "the circuit breaker is open: calls fail");
                }
                (Open | HalfOpen, Closed) => tracing::info!("the circuit breaker is closed"),
                (Open, HalfOpen) => tracing::debug!("the circuit breaker probes"),
                (HalfOpen, Open) => tracing::debug!(cause, "a probe of the circuit breaker failed"),
                _ => {}
            }
        });
    }

    fn finish(&self, job: Job, outcome: Outcome) {
        let now = clock::now();
        let took = now.saturating_duration_since(job.received);
        self.shared.counters.call.record(took, now);
        #[cfg(feature = "metrics")]
        crate::telemetry::metrics::call_ended(job.call.request().kind, took, outcome.as_ref());
        job.call.complete(outcome);
    }

    fn time_out(&self, job: Job) {
        let timeout = self.timeout(&job);
        self.finish(job, Err(timeout));
    }

    fn timeout(&self, job: &Job) -> Error {
        Error::Timeout { limit: self.config.timeout(), last: job.last.clone() }
    }

    fn watch(&mut self, now: Instant, ctx: &mut Context<Self>) {
        self.listen(ctx);
        let next = [self.queue.next_deadline(), self.parked.next(), self.next_probe(now, ctx)];
        let Some(next) = next.into_iter().flatten().min() else { return };
        if self.watched.is_some_and(|watched| watched <= next && watched > now) {
            return;
        }
        self.watched = Some(next);
        // A look that finds nothing, because another was planned since, does no harm.
        ctx.run_later(next.saturating_duration_since(now), |actor, ctx| {
            actor.guarded(ctx, Self::start_attempts);
        });
    }

    fn http(&mut self) -> Result<Rc<HttpClient>, Error> {
        if let Some(key) = self.shared.api_key.newer_than(&mut self.key_changes) {
            self.config.set_api_key(key);
            self.http = None;
        }
        if let Some(http) = &self.http {
            return Ok(Rc::clone(http));
        }
        let http = HttpClient::new(&self.config, &self.tls, &self.shared, &self.upstream.server)?;
        self.http = Some(Rc::clone(&http));
        Ok(http)
    }

    /// As in `BatchActor`: a panic ends in a restart. The call it was about is dropped by the
    /// unwinding, and says so to whoever waits for it.
    fn guarded(
        &mut self,
        ctx: &mut Context<Self>,
        work: impl FnOnce(&mut Self, &mut Context<Self>),
    ) -> bool {
        let done = catch_unwind(AssertUnwindSafe(|| work(self, ctx))).is_ok();
        if !done {
            self.restart_reason = Some("it panicked");
            ctx.stop();
        }
        done
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
    fn restarting(&mut self, ctx: &mut Context<Self>) {
        let pause = self.restarts.note(clock::now());
        let reason = self.restart_reason.take().unwrap_or("it stopped");
        // Then the fault is not in here.
        if reason == CONNECTIONS_FAIL {
            self.shared.counters.pool_renewals.fetch_add(1, Relaxed);
            tracing::warn!(?pause, "TransportActor takes fresh connections, because {reason}");
        } else {
            self.shared.counters.restarts.fetch_add(1, Relaxed);
            tracing::error!(?pause, "TransportActor restarts, because {reason}");
        }
        if !pause.is_zero() {
            ctx.wait(wrap_future(sleep(pause)));
        }
        self.http = None;
    }
}

//! The transport's shell: calls in, attempts as tasks beside it, outcomes out. It carries out what
//! `queue` and `retry` decide; its attempts report back by message, so that it alone writes.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Instant,
};

use actix::{Actor, ActorContext, AsyncContext, Context, Supervised, fut::wrap_future};
use actix_rt::time::sleep;
use rustls::ClientConfig;

use super::{
    breaker::Permission,
    http::HttpClient,
    job::Job,
    queue::FairQueue,
    retry::RetryPolicy,
    upstream::{Server, Upstream},
};
use crate::{
    call::{Call, Outcome},
    clock,
    config::Config,
    error::Error,
    failpoint::failpoint,
    restarts::Restarts,
    shared::Shared,
    stats::BreakerState,
    turns::Turns,
};

/// Makes the HTTP calls: so many at once, each with its retries, all within their deadlines.
pub(super) struct TransportActor {
    pub(super) config: Config,
    tls: Arc<ClientConfig>,
    pub(super) retry: RetryPolicy,
    pub(super) upstream: Upstream,
    pub(super) queue: FairQueue<Job>,
    pub(super) http: Option<Rc<HttpClient>>,
    /// How often the key had changed when `config` got it.
    pub(super) key_changes: u64,
    /// When the next look at the queue's deadlines is planned.
    watched: Option<Instant>,
    restarts: Restarts,
    pub(super) restart_reason: Option<&'static str>,
    pub(super) turns: Turns,
    pub(super) shared: Arc<Shared>,
}

pub(super) const CONNECTIONS_FAIL: &str = "its connections fail";

impl TransportActor {
    pub(super) fn new(
        config: Config,
        max_in_flight: usize,
        tls: Arc<ClientConfig>,
        shared: Arc<Shared>,
        server: Arc<Server>,
    ) -> Self {
        Self {
            retry: RetryPolicy::new(config.retry_attempts()),
            upstream: Upstream::new(&config, server),
            queue: FairQueue::new(max_in_flight),
            http: None,
            key_changes: 0,
            watched: None,
            restarts: Restarts::default(),
            restart_reason: None,
            turns: Turns::default(),
            config,
            tls,
            shared,
        }
    }

    pub(super) fn receive(&mut self, call: Call, ctx: &mut Context<Self>) {
        failpoint("transport.call");
        let job = Job::new(call, clock::now());
        match &job.call.request().refusal {
            None => self.upstream.called(),
            // A part of the names of a call that was refused: it is a retry.
            Some(_) if self.upstream.may_retry() => self.count_retry(),
            Some(refusal) => {
                let refusal = refusal.clone();
                return self.finish(job, Err(refusal));
            }
        }
        self.enqueue(job, ctx);
    }

    pub(super) fn enqueue(&mut self, mut job: Job, ctx: &mut Context<Self>) {
        let request = job.call.request();
        let (user, deadline) = (request.user.clone(), request.deadline);
        job.has_waited |= !self.queue.may_start(&user);
        self.queue.push(user, deadline, job);
        self.start_attempts(ctx);
    }

    /// Starts as many attempts as there are places, and sees to it that what has to wait is
    /// answered at its deadline.
    pub(super) fn start_attempts(&mut self, ctx: &mut Context<Self>) {
        let now = clock::now();
        for job in self.queue.expire(now) {
            self.note_wait(&job, now);
            self.time_out(job);
        }
        while let Some(mut job) = self.queue.pop(true) {
            self.note_wait(&job, now);
            let http = match self.http() {
                Ok(http) => http,
                Err(error) => {
                    self.finish(job, Err(error));
                    continue;
                }
            };
            match self.upstream.permit(now) {
                Permission::Granted => self.start(job, http, now, ctx),
                Permission::Probe => {
                    self.show_breaker();
                    job.is_probe = true;
                    self.start(job, http, now, ctx);
                }
                Permission::Denied { cause } => self.finish(job, Err(Error::CircuitOpen { cause })),
            }
        }
        self.watch_deadlines(now, ctx);
    }

    /// It has waited for a place: until it got one, or was answered without.
    fn note_wait(&self, job: &Job, now: Instant) {
        if job.is_untried() {
            let waited = now.saturating_duration_since(job.received);
            self.shared.counters.queueing.record(waited, now);
            #[cfg(feature = "metrics")]
            crate::metrics::call_waited(job.call.request().kind, waited);
        }
    }

    /// Shows the breaker's state where it can be seen: once for each change.
    pub(super) fn show_breaker(&self) {
        self.upstream.show(|state, denies_until| {
            self.shared.deny_until(denies_until);
            if !self.shared.counters.breaker_is(state) {
                return;
            }
            match state {
                BreakerState::Open => {
                    let base_url = self.config.base_url();
                    tracing::warn!(base_url, "the circuit breaker is open: the last calls failed");
                }
                BreakerState::HalfOpen => {
                    tracing::info!("the circuit breaker lets a probe through")
                }
                BreakerState::Closed => tracing::info!("the circuit breaker is closed"),
            }
        });
    }

    pub(super) fn finish(&self, job: Job, outcome: Outcome) {
        let now = clock::now();
        let took = now.saturating_duration_since(job.received);
        self.shared.counters.call.record(took, now);
        #[cfg(feature = "metrics")]
        crate::metrics::call_ended(job.call.request().kind, took, outcome.as_ref());
        job.call.complete(outcome);
    }

    pub(super) fn time_out(&self, job: Job) {
        let timeout = self.timeout(&job);
        self.finish(job, Err(timeout));
    }

    pub(super) fn timeout(&self, job: &Job) -> Error {
        Error::Timeout { limit: self.config.timeout(), last: job.last.clone() }
    }

    fn watch_deadlines(&mut self, now: Instant, ctx: &mut Context<Self>) {
        let Some(next) = self.queue.next_deadline() else { return };
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
        let http = HttpClient::new(&self.config, &self.tls, &self.shared)?;
        self.http = Some(Rc::clone(&http));
        Ok(http)
    }

    /// As in `BatchActor`: a panic ends in a restart. The call it was about is dropped by the
    /// unwinding, and says so to whoever waits for it.
    pub(super) fn guarded(
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
        self.shared.counters.restarts.fetch_add(1, Relaxed);
        let pause = self.restarts.note(clock::now());
        let reason = self.restart_reason.take().unwrap_or("it stopped");
        // Then the fault is not in here.
        if reason == CONNECTIONS_FAIL {
            tracing::warn!(?pause, "TransportActor takes fresh connections, because {reason}");
        } else {
            tracing::error!(?pause, "TransportActor restarts, because {reason}");
        }
        if !pause.is_zero() {
            ctx.wait(wrap_future(sleep(pause)));
        }
        self.http = None;
    }
}

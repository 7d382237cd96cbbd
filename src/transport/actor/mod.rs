//! The transport's shell: receives calls, runs attempts as tasks, and sends outcomes. It carries out what
//! `queue` and `retry` decide. Tasks report by message, so that the actor alone writes its state.

mod attempts;
pub(super) mod factory;
mod handlers;
mod job;
mod message;
mod probes;
mod restart;
mod waiting;

use std::{
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Instant,
};

use actix::{Actor, AsyncContext, Context};
use rustls::ClientConfig;

use self::{job::Job, waiting::WaitingCalls};
use super::{
    http::HttpClient,
    queue::FairQueue,
    retry::{
        policy::RetryPolicy,
        shared_health::{AttemptDecision, SharedHealth},
    },
};
use crate::{
    config::Config,
    message::call::{Call, Outcome},
    model::error::Error,
    rt::{clock, failpoint::failpoint, restart_backoff::RestartBackoff, yielding::YieldCounter},
    shared::Shared,
};

/// Makes the HTTP calls: up to its share of `max_in_flight` at once, each with its retries and within
/// its deadline.
pub(super) struct TransportActor {
    config: Config,
    tls: Arc<ClientConfig>,
    retry: RetryPolicy,
    health: Arc<SharedHealth>,
    queue: FairQueue<Job>,
    waiting: WaitingCalls,
    http: Option<Rc<HttpClient>>,
    /// How often the API key had changed when `config` got it.
    key_changes: u64,
    /// When the timer is set to run the queue next.
    timer: Option<Instant>,
    restarts: RestartBackoff,
    restart_reason: Option<&'static str>,
    yield_counter: YieldCounter,
    shared: Arc<Shared>,
}

impl TransportActor {
    fn new(
        config: Config,
        max_in_flight: usize,
        tls: Arc<ClientConfig>,
        shared: Arc<Shared>,
        health: Arc<SharedHealth>,
    ) -> Self {
        Self {
            retry: RetryPolicy::new(config.retry_attempts()),
            waiting: WaitingCalls::new(&health),
            queue: FairQueue::new(max_in_flight),
            http: None,
            key_changes: 0,
            timer: None,
            restarts: RestartBackoff::default(),
            restart_reason: None,
            yield_counter: YieldCounter::default(),
            config,
            tls,
            health,
            shared,
        }
    }

    fn on_call(&mut self, call: Call, ctx: &mut Context<Self>) {
        failpoint("transport.call");
        let now = clock::now();
        self.shared.note_asked(now);
        let job = Job::new(call, now);
        match &job.call.request().refusal {
            None => self.health.on_call(),
            // A part of a refused call counts as a retry.
            Some(_) if self.health.may_retry(&job.call.request().user) => self.count_retry(),
            Some(refusal) => {
                let refusal = refusal.clone();
                return self.finish(job, Err(refusal));
            }
        }
        self.enqueue(job, ctx);
    }

    fn enqueue(&mut self, job: Job, ctx: &mut Context<Self>) {
        self.push(job);
        self.run_queue(ctx);
    }

    fn push(&mut self, mut job: Job) {
        let request = job.call.request();
        let (user, deadline) = (request.user.clone(), request.deadline);
        job.has_waited |= !self.queue.has_slot_for(&user);
        self.queue.push(user, deadline, job);
    }

    /// Starts every attempt that may start now, answers what has timed out, and sets the timer for
    /// the rest.
    fn run_queue(&mut self, ctx: &mut Context<Self>) {
        let now = clock::now();
        for job in self.queue.expire(now) {
            self.record_wait(&job, now);
            self.time_out(job);
        }
        self.resume_waiting(now);
        // A call that cannot reach the server now needs no slot.
        while let Some(job) = self.queue.pop(self.health.is_available(now)) {
            match self.health.before_attempt(job.call.request(), now, fastrand::f64()) {
                AttemptDecision::Start if self.queue.has_slot_for(&job.call.request().user) => {
                    self.start(job, now, ctx);
                }
                // Another transport has just closed the breaker: from here on calls need slots.
                AttemptDecision::Start => self.push(job),
                AttemptDecision::AwaitProbe => {
                    // A call that waited for the end of a pause may outlast the probing period.
                    self.shared.note_asked(now);
                    self.waiting.await_probe(job, now);
                }
                AttemptDecision::WaitUntil(until) => {
                    self.waiting.await_retry_after(job, until, now);
                }
                AttemptDecision::Fail(error) => self.reject(job, error, now),
            }
        }
        self.start_due_probes(now, ctx);
        self.publish_breaker(now);
        self.subscribe_to_breaker(ctx);
        self.set_timer(now, ctx);
    }

    fn start(&mut self, job: Job, now: Instant, ctx: &mut Context<Self>) {
        self.record_wait(&job, now);
        match self.http() {
            Ok(http) => self.start_attempt(job, http, now, ctx),
            Err(error) => self.finish(job, Err(error)),
        }
    }

    /// Answers a call without an attempt, or without another. If none was made, the call's duration
    /// says nothing about calls to Statsig: only its wait counts.
    fn reject(&self, job: Job, error: Error, now: Instant) {
        if !job.is_first_attempt() {
            return self.finish(job, Err(error));
        }
        if job.has_waited {
            self.record_wait(&job, now);
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

    /// Records how long a call has waited for its first attempt, or for its answer without one.
    fn record_wait(&self, job: &Job, now: Instant) {
        if job.is_first_attempt() {
            let waited = now.saturating_duration_since(job.received);
            self.shared.counters.queueing.record(waited, now);
            #[cfg(feature = "metrics")]
            crate::telemetry::metrics::call_waited(job.call.request().kind, waited);
        }
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
        Error::Timeout { limit: self.config.timeout(), last: job.last_error.clone() }
    }

    fn set_timer(&mut self, now: Instant, ctx: &mut Context<Self>) {
        let (queued, waiting) = (self.queue.next_deadline(), self.waiting.next_deadline());
        let next = [queued, waiting, self.next_probe_at(now, ctx)];
        let Some(next) = next.into_iter().flatten().min() else { return };
        if self.timer.is_some_and(|timer| timer <= next && timer > now) {
            return;
        }
        self.timer = Some(next);
        // An earlier timer stays set: when it fires, the queue runs once more, which is harmless.
        ctx.run_later(next.saturating_duration_since(now), |actor, ctx| {
            actor.catch_panic(ctx, Self::run_queue);
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
        let http = HttpClient::new(&self.config, &self.tls, &self.shared, &self.health)?;
        self.http = Some(Rc::clone(&http));
        Ok(http)
    }
}

impl Actor for TransportActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.timer = None;
        self.catch_panic(ctx, Self::run_queue);
    }
}

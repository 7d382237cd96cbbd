//! The actor's part in waiting: calls that wait for a probe's outcome or for calm, and the probes.

use std::{sync::Arc, time::Instant};

use actix::{AsyncContext, Context, Message};
use tokio::sync::watch;

use super::{
    TransportActor,
    job::{self, Job},
};
use crate::{
    model::error::Error,
    rt::clock,
    transport::{
        retry::{
            breaker::{MAX_PROBE_WAIT, Probe},
            shared_health::SharedHealth,
        },
        wait_queue::WaitQueue,
    },
};

/// Calls that wait for something else than a place in flight.
pub(super) struct WaitingCalls {
    for_probe: WaitQueue<Job>,
    for_retry_after: WaitQueue<Job>,
    /// What has been heard of the probes of all transports.
    breaker_updates: watch::Receiver<()>,
    is_subscribed: bool,
}

/// A probe has ended. `None`: it panicked.
pub(super) struct ProbeCompleted {
    probe: Probe,
    outcome: Option<Result<(), Error>>,
}

impl Message for ProbeCompleted {
    type Result = ();
}

/// A transport knows more of the health.
pub(super) struct BreakerUpdated;

impl Message for BreakerUpdated {
    type Result = ();
}

impl WaitingCalls {
    pub(super) fn new(health: &Arc<SharedHealth>) -> Self {
        Self {
            for_probe: WaitQueue::default(),
            for_retry_after: WaitQueue::default(),
            breaker_updates: health.breaker_updates(),
            is_subscribed: false,
        }
    }

    pub(super) fn for_probe(&mut self, mut job: Job, now: Instant) {
        job.has_waited = true;
        let until = job.call.request().deadline.min(now + MAX_PROBE_WAIT);
        self.for_probe.push(now, until, job);
    }

    pub(super) fn for_retry_after(&mut self, mut job: Job, until: Instant, now: Instant) {
        job.has_waited = true;
        self.for_retry_after.push(now, until, job);
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.for_probe.next_deadline().into_iter().chain(self.for_retry_after.next_deadline()).min()
    }
}

impl TransportActor {
    /// Has what was waited for come about, or can it not any more in time?
    pub(super) fn resume_waiting(&mut self, now: Instant) {
        for job in self.waiting.for_retry_after.expire(now) {
            self.push(job);
        }
        if self.waiting.for_probe.is_empty() {
            return;
        }
        // Before the look: what comes after it is heard of.
        self.waiting.breaker_updates.mark_unchanged();
        let Some((failed, cause)) = self.upstream.probing() else {
            for job in self.waiting.for_probe.drain() {
                self.push(job);
            }
            return;
        };
        // A probe that began before a call came says nothing of the server since.
        let mut refused =
            failed.map_or_else(Vec::new, |at| self.waiting.for_probe.take_waiting_since(at));
        refused.extend(self.waiting.for_probe.expire(now));
        for job in refused {
            if job.call.request().deadline <= now {
                self.record_wait(&job, now);
                self.time_out(job);
            } else {
                self.reject(job, Error::CircuitOpen { cause: Arc::clone(&cause) }, now);
            }
        }
    }

    /// Another transport may have the probe that this one's calls wait for.
    pub(super) fn subscribe_to_breaker(&mut self, ctx: &mut Context<Self>) {
        if self.waiting.is_subscribed || self.waiting.for_probe.is_empty() {
            return;
        }
        self.waiting.is_subscribed = true;
        let (mut breaker_updates, transport) =
            (self.waiting.breaker_updates.clone(), ctx.address().downgrade());
        actix_rt::spawn(async move {
            // An error says that all transports have gone.
            if breaker_updates.changed().await.is_ok()
                && let Some(transport) = transport.upgrade()
            {
                transport.do_send(BreakerUpdated);
            }
        });
    }

    pub(super) fn on_breaker_update(&mut self, ctx: &mut Context<Self>) {
        self.waiting.is_subscribed = false;
        self.start_attempts(ctx);
    }

    /// Makes the probes that are due, if somebody has asked lately. Never with a user's check: that user
    /// may be what breaks the health, and would pay for the wait.
    pub(super) fn start_due_probes(&mut self, now: Instant, ctx: &mut Context<Self>) {
        if self.shared.is_closing() && self.waiting.for_probe.is_empty() {
            return;
        }
        for probe in self.upstream.probe(self.shared.asked(), now) {
            let Ok(http) = self.http() else {
                self.upstream.probed(probe, None, now);
                continue;
            };
            let transport = ctx.address();
            actix_rt::spawn(async move {
                let outcome = job::probe(&http, probe).await.ok();
                transport.do_send(ProbeCompleted { probe, outcome });
            });
        }
    }

    pub(super) fn next_probe_at(&self, now: Instant, ctx: &Context<Self>) -> Option<Instant> {
        // Nobody can ask any more: what is parked has its own moments.
        let is_over = self.shared.is_closing() || !ctx.connected();
        let asked = self.shared.asked().filter(|_| !is_over || !self.waiting.for_probe.is_empty());
        self.upstream.next_probe(asked, now)
    }

    pub(super) fn on_probe_completed(&mut self, probed: ProbeCompleted, ctx: &mut Context<Self>) {
        let ProbeCompleted { probe, outcome } = probed;
        let now = clock::now();
        if matches!(outcome, Some(Ok(()))) {
            self.shared.probe_answered();
        }
        let outcome = outcome.as_ref().map(|outcome| outcome.as_ref().map(drop));
        self.upstream.probed(probe, outcome, now);
        self.start_attempts(ctx);
    }
}

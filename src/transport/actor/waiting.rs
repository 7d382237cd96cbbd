//! Calls that wait for something other than a slot: a probe's outcome, or the end of a pause.

use std::{sync::Arc, time::Instant};

use actix::{AsyncContext, Context};
use tokio::sync::watch;

use super::{TransportActor, job::Job, message::BreakerUpdated};
use crate::{
    model::error::Error,
    transport::{
        retry::{breaker::MAX_PROBE_WAIT, shared_health::SharedHealth},
        wait_queue::WaitQueue,
    },
};

/// Calls that wait for something other than a slot.
pub(super) struct WaitingCalls {
    pub(super) for_probe: WaitQueue<Job>,
    for_retry_after: WaitQueue<Job>,
    /// Changes after a probe of any transport, and when the breaker closes.
    breaker_updates: watch::Receiver<()>,
    is_subscribed: bool,
}

impl WaitingCalls {
    pub(super) fn new(health: &SharedHealth) -> Self {
        Self {
            for_probe: WaitQueue::default(),
            for_retry_after: WaitQueue::default(),
            breaker_updates: health.breaker_updates(),
            is_subscribed: false,
        }
    }

    pub(super) fn await_probe(&mut self, mut job: Job, now: Instant) {
        job.has_waited = true;
        let until = job.call.request().deadline.min(now + MAX_PROBE_WAIT);
        self.for_probe.push(now, until, job);
    }

    pub(super) fn await_retry_after(&mut self, mut job: Job, until: Instant, now: Instant) {
        job.has_waited = true;
        self.for_retry_after.push(now, until, job);
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let deadlines = [self.for_probe.next_deadline(), self.for_retry_after.next_deadline()];
        deadlines.into_iter().flatten().min()
    }
}

impl TransportActor {
    /// Moves calls whose wait is over to the queue, and answers the calls that waited in vain.
    pub(super) fn resume_waiting(&mut self, now: Instant) {
        for job in self.waiting.for_retry_after.expire(now) {
            self.push(job);
        }
        if self.waiting.for_probe.is_empty() {
            return;
        }
        // Mark before reading the health, so that no later update is missed.
        self.waiting.breaker_updates.mark_unchanged();
        let Some((failed_probe, cause)) = self.health.outage() else {
            for job in self.waiting.for_probe.drain() {
                self.push(job);
            }
            return;
        };
        // A failed probe answers only calls that were waiting when it started.
        let mut rejected = failed_probe
            .map_or_else(Vec::new, |started| self.waiting.for_probe.take_waiting_since(started));
        rejected.extend(self.waiting.for_probe.expire(now));
        for job in rejected {
            if job.call.request().deadline <= now {
                self.record_wait(&job, now);
                self.time_out(job);
            } else {
                self.reject(job, Error::CircuitOpen { cause: Arc::clone(&cause) }, now);
            }
        }
    }

    /// Waits for the next update of the breaker: another transport may run the awaited probe.
    pub(super) fn subscribe_to_breaker(&mut self, ctx: &mut Context<Self>) {
        if self.waiting.is_subscribed || self.waiting.for_probe.is_empty() {
            return;
        }
        self.waiting.is_subscribed = true;
        let mut updates = self.waiting.breaker_updates.clone();
        let transport = ctx.address().downgrade();
        actix_rt::spawn(async move {
            // An error means that all transports are gone.
            if updates.changed().await.is_ok()
                && let Some(transport) = transport.upgrade()
            {
                transport.do_send(BreakerUpdated);
            }
        });
    }

    pub(super) fn on_breaker_updated(&mut self, ctx: &mut Context<Self>) {
        self.waiting.is_subscribed = false;
        self.run_queue(ctx);
    }
}

//! The circuit breaker's probes and log: when a probe starts, and what follows its end.

use std::{panic::AssertUnwindSafe, time::Instant};

use actix::{AsyncContext, Context};
use futures_util::FutureExt;

use super::{TransportActor, message::ProbeCompleted};
use crate::{
    message::call::CallRequest,
    model::error::Error,
    rt::clock,
    telemetry::stats::BreakerState,
    transport::{http::HttpClient, retry::breaker::Probe},
};

impl TransportActor {
    /// Starts the probes that are due, if the app has asked recently.
    ///
    /// A probe never carries a user's check: that user may be the one that breaks the server, and
    /// would wait for nothing.
    pub(super) fn start_due_probes(&mut self, now: Instant, ctx: &mut Context<Self>) {
        if self.shared.is_closing() && self.waiting.for_probe.is_empty() {
            return;
        }
        for probe in self.health.start_probes(self.shared.asked(), now) {
            let Ok(http) = self.http() else {
                self.health.on_probe(probe, None, now);
                continue;
            };
            let transport = ctx.address();
            actix_rt::spawn(async move {
                let outcome = AssertUnwindSafe(send(&http, probe)).catch_unwind().await.ok();
                transport.do_send(ProbeCompleted { probe, outcome });
            });
        }
    }

    pub(super) fn next_probe_at(&self, now: Instant, ctx: &Context<Self>) -> Option<Instant> {
        // After the end no request can come. Waiting calls still need a probe.
        let is_over = self.shared.is_closing() || !ctx.connected();
        let needs_probe = !is_over || !self.waiting.for_probe.is_empty();
        self.health.next_probe_at(self.shared.asked().filter(|_| needs_probe), now)
    }

    pub(super) fn on_probe_completed(
        &mut self,
        completed: ProbeCompleted,
        ctx: &mut Context<Self>,
    ) {
        let ProbeCompleted { probe, outcome } = completed;
        if matches!(outcome, Some(Ok(()))) {
            self.shared.probe_answered();
        }
        let outcome = outcome.as_ref().map(|outcome| outcome.as_ref().copied());
        self.health.on_probe(probe, outcome, clock::now());
        self.run_queue(ctx);
    }

    /// Publishes the breaker's state. It is logged when the breaker opens and closes, not for each
    /// probe.
    pub(super) fn publish_breaker(&self, now: Instant) {
        use BreakerState::{Closed, HalfOpen, Open};
        self.health.publish(self.shared.asked(), now, |breaker, unavailable_until| {
            self.shared.deny_until(unavailable_until);
            let Some((state, cause)) = breaker else { return };
            match (self.shared.counters.breaker_is(state), state) {
                (Closed, Open | HalfOpen) => {
                    let (base_url, cause) =
                        (self.config.base_url(), cause.map(tracing::field::display));
                    tracing::warn!(
                        base_url,
                        cause,
                        "the circuit breaker is open: calls fail until Statsig answers again"
                    );
                }
                (Open | HalfOpen, Closed) => {
                    tracing::info!("the circuit breaker is closed: calls go to Statsig again");
                }
                _ => {}
            }
        });
    }
}

/// Asks, for no user, whether the server answers, over a connection of its own.
async fn send(http: &HttpClient, probe: Probe) -> Result<(), Error> {
    let request = CallRequest::probe(probe.started + probe.limit)?;
    let answer = http.attempt(&request, true, probe.limit).await;
    answer.map(drop).map_err(|failure| failure.error)
}

//! The actor's part in flushing on demand and in shutting down.

use std::time::Duration;

use actix::{AsyncContext, Context};

use super::{BatchActor, Settle, drain::RequestOutcome, reply::SharedReply};
use crate::{
    message::ShutdownReport,
    model::error::Error,
    rt::{clock, failpoint::failpoint},
};

/// So that no limit that is given overflows the clock.
const LONGEST_DRAIN: Duration = Duration::from_secs(365 * 24 * 60 * 60);

impl BatchActor {
    pub(super) fn is_draining(&self) -> bool {
        self.drains.drain_deadline().is_some()
    }

    pub(super) fn flush(&mut self, ctx: &mut Context<Self>) -> SharedReply<()> {
        let reply = self.drains.for_flush(self.buffer.buffered_requests());
        self.guarded(ctx, |actor, ctx| {
            failpoint("batch.flush");
            actor.flush_all(ctx);
        });
        // The sender of this very message comes only after its handler.
        ctx.notify(Settle);
        reply
    }

    pub(super) fn shut_down(
        &mut self,
        limit: Duration,
        ctx: &mut Context<Self>,
    ) -> SharedReply<ShutdownReport> {
        let pending = self.buffer.pending();
        let deadline = clock::now() + limit.min(LONGEST_DRAIN);
        // Before anything that may panic: from here on there is somebody to tell.
        self.shared.close();
        if self.drains.for_shutdown(pending, deadline) {
            tracing::info!(pending, ?limit, "shutting down");
            self.guarded(ctx, |actor, ctx| {
                failpoint("batch.shutdown");
                actor.flush_all(ctx);
            });
        }
        self.watch_drain(ctx);
        ctx.notify(Settle);
        self.drains.shutdown_audience()
    }

    /// Cuts off at the drain's deadline what is pending then.
    pub(super) fn watch_drain(&mut self, ctx: &mut Context<Self>) {
        let Some(deadline) = self.drains.drain_deadline() else { return };
        let left = deadline.saturating_duration_since(clock::now());
        ctx.run_later(left, |actor, ctx| {
            actor.guarded(ctx, |actor, _| {
                if actor.drains.drain_deadline().is_some_and(|deadline| deadline <= clock::now()) {
                    let answers = actor.buffer.refuse_all(&Error::ShuttingDown);
                    actor.give(answers, RequestOutcome::CutOff);
                }
            });
        });
    }

    /// Tells those who wait for the end of a flush or of the component, if it has come.
    pub(super) fn settle(&mut self) {
        let Some(report) = self.drains.settle(self.buffer.is_empty()) else { return };
        if let Some(ended) = self.ended.take() {
            tracing::info!(?report, "shut down");
            self.shared.ended_with(report);
            // Nobody listens any more if the runtime is being dropped already.
            let _ = ended.send(());
        }
    }
}

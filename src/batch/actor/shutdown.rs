//! How the actor shuts down gracefully.

use std::time::Duration;

use actix::{AsyncContext, Context};

use super::{BatchActor, reply::SharedReply};
use crate::{
    message::ShutdownReport,
    model::error::Error,
    rt::{clock, failpoint::failpoint},
};

/// Keeps the deadline within the clock's range, whatever limit a caller sets.
const MAX_DRAIN: Duration = Duration::from_secs(365 * 24 * 60 * 60);

impl BatchActor {
    pub(super) fn is_draining(&self) -> bool {
        self.drains.shutdown_deadline().is_some()
    }

    pub(super) fn shut_down(
        &mut self,
        limit: Duration,
        ctx: &mut Context<Self>,
    ) -> SharedReply<ShutdownReport> {
        let is_first = !self.is_draining();
        let pending = self.buffer.pending();
        let deadline = clock::now() + limit.min(MAX_DRAIN);
        self.shared.close();
        // Begin before any work that may panic, so that a restart continues the shutdown.
        let reply = self.drains.begin_shutdown(pending, deadline);
        if is_first {
            tracing::info!(pending, ?limit, "shutting down");
            self.guarded(ctx, |actor, ctx| {
                failpoint("batch.shutdown");
                actor.flush_all(ctx);
            });
        }
        self.watch_deadline(ctx);
        self.end_if_drained();
        reply
    }

    /// Refuses the requests that are still pending at the shutdown's deadline.
    pub(super) fn watch_deadline(&mut self, ctx: &mut Context<Self>) {
        let Some(deadline) = self.drains.shutdown_deadline() else { return };
        let left = deadline.saturating_duration_since(clock::now());
        ctx.run_later(left, |actor, ctx| {
            actor.guarded(ctx, |actor, _| {
                // A later `Shutdown` may have moved the deadline.
                let deadline = actor.drains.shutdown_deadline();
                if deadline.is_some_and(|deadline| deadline <= clock::now()) {
                    let answers = actor.buffer.refuse_all(&Error::ShuttingDown);
                    actor.deliver(answers);
                }
            });
        });
    }

    /// Ends the component if it is shutting down and no request is pending.
    pub(super) fn end_if_drained(&mut self) {
        if !self.buffer.is_empty() {
            return;
        }
        let Some(report) = self.drains.end_shutdown() else { return };
        if let Some(ended) = self.ended.take() {
            tracing::info!(?report, "shut down");
            self.shared.ended_with(report);
            // The receiver is gone if the runtime is being dropped.
            let _ = ended.send(());
        }
    }
}

//! When the actor flushes the buffer.

use actix::{AsyncContext, Context};

use super::{BatchActor, reply::SharedReply};
use crate::rt::failpoint::failpoint;

impl BatchActor {
    pub(super) fn on_interval(&mut self, ctx: &mut Context<Self>) {
        let flushed = self.guarded(ctx, |actor, ctx| {
            failpoint("batch.timer");
            actor.flush_all(ctx);
        });
        // Cancel the interval only here, never next to a `ctx.stop()`. A cancellation made while
        // the mailbox drains outlives a restart. It would then cancel the new interval, because
        // handles count from 1 again.
        if flushed.is_some()
            && self.buffer.buffered() == 0
            && let Some(interval) = self.interval.take()
        {
            ctx.cancel_future(interval);
        }
    }

    pub(super) fn on_flush_due(&mut self, ctx: &mut Context<Self>) {
        self.is_flush_queued = false;
        let left = self.callers.left(self.buffer.due_requests());
        let effects = self.buffer.flush_due(&left);
        self.perform(effects, None, ctx);
    }

    /// Handles [`Flush`](crate::Flush): flushes the buffer, and replies when all requests that were
    /// buffered have ended.
    pub(super) fn on_flush(&mut self, ctx: &mut Context<Self>) -> SharedReply<()> {
        let reply = self.drains.begin_flush(self.buffer.buffered_requests());
        self.guarded(ctx, |actor, ctx| {
            failpoint("batch.flush");
            actor.flush_all(ctx);
        });
        reply
    }

    pub(super) fn flush_all(&mut self, ctx: &mut Context<Self>) {
        let left = self.callers.left(self.buffer.buffered_requests());
        let effects = self.buffer.flush_all(&left);
        self.perform(effects, None, ctx);
    }
}

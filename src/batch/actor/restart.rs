//! A panic ends in a restart, after a pause if restarts follow each other.

use std::{
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::Ordering::Relaxed,
};

use actix::{ActorContext, AsyncContext, Context, Supervised, fut::wrap_future};
use actix_rt::time::sleep;

use super::BatchActor;
use crate::rt::clock;

impl BatchActor {
    /// Runs a handler's work so that a panic ends in a restart. `Supervisor` alone does not survive a
    /// panic: it would unwind through the supervisor's own task, and the address would be dead for
    /// good.
    pub(super) fn guarded<R>(
        &mut self,
        ctx: &mut Context<Self>,
        work: impl FnOnce(&mut Self, &mut Context<Self>) -> R,
    ) -> Option<R> {
        let done = catch_unwind(AssertUnwindSafe(|| work(self, ctx)));
        if done.is_err() {
            self.has_panicked = true;
            // A supervisor restarts only an actor that has an address. Pending requests need their
            // answers even if all others have dropped theirs.
            self.own_addr = (!self.buffer.is_empty()).then(|| ctx.address());
            ctx.stop();
        }
        done.ok()
    }
}

impl Supervised for BatchActor {
    fn restarting(&mut self, ctx: &mut Context<Self>) {
        self.shared.counters.restarts.fetch_add(1, Relaxed);
        let (pending, pause) = (self.buffer.pending(), self.restarts.note(clock::now()));
        let reason = if mem::take(&mut self.has_panicked) { "it panicked" } else { "it stopped" };
        tracing::error!(pending, ?pause, "BatchActor restarts, because {reason}");
        if !pause.is_zero() {
            ctx.wait(wrap_future(sleep(pause)));
        }
        let answers = self.buffer.restarted();
        self.deliver(answers);
    }
}

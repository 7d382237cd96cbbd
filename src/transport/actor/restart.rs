//! A panic ends in a restart, after a pause if restarts follow each other.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::Ordering::Relaxed,
};

use actix::{ActorContext, AsyncContext, Context, Supervised, fut::wrap_future};
use actix_rt::time::sleep;

use super::TransportActor;
use crate::rt::clock;

impl TransportActor {
    /// Runs a handler's work. A panic ends in a restart, as in `BatchActor`. Unwinding drops the call,
    /// and its drop tells the `BatchActor` that the call is lost.
    pub(super) fn catch_panic(
        &mut self,
        ctx: &mut Context<Self>,
        work: impl FnOnce(&mut Self, &mut Context<Self>),
    ) {
        if catch_unwind(AssertUnwindSafe(|| work(self, ctx))).is_err() {
            self.restart_reason = Some("it panicked");
            ctx.stop();
        }
    }
}

impl Supervised for TransportActor {
    /// Restarts with a client, and so a connection pool, of its own.
    fn restarting(&mut self, ctx: &mut Context<Self>) {
        let pause = self.restarts.note(clock::now());
        let reason = self.restart_reason.take().unwrap_or("it stopped");
        self.shared.counters.restarts.fetch_add(1, Relaxed);
        tracing::error!(?pause, "TransportActor restarts, because {reason}");
        if !pause.is_zero() {
            ctx.wait(wrap_future(sleep(pause)));
        }
        self.http = None;
    }
}

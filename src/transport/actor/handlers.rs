//! The transport's message handlers.

use actix::{Context, Handler};

use super::{
    TransportActor,
    message::{AttemptCompleted, BackoffElapsed, BreakerUpdated, ProbeCompleted},
};
use crate::message::call::Call;

impl Handler<Call> for TransportActor {
    type Result = ();

    fn handle(&mut self, call: Call, ctx: &mut Context<Self>) {
        self.yield_counter.take(ctx);
        self.catch_panic(ctx, |actor, ctx| actor.on_call(call, ctx));
    }
}

impl Handler<AttemptCompleted> for TransportActor {
    type Result = ();

    fn handle(&mut self, completed: AttemptCompleted, ctx: &mut Context<Self>) {
        // Release the slot first, so that a panic below does not leak it.
        self.queue.release(&completed.job.call.request().user);
        self.catch_panic(ctx, |actor, ctx| {
            actor.on_attempt_completed(completed, ctx);
            actor.run_queue(ctx);
        });
    }
}

impl Handler<BackoffElapsed> for TransportActor {
    type Result = ();

    fn handle(&mut self, BackoffElapsed(job): BackoffElapsed, ctx: &mut Context<Self>) {
        self.catch_panic(ctx, |actor, ctx| actor.enqueue(job, ctx));
    }
}

impl Handler<ProbeCompleted> for TransportActor {
    type Result = ();

    fn handle(&mut self, completed: ProbeCompleted, ctx: &mut Context<Self>) {
        self.catch_panic(ctx, |actor, ctx| actor.on_probe_completed(completed, ctx));
    }
}

impl Handler<BreakerUpdated> for TransportActor {
    type Result = ();

    fn handle(&mut self, _: BreakerUpdated, ctx: &mut Context<Self>) {
        self.catch_panic(ctx, Self::on_breaker_updated);
    }
}

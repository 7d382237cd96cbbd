//! Which message leads to which work of the transport.

use actix::{Context, Handler};

use super::{
    TransportActor,
    attempts::{AttemptCompleted, BackoffElapsed},
    waiting::{BreakerUpdated, ProbeCompleted},
};
use crate::message::call::Call;

impl Handler<Call> for TransportActor {
    type Result = ();

    fn handle(&mut self, call: Call, ctx: &mut Context<Self>) {
        self.yield_counter.take(ctx);
        self.catch_panic(ctx, |actor, ctx| actor.receive(call, ctx));
    }
}

impl Handler<AttemptCompleted> for TransportActor {
    type Result = ();

    fn handle(&mut self, attempted: AttemptCompleted, ctx: &mut Context<Self>) {
        // First of all, so that nothing that fails later leaves the place taken.
        self.queue.release(attempted.user());
        self.catch_panic(ctx, |actor, ctx| {
            actor.on_attempt_completed(attempted, ctx);
            actor.start_attempts(ctx);
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

    fn handle(&mut self, probed: ProbeCompleted, ctx: &mut Context<Self>) {
        self.catch_panic(ctx, |actor, ctx| actor.on_probe_completed(probed, ctx));
    }
}

impl Handler<BreakerUpdated> for TransportActor {
    type Result = ();

    fn handle(&mut self, _: BreakerUpdated, ctx: &mut Context<Self>) {
        self.catch_panic(ctx, Self::on_breaker_update);
    }
}

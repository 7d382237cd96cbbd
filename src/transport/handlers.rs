//! Which message leads to which work of the transport.

use actix::{Context, Handler};

use super::{
    actor::TransportActor,
    attempts::{Again, Attempted},
};
use crate::{call::Call, clock};

impl Handler<Call> for TransportActor {
    type Result = ();

    fn handle(&mut self, call: Call, ctx: &mut Context<Self>) {
        self.turns.take(ctx);
        self.guarded(ctx, |actor, ctx| actor.receive(call, ctx));
    }
}

impl Handler<Attempted> for TransportActor {
    type Result = ();

    fn handle(&mut self, attempted: Attempted, ctx: &mut Context<Self>) {
        // First of all, so that nothing that fails later leaves the place taken.
        self.queue.leave(attempted.user());
        let trial = attempted.trial;
        let settled = self.guarded(ctx, |actor, ctx| {
            actor.settle(attempted, ctx);
            actor.show_breaker();
            actor.start_attempts(ctx);
        });
        if !settled {
            self.upstream.without_outcome(trial, clock::now());
        }
    }
}

impl Handler<Again> for TransportActor {
    type Result = ();

    fn handle(&mut self, Again(job): Again, ctx: &mut Context<Self>) {
        self.guarded(ctx, |actor, ctx| actor.enqueue(job, ctx));
    }
}

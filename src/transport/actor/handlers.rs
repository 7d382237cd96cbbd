//! Which message leads to which work of the transport.

use actix::{Context, Handler};

use super::{
    TransportActor,
    attempts::{Again, Attempted},
    parked::{News, Probed},
};
use crate::message::call::Call;

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
        self.guarded(ctx, |actor, ctx| {
            actor.settle(attempted, ctx);
            actor.start_attempts(ctx);
        });
    }
}

impl Handler<Again> for TransportActor {
    type Result = ();

    fn handle(&mut self, Again(job): Again, ctx: &mut Context<Self>) {
        self.guarded(ctx, |actor, ctx| actor.enqueue(job, ctx));
    }
}

impl Handler<Probed> for TransportActor {
    type Result = ();

    fn handle(&mut self, probed: Probed, ctx: &mut Context<Self>) {
        self.guarded(ctx, |actor, ctx| actor.probed(probed, ctx));
    }
}

impl Handler<News> for TransportActor {
    type Result = ();

    fn handle(&mut self, _: News, ctx: &mut Context<Self>) {
        self.guarded(ctx, Self::hear_news);
    }
}

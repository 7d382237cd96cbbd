//! Which message leads to which work of the actor.

use actix::{Context, Handler};

use super::{
    BatchActor, Settle,
    flush::FlushDue,
    reply::{DeferredReply, SharedReply},
};
use crate::message::{
    CheckGates, Flush, GetConfigs, KeyChanged, Shutdown, ShutdownReport, call::Report,
};

impl Handler<CheckGates> for BatchActor {
    type Result = DeferredReply<CheckGates>;

    fn handle(
        &mut self,
        message: CheckGates,
        ctx: &mut Context<Self>,
    ) -> DeferredReply<CheckGates> {
        self.accept(message, ctx)
    }
}

impl Handler<GetConfigs> for BatchActor {
    type Result = DeferredReply<GetConfigs>;

    fn handle(
        &mut self,
        message: GetConfigs,
        ctx: &mut Context<Self>,
    ) -> DeferredReply<GetConfigs> {
        self.accept(message, ctx)
    }
}

impl Handler<Report> for BatchActor {
    type Result = bool;

    fn handle(&mut self, report: Report, ctx: &mut Context<Self>) -> bool {
        match report {
            Report::Completed { call, outcome, span } => {
                self.complete(call, outcome, &span, ctx);
                false
            }
            Report::IsWanted { call } => self.is_wanted(call),
            Report::Distrust => {
                self.forget();
                false
            }
        }
    }
}

impl Handler<Flush> for BatchActor {
    type Result = SharedReply<()>;

    fn handle(&mut self, _: Flush, ctx: &mut Context<Self>) -> SharedReply<()> {
        self.flush(ctx)
    }
}

impl Handler<KeyChanged> for BatchActor {
    type Result = ();

    fn handle(&mut self, _: KeyChanged, ctx: &mut Context<Self>) {
        self.guarded(ctx, |actor, _| actor.forget());
    }
}

impl Handler<Shutdown> for BatchActor {
    type Result = SharedReply<ShutdownReport>;

    fn handle(&mut self, message: Shutdown, ctx: &mut Context<Self>) -> Self::Result {
        self.shut_down(message.limit, ctx)
    }
}

impl Handler<FlushDue> for BatchActor {
    type Result = ();

    fn handle(&mut self, _: FlushDue, ctx: &mut Context<Self>) {
        self.guarded(ctx, Self::flush_due);
    }
}

impl Handler<Settle> for BatchActor {
    type Result = ();

    fn handle(&mut self, _: Settle, ctx: &mut Context<Self>) {
        self.guarded(ctx, |actor, _| actor.settle());
    }
}

//! The actor's message handlers. Each delegates to the method that does the work.

use actix::{Context, Handler};

use super::{
    BatchActor,
    message::FlushDue,
    reply::{DeferredReply, SharedReply},
};
use crate::message::{
    CheckGates, Flush, GetConfigs, KeyChanged, Shutdown, ShutdownReport,
    call::{CallCompleted, DistrustAnswers, IsCallWanted},
};

impl Handler<CheckGates> for BatchActor {
    type Result = DeferredReply<CheckGates>;

    fn handle(&mut self, message: CheckGates, ctx: &mut Context<Self>) -> Self::Result {
        self.accept(message, ctx)
    }
}

impl Handler<GetConfigs> for BatchActor {
    type Result = DeferredReply<GetConfigs>;

    fn handle(&mut self, message: GetConfigs, ctx: &mut Context<Self>) -> Self::Result {
        self.accept(message, ctx)
    }
}

impl Handler<CallCompleted> for BatchActor {
    type Result = ();

    fn handle(&mut self, message: CallCompleted, ctx: &mut Context<Self>) {
        self.complete(message, ctx);
    }
}

impl Handler<IsCallWanted> for BatchActor {
    type Result = bool;

    fn handle(&mut self, message: IsCallWanted, _: &mut Context<Self>) -> bool {
        self.is_wanted(message.call)
    }
}

impl Handler<DistrustAnswers> for BatchActor {
    type Result = ();

    fn handle(&mut self, _: DistrustAnswers, ctx: &mut Context<Self>) {
        self.guarded(ctx, |actor, _| actor.distrust_answers());
    }
}

impl Handler<Flush> for BatchActor {
    type Result = SharedReply<()>;

    fn handle(&mut self, _: Flush, ctx: &mut Context<Self>) -> SharedReply<()> {
        self.on_flush(ctx)
    }
}

impl Handler<KeyChanged> for BatchActor {
    type Result = ();

    fn handle(&mut self, _: KeyChanged, ctx: &mut Context<Self>) {
        self.guarded(ctx, |actor, _| actor.distrust_answers());
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
        self.guarded(ctx, Self::on_flush_due);
    }
}

//! The actor's part in flushing: when it looks for what is to leave, and how that leaves.

use std::{collections::HashSet, sync::atomic::Ordering::Relaxed};

use actix::{AsyncContext, Context, Message};
use tracing::Span;

use super::{BatchActor, Settle, drain::RequestOutcome};
use crate::{
    batch::buffer::{CallId, Effects, group::RequestId},
    message::call::{Call, CallRequest},
    rt::failpoint::failpoint,
    telemetry::spans,
};

/// To itself: groups are due before the interval has run.
pub(super) struct FlushDue;

impl Message for FlushDue {
    type Result = ();
}

impl BatchActor {
    /// Sees to it that what is buffered is flushed: what is due once the messages that are queued
    /// now have been taken in (which is also when their reply senders are here), the rest when the
    /// interval has run.
    ///
    /// Through the mailbox, for `ctx.notify` overtakes what is queued there whenever the actor
    /// takes its turn.
    pub(super) fn schedule(&mut self, ctx: &mut Context<Self>) {
        if self.buffer.is_due() && !self.due_is_announced {
            self.due_is_announced = true;
            ctx.address().do_send(FlushDue);
        }
        if self.buffer.is_waiting() && self.interval.is_none() {
            self.interval = Some(ctx.run_interval(self.flush_interval, Self::on_interval));
        }
        self.shared.counters.buffered.store(self.buffer.buffered() as u64, Relaxed);
        self.shared.counters.in_flight.store(self.buffer.in_flight() as u64, Relaxed);
    }

    fn on_interval(&mut self, ctx: &mut Context<Self>) {
        let flushed = self.guarded(ctx, |actor, ctx| {
            failpoint("batch.timer");
            actor.flush_all(ctx);
        });
        // Here alone, and never beside a `ctx.stop()`: a handle that is cancelled while the mailbox
        // is drained outlives a restart, where it would hit the new interval, whose handle counts
        // from 1 again.
        if flushed.is_some()
            && self.buffer.buffered() == 0
            && let Some(interval) = self.interval.take()
        {
            ctx.cancel_future(interval);
        }
    }

    pub(super) fn flush_due(&mut self, ctx: &mut Context<Self>) {
        self.due_is_announced = false;
        let flushed = self.buffer.flush_due(|request| self.callers.is_present(request));
        self.take_out(flushed, ctx);
    }

    pub(super) fn flush_all(&mut self, ctx: &mut Context<Self>) {
        let flushed = self.buffer.flush_all(|request| self.callers.is_present(request));
        self.take_out(flushed, ctx);
    }

    fn take_out(&mut self, flushed: Effects, ctx: &mut Context<Self>) {
        if !flushed.abandoned.is_empty() {
            // Not at once: this may be the handler of a `Flush`, whose sender comes after it.
            ctx.notify(Settle);
        }
        for request in flushed.abandoned {
            self.callers.forget(request);
            self.shared.counters.abandoned();
            self.drains.ended(request, RequestOutcome::Abandoned);
        }
        if !flushed.calls.is_empty() {
            let span = spans::flush(flushed.calls.len());
            let calls = flushed.calls.iter();
            self.follow(&span, calls.flat_map(|(call, _)| self.buffer.requests_of(*call)));
            self.launch(flushed.calls, &span, ctx);
        }
        self.schedule(ctx);
    }

    /// Notes that the span follows from these requests, as far as they have not ended.
    pub(super) fn follow(&self, span: &Span, requests: impl Iterator<Item = RequestId>) {
        if !span.is_disabled() {
            self.callers.lead_to(span, requests.collect::<HashSet<_>>());
        }
    }

    pub(super) fn launch(
        &mut self,
        requests: Vec<(CallId, CallRequest)>,
        within: &Span,
        ctx: &mut Context<Self>,
    ) {
        self.shared.counters.calls.fetch_add(requests.len() as u64, Relaxed);
        let reply_to = || ctx.address().recipient();
        // All of them before the first is sent: a call that a panic keeps from being sent is
        // dropped, and says so.
        let calls = requests.into_iter();
        let calls: Vec<_> =
            calls.map(|(id, request)| (id, Call::new(id, request, reply_to(), within))).collect();
        for (id, call) in calls {
            // Now, for some may have ended when it has its outcome.
            self.follow(call.span(), self.buffer.requests_of(id));
            #[cfg(feature = "metrics")]
            crate::telemetry::metrics::call_began(call.request().kind, call.request().names.len());
            self.transports.send(call);
        }
    }
}

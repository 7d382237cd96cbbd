//! How the actor performs the buffer's decisions.

use std::{collections::HashSet, sync::atomic::Ordering::Relaxed};

use actix::{AsyncContext, Context};
use tracing::Span;

use super::{BatchActor, drain::RequestOutcome, message::FlushDue};
use crate::{
    batch::buffer::{Answer, CallId, Effects, group::RequestId},
    message::call::{Call, CallOwner, CallRequest},
    model::error::Error,
    telemetry::spans,
};

impl BatchActor {
    /// Performs the effects of a flush, or those of a completed call, whose span is `ended_call`.
    pub(super) fn perform(
        &mut self,
        effects: Effects,
        ended_call: Option<&Span>,
        ctx: &mut Context<Self>,
    ) {
        let Effects { calls, answers, abandoned } = effects;
        for request in abandoned {
            self.abandon(request);
        }
        self.deliver(answers);
        match ended_call {
            Some(span) => self.launch(calls, span, ctx),
            None if calls.is_empty() => {}
            None => {
                let span = spans::flush(calls.len());
                let requests = calls.iter().flat_map(|(call, _)| self.buffer.requests_of(*call));
                self.follow(&span, requests);
                self.launch(calls, &span, ctx);
            }
        }
        self.schedule(ctx);
    }

    fn abandon(&mut self, request: RequestId) {
        self.callers.remove(request);
        self.shared.counters.abandoned();
        self.drains.request_ended(request, RequestOutcome::Abandoned);
    }

    /// Sends the answers to their callers.
    pub(super) fn deliver(&mut self, answers: Vec<Answer>) {
        for answer in answers {
            let request = answer.request;
            let result = answer.result.as_ref().map(drop).map_err(Error::clone);
            if let Ok(evaluations) = &answer.result {
                self.shared.counters.answered_with(evaluations);
            }
            // Counted first, so that the statistics include an answer before its caller has it.
            self.shared.counters.answered(&result);
            let is_received = self.callers.answer(answer);
            match &result {
                _ if !is_received => self.shared.counters.abandoned_instead(&result),
                Ok(()) => {}
                Err(error) => self.shared.failed(error),
            }
            self.drains.request_ended(request, RequestOutcome::of(&result, is_received));
        }
        self.end_if_drained();
    }

    fn launch(
        &mut self,
        calls: Vec<(CallId, CallRequest)>,
        parent: &Span,
        ctx: &mut Context<Self>,
    ) {
        if calls.is_empty() {
            return;
        }
        self.shared.counters.calls.fetch_add(calls.len() as u64, Relaxed);
        let owner = CallOwner::new(&ctx.address());
        // Make all calls before sending the first. If a panic stops the loop, the unsent calls
        // report themselves as lost when they are dropped.
        let calls = calls.into_iter();
        let calls: Vec<_> =
            calls.map(|(id, request)| (id, Call::new(id, request, &owner, parent))).collect();
        for (id, call) in calls {
            // Link the spans now, because some requests may end before the call does.
            self.follow(call.span(), self.buffer.requests_of(id));
            #[cfg(feature = "metrics")]
            crate::telemetry::metrics::call_began(call.request().kind, call.request().names.len());
            self.dispatcher.dispatch(call);
        }
    }

    /// Records that the span follows from these requests, except those that have ended.
    pub(super) fn follow(&self, span: &Span, requests: impl Iterator<Item = RequestId>) {
        if !span.is_disabled() {
            self.callers.lead_to(span, requests.collect::<HashSet<_>>());
        }
    }

    /// Schedules the next flush. Due groups are flushed after the messages that are queued now,
    /// other groups at the next interval.
    ///
    /// `FlushDue` goes through the mailbox, because `ctx.notify` would overtake the queued
    /// messages.
    pub(super) fn schedule(&mut self, ctx: &mut Context<Self>) {
        if self.buffer.is_due() && !self.is_flush_queued {
            self.is_flush_queued = true;
            ctx.address().do_send(FlushDue);
        }
        if self.buffer.is_waiting() && self.interval.is_none() {
            self.interval = Some(ctx.run_interval(self.flush_interval, Self::on_interval));
        }
        self.shared.counters.buffered.store(self.buffer.buffered() as u64, Relaxed);
        self.shared.counters.in_flight.store(self.buffer.in_flight() as u64, Relaxed);
    }
}

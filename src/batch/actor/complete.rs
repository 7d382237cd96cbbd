//! The actor's part in dealing out the outcomes of calls.

use std::{sync::Arc, time::Instant};

use actix::{AsyncContext, Context};
use tracing::Span;

use super::{BatchActor, waiters::Ending};
use crate::{
    batch::buffer::{
        Answer, CallId,
        refused_key::{PAUSE, Verdict},
    },
    message::call::{Call, Outcome},
    model::error::{self, Error},
    rt::{clock, failpoint::failpoint},
    shared::cache::{Key, KeyRef},
    telemetry::spans,
};

impl BatchActor {
    pub(super) fn is_wanted(&self, call: CallId) -> bool {
        self.buffer.is_wanted(call, |request| self.callers.is_present(request))
    }

    pub(super) fn complete(
        &mut self,
        call: CallId,
        outcome: Option<Outcome>,
        span: &Span,
        ctx: &mut Context<Self>,
    ) {
        self.turns.take(ctx);
        if self.guarded(ctx, |actor, ctx| actor.deal_out(call, outcome, span, ctx)).is_none() {
            let error = Error::Internal { detail: "the completion of the call panicked" };
            let dealt = self.buffer.complete(call, Err(error), clock::now(), |_, _, _, _| None);
            self.give(dealt.answers, Ending::Failed);
        }
    }

    fn deal_out(
        &mut self,
        call: CallId,
        outcome: Option<Outcome>,
        span: &Span,
        ctx: &mut Context<Self>,
    ) {
        failpoint("batch.completion");
        let outcome = match (outcome, self.buffer.call(call)) {
            (Some(outcome), _) => outcome,
            (None, Some(request)) if self.is_wanted(call) && self.sent_again.insert(call) => {
                tracing::warn!(
                    path = request.kind.path(),
                    "a transport lost a call: sending it again"
                );
                spans::ended(span, spans::LOST);
                let next = Call::new(call, request.clone(), ctx.address().recipient(), span);
                self.follow(span, self.buffer.joiners_of(call));
                self.follow(next.span(), self.buffer.requests_of(call));
                return self.transports.send(next);
            }
            (None, _) => Err(Error::Internal { detail: "the transport lost the call" }),
        };
        self.sent_again.remove(&call);
        if let Some(request) = self.buffer.call(call) {
            self.shared.log_call(span, request, &outcome);
        }
        // What nobody waits for any more was given up here, and says nothing of Statsig.
        if outcome.is_ok() || self.is_wanted(call) {
            let is_ones_own = self.is_ones_own_trouble(call, &outcome);
            self.shared.call_ended(&outcome, is_ones_own);
            spans::ended(span, error::outcome(outcome.as_ref()));
        } else {
            spans::ended(span, spans::ABANDONED);
        }
        self.follow(span, self.buffer.joiners_of(call));
        let now = clock::now();
        self.cache_evaluations(call, &outcome, now);
        let shared = &self.shared;
        let dealt = self.buffer.complete(call, outcome, now, |error, lane, kind, name| {
            let key = KeyRef { user: &lane.user, exposure: lane.exposure, kind, name };
            if error.is_outage() { shared.in_place_of_error(key, now) } else { None }
        });
        self.give(dealt.answers, Ending::Failed);
        self.launch(dealt.calls, span, ctx);
        self.schedule(ctx);
    }

    /// Whether the call failed for its user alone, while others are answered.
    fn is_ones_own_trouble(&mut self, call: CallId, outcome: &Outcome) -> bool {
        let Some(request) = self.buffer.call(call) else { return false };
        match outcome {
            Err(error) if error.is_failure() => self.failing_user.failed(&request.user),
            _ => {
                self.failing_user.answered(&request.user);
                false
            }
        }
    }

    /// Keeps what Statsig has said, but for what has been asked anew since. Once it has refused the
    /// key for good, nothing is good any more of what was asked before, be it answered yet or not.
    fn cache_evaluations(&mut self, id: CallId, outcome: &Outcome, now: Instant) {
        let cache = &self.shared.cache;
        match (outcome, self.buffer.call(id)) {
            (Ok(evaluations), Some(call)) if self.refusals.accepted(id) && cache.is_on() => {
                let cache_time = self.shared.cache_time(now);
                let superseded = self.buffer.is_superseded(id);
                for ((name, evaluation), is_superseded) in
                    call.names.iter().zip(evaluations).zip(superseded)
                {
                    let Some(evaluation) = evaluation.as_ref().filter(|_| !is_superseded) else {
                        continue;
                    };
                    let (user, name) = (call.user.clone(), Arc::clone(name));
                    let key = Key { user, exposure: call.exposure, kind: call.kind, name };
                    cache.insert(key, evaluation.clone(), cache_time);
                }
            }
            (Err(Error::Unauthorized { status, .. }), _) => {
                match self.refusals.refused(id, self.buffer.last_call(), now) {
                    Verdict::Doubt => {}
                    Verdict::Refused { is_new } => {
                        cache.clear();
                        if is_new {
                            tracing::error!(
                                status,
                                "Statsig refuses the API key, and has done so for {PAUSE:?}: what \
                                 was kept is given to nobody any more"
                            );
                        }
                    }
                }
            }
            _ => {}
        }
    }

    /// Forgets what is kept, and keeps nothing of the calls that have been made so far.
    pub(super) fn forget(&mut self) {
        self.shared.cache.clear();
        self.refusals.distrust(self.buffer.last_call());
    }

    pub(super) fn give(&mut self, answers: Vec<Answer>, failed: Ending) {
        for answer in answers {
            let request = answer.request;
            let result = answer.result.as_ref().map(drop).map_err(Error::clone);
            if let Ok(evaluations) = &answer.result {
                self.shared.counters.answered_with(evaluations);
            }
            // Counted first: whoever has the answer finds it in the statistics.
            self.shared.counters.answered(&result);
            let ending = match (self.callers.answer(answer), &result) {
                (false, _) => {
                    self.shared.counters.abandoned_instead(&result);
                    Ending::Abandoned
                }
                (true, Ok(())) => Ending::Answered,
                (true, Err(error)) => {
                    self.shared.failed(error);
                    failed
                }
            };
            self.waits.ended(request, ending);
        }
        self.settle();
    }
}

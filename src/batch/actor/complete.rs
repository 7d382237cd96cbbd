//! How the actor handles the outcome of a call.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use actix::{AsyncContext, Context};
use tracing::Span;

use super::BatchActor;
use crate::{
    batch::buffer::{
        CallId, PartialResults,
        key_status::{KeyVerdict, PAUSE},
    },
    message::call::{Call, CallCompleted, CallOwner, CallRequest, Outcome},
    model::{
        error::{self, Error},
        evaluation::Evaluation,
    },
    rt::{clock, failpoint::failpoint},
    shared::cache::{Key, KeyRef},
    telemetry::spans,
};

impl BatchActor {
    /// Whether a caller still waits for the call.
    pub(super) fn is_wanted(&self, call: CallId) -> bool {
        self.buffer.requests_of(call).any(|request| self.callers.is_present(request))
    }

    pub(super) fn complete(&mut self, message: CallCompleted, ctx: &mut Context<Self>) {
        let CallCompleted { call, outcome, span } = message;
        self.turns.take(ctx);
        let done = self.guarded(ctx, |actor, ctx| {
            failpoint("batch.completion");
            actor.handle_outcome(call, outcome, &span, ctx);
        });
        if done.is_none() {
            let error = Error::Internal { detail: "the completion of the call panicked" };
            let stale = PartialResults::new();
            let effects = self.buffer.complete(call, Err(error), stale, clock::now());
            self.deliver(effects.answers);
        }
    }

    fn handle_outcome(
        &mut self,
        call: CallId,
        outcome: Option<Outcome>,
        span: &Span,
        ctx: &mut Context<Self>,
    ) {
        let outcome = match outcome {
            Some(outcome) => outcome,
            None if self.resend(call, span, ctx) => return,
            None => Err(Error::Internal { detail: "the transport lost the call" }),
        };
        self.resent.remove(&call);
        self.record_outcome(call, &outcome, span);
        self.follow(span, self.buffer.joiners_of(call));
        let now = clock::now();
        let age_base = self.shared.ageing(now);
        self.record_in_cache(call, &outcome, now, age_base);
        let stale = self.stale_results(call, &outcome, age_base);
        let effects = self.buffer.complete(call, outcome, stale, now);
        self.perform(effects, Some(span), ctx);
    }

    /// Sends a call that its transport lost a second time, if a caller still waits for it. Returns
    /// whether it did so.
    fn resend(&mut self, call: CallId, span: &Span, ctx: &Context<Self>) -> bool {
        let Some(request) = self.buffer.call(call) else { return false };
        if !self.is_wanted(call) || !self.resent.insert(call) {
            return false;
        }
        let path = request.kind.path();
        tracing::warn!(path, "the transport lost a call; sending the call again");
        spans::ended(span, spans::LOST);
        let owner = CallOwner::new(&ctx.address());
        let next = Call::new(call, request.clone(), &owner, span);
        self.follow(span, self.buffer.joiners_of(call));
        self.follow(next.span(), self.buffer.requests_of(call));
        self.dispatcher.dispatch(next);
        true
    }

    /// Notes what the outcome says about Statsig's health. A failed call that all its callers
    /// abandoned says nothing: the transport has given it up.
    fn record_outcome(&mut self, call: CallId, outcome: &Outcome, span: &Span) {
        if outcome.is_err() && !self.is_wanted(call) {
            return spans::ended(span, spans::ABANDONED);
        }
        let is_user_specific = self.is_user_specific(call, outcome);
        self.shared.call_ended(outcome, is_user_specific);
        spans::ended(span, error::outcome(outcome.as_ref()));
    }

    /// Whether the call failed for its user alone, while the calls of other users are answered.
    fn is_user_specific(&mut self, call: CallId, outcome: &Outcome) -> bool {
        let Some(CallRequest { user, .. }) = self.buffer.call(call) else { return false };
        if outcome.as_ref().is_err_and(Error::is_failure) {
            return self.failing_user.record_failure(user);
        }
        self.failing_user.record_answer(user);
        false
    }

    /// Caches the evaluations that the call brought. Clears the cache if Statsig refuses the API key
    /// for good: answers to a refused key, cached or on their way, are not valid any more.
    fn record_in_cache(&mut self, id: CallId, outcome: &Outcome, now: Instant, age_base: Duration) {
        match (outcome, self.buffer.call(id)) {
            (Ok(evaluations), Some(call)) if self.key_status.record_answer(id) => {
                self.cache_evaluations(id, call, evaluations, age_base);
            }
            (Err(Error::Unauthorized { status, .. }), _) => {
                let verdict = self.key_status.record_refusal(id, self.buffer.last_call(), now);
                let KeyVerdict::Refused { is_new } = verdict else { return };
                self.shared.cache.clear();
                if is_new {
                    tracing::error!(
                        status,
                        "Statsig has refused the API key for {PAUSE:?}: the cache is cleared. Check \
                         the key, or replace it with `set_api_key`"
                    );
                }
            }
            _ => {}
        }
    }

    fn cache_evaluations(
        &self,
        id: CallId,
        call: &CallRequest,
        evaluations: &[Option<Evaluation>],
        age_base: Duration,
    ) {
        if !self.shared.cache.is_on() {
            return;
        }
        let results = call.names.iter().zip(evaluations).zip(self.buffer.is_superseded(id));
        for ((name, evaluation), is_superseded) in results {
            let Some(evaluation) = evaluation.as_ref().filter(|_| !is_superseded) else { continue };
            let (user, name) = (call.user.clone(), Arc::clone(name));
            let key = Key { user, exposure: call.exposure, kind: call.kind, name };
            self.shared.cache.insert(key, evaluation.clone(), age_base);
        }
    }

    /// The stale evaluations to deliver in place of an outage's error.
    fn stale_results(&self, call: CallId, outcome: &Outcome, age_base: Duration) -> PartialResults {
        let is_outage = outcome.as_ref().is_err_and(Error::is_outage);
        let call = self.buffer.call(call).filter(|_| is_outage);
        let Some(CallRequest { user, exposure, kind, names, .. }) = call else {
            return PartialResults::new();
        };
        let cache = &self.shared.cache;
        let results = names.iter().map(|name| {
            let key = KeyRef { user, exposure: *exposure, kind: *kind, name };
            cache.get_with(key, || age_base, || true, Evaluation::with_origin)
        });
        results.collect()
    }

    /// Clears the cache, and caches nothing from the calls made so far.
    pub(super) fn distrust_answers(&mut self) {
        self.shared.cache.clear();
        self.key_status.distrust_up_to(self.buffer.last_call());
    }
}

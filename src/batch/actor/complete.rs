//! How the actor handles the outcome of a call.

use std::{sync::Arc, time::Instant};

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
        if let Some(request) = self.buffer.call(call) {
            self.shared.log_call(span, request, &outcome);
        }
        self.record_outcome(call, &outcome, span);
        self.follow(span, self.buffer.joiners_of(call));
        let now = clock::now();
        self.record_in_cache(call, &outcome, now);
        let stale = self.stale_results(call, &outcome, now);
        let effects = self.buffer.complete(call, outcome, stale, now);
        self.perform(effects, Some(span), ctx);
    }

    /// Resends a call that its transport lost, once, if a caller still waits for it. Returns
    /// whether the call was resent.
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

    /// Records what the outcome says about Statsig's health. A failed call that all its callers
    /// abandoned says nothing: the transport gave the call up.
    fn record_outcome(&mut self, call: CallId, outcome: &Outcome, span: &Span) {
        if outcome.is_err() && !self.is_wanted(call) {
            return spans::ended(span, spans::ABANDONED);
        }
        let is_user_specific = self.is_user_specific(call, outcome);
        self.shared.call_ended(outcome, is_user_specific);
        spans::ended(span, error::outcome(outcome.as_ref()));
    }

    /// Whether only this user's calls fail, while those of other users are answered.
    fn is_user_specific(&mut self, call: CallId, outcome: &Outcome) -> bool {
        let Some(CallRequest { user, .. }) = self.buffer.call(call) else { return false };
        if outcome.as_ref().is_err_and(Error::is_failure) {
            return self.failing_user.record_failure(user);
        }
        self.failing_user.record_answer(user);
        false
    }

    /// Caches the evaluations of an answered call. Clears the cache once Statsig refuses the API
    /// key for good: answers to a refused key, cached or in flight, are no longer valid.
    fn record_in_cache(&mut self, id: CallId, outcome: &Outcome, now: Instant) {
        match (outcome, self.buffer.call(id)) {
            (Ok(evaluations), Some(call)) if self.key_status.record_answer(id) => {
                self.cache_evaluations(id, call, evaluations, now);
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
        now: Instant,
    ) {
        if !self.shared.cache.is_on() {
            return;
        }
        let cache_time = self.shared.cache_time(now);
        let results = call.names.iter().zip(evaluations).zip(self.buffer.is_superseded(id));
        for ((name, evaluation), is_superseded) in results {
            let Some(evaluation) = evaluation.as_ref().filter(|_| !is_superseded) else { continue };
            let (user, name) = (call.user.clone(), Arc::clone(name));
            let key = Key { user, exposure: call.exposure, kind: call.kind, name };
            self.shared.cache.insert(key, evaluation.clone(), cache_time);
        }
    }

    /// The stale evaluations to deliver in place of an outage's error.
    fn stale_results(&self, call: CallId, outcome: &Outcome, now: Instant) -> PartialResults {
        let is_outage = outcome.as_ref().is_err_and(Error::is_outage);
        let call = self.buffer.call(call).filter(|_| is_outage);
        let Some(CallRequest { user, exposure, kind, names, .. }) = call else {
            return PartialResults::new();
        };
        let results = names.iter().map(|name| {
            let key = KeyRef { user, exposure: *exposure, kind: *kind, name };
            self.shared.in_place_of_error(key, now)
        });
        results.collect()
    }

    /// Clears the cache, and keeps the answers of all calls made so far out of it.
    pub(super) fn distrust_answers(&mut self) {
        self.shared.cache.clear();
        self.key_status.distrust_up_to(self.buffer.last_call());
    }
}

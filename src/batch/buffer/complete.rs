//! From the outcome of a call to the answers of requests.

use std::{iter::repeat_n, mem, rc::Rc, sync::Arc, time::Instant};

use smallvec::smallvec;

use super::{
    Answer, Buffer, CallId, Effects, Evaluations, InFlightCall, PendingRequest, WORTHWHILE,
    bisect::{part, parts, refuses_whole_call},
    group::{BatchKey, NameKey, Waiter, Waiters},
    refused_names::NameVerdict,
};
use crate::{
    message::call::{CallRequest, Outcome},
    model::{call_kind::CallKind, error::Error, evaluation::Evaluation},
};

/// Why a name has no evaluation from Statsig, and what there is instead.
struct Failure {
    error: Error,
    instead: Option<Evaluation>,
}

impl Buffer {
    /// Deals the outcome of a call out to its requests. An outcome of a call that is not in flight,
    /// which a restarted transport may bring, changes nothing.
    ///
    /// A refusal of several names together does not say which of them is to blame: they are asked
    /// for again in halves, until the refused ones stand alone; they are remembered, and go out alone
    /// from then on. Where a name has failed, `fallback` may have an evaluation instead of the error.
    pub(crate) fn complete(
        &mut self,
        call: CallId,
        outcome: Outcome,
        now: Instant,
        fallback: impl Fn(&Error, &BatchKey, CallKind, &Arc<str>) -> Option<Evaluation>,
    ) -> Effects {
        let Some(open) = self.calls.get(&call) else { return Effects::default() };
        if let Err(error) = &outcome
            && refuses_whole_call(error)
            && open.names.len() > 1
        {
            return self.ask_in_parts(call, error);
        }
        // Before anything is changed: a panic in the fallback leaves the call in flight.
        let said = NameVerdict::of(&outcome);
        let given = given(&open.request, outcome, fallback);
        let Some(open) = self.end_call(call) else { return Effects::default() };
        let InFlightCall { request, group, names, bisection } = open;
        self.refused.record(bisection, &request, said, now);
        let mut answers = Vec::with_capacity(names.len());
        for (name, given) in names.into_iter().zip(given) {
            let Some((key, name)) = self.groups.remove_name(name) else { continue };
            match given {
                Ok(evaluation) => self.deliver(name.waiters, evaluation, &mut answers),
                Err(failure) => {
                    let waiters = self.fail(name.waiters, *failure, &request, now, &mut answers);
                    self.ask_again(key, waiters);
                }
            }
        }
        self.groups.remove_or_reschedule(group);
        Effects { answers, ..Effects::default() }
    }

    fn ask_in_parts(&mut self, call: CallId, refusal: &Error) -> Effects {
        let Some(open) = self.end_call(call) else { return Effects::default() };
        let InFlightCall { request, group, names, bisection } = open;
        let parts = parts(&request, |name| self.refused.contains(request.kind, name));
        let bisection = Some(self.refused.split(bisection, parts.len()));
        let calls = parts.into_iter().map(|positions| {
            let request = part(&request, refusal, &positions);
            let names = positions.iter().map(|at| names[*at]).collect();
            self.start_call(InFlightCall { request, group, names, bisection })
        });
        Effects { calls: calls.collect(), ..Effects::default() }
    }

    fn deliver(&mut self, waiters: Waiters, evaluation: Evaluation, answers: &mut Vec<Answer>) {
        answers.reserve(waiters.len());
        let held = self.byte_budget.charge(&evaluation);
        let evaluations = repeat_n(evaluation, waiters.len());
        for (waiter, evaluation) in waiters.into_iter().zip(evaluations) {
            let Some(pending) = self.requests.get_mut(waiter.request) else { continue };
            if let Some(evaluations) = pending.insert(waiter, evaluation) {
                self.requests.remove(waiter.request);
                answers.push(Answer { request: waiter.request, result: Ok(evaluations) });
            } else if let Some(held) = &held {
                pending.charges.get_or_insert_default().push(Rc::clone(held));
            }
        }
        drop(held);
        self.shed_largest(answers);
    }

    /// Deals out what there is instead of an evaluation, and the error to those whom nothing else
    /// will do. Returns who is to be asked for again.
    fn fail(
        &mut self,
        mut waiters: Waiters,
        failure: Failure,
        call: &CallRequest,
        now: Instant,
        answers: &mut Vec<Answer>,
    ) -> Waiters {
        let Failure { error, instead } = failure;
        if let Some(instead) = instead {
            let (strict, lenient) = waiters.into_iter().partition(|waiter| {
                self.requests.get(waiter.request).is_some_and(|request| request.bypass_cache)
            });
            self.deliver(lenient, instead, answers);
            waiters = strict;
        }
        let has_a_chance = |waiter: &Waiter| self.has_second_chance(*waiter, &error, call, now);
        let (again, failed): (Waiters, Waiters) = waiters.into_iter().partition(has_a_chance);
        let refused = failed.into_iter().map(|waiter| self.refuse(waiter.request, error.clone()));
        answers.extend(refused.flatten());
        again
    }

    /// Those who joined the call when it was under way already, and those who rode in a call that
    /// ran out of somebody else's time, have had only a part of their own: while they have some
    /// left they are asked for again.
    fn has_second_chance(
        &self,
        waiter: Waiter,
        error: &Error,
        call: &CallRequest,
        now: Instant,
    ) -> bool {
        let Some(request) = self.requests.get(waiter.request) else { return false };
        let ran_out = matches!(error, Error::Timeout { .. }) && call.deadline <= now;
        let was_cut_short = ran_out && request.deadline > call.deadline + WORTHWHILE;
        // The former once; the latter ends by itself, for each time somebody's time is over.
        let is_asked_again = was_cut_short || (waiter.joined && !waiter.again);
        is_asked_again && error.is_retryable() && request.deadline > now
    }

    fn ask_again(&mut self, NameKey { group, kind, name }: NameKey, waiters: Waiters) {
        if waiters.is_empty() {
            return;
        }
        // Never by joining a call that somebody who asked past the cache has caused meanwhile: its
        // deadline is later than that of those who are asked for again.
        let id = self.groups.buffer_name(group, kind, name, true);
        for waiter in waiters {
            self.groups.add_waiter(id, Waiter { again: true, ..waiter });
        }
        // After those who have their second chance now: who asks from here on has one still.
        if let Some((_, name)) = self.groups.names.get_mut(id) {
            name.again = true;
        }
        self.groups.make_due(group);
    }
}

impl PendingRequest {
    /// Takes one evaluation in; gives all of them if it was the last.
    fn insert(&mut self, waiter: Waiter, evaluation: Evaluation) -> Option<Evaluations> {
        // As most do.
        if self.names == 1 {
            return Some(smallvec![evaluation]);
        }
        self.evaluations.resize(self.names as usize, None);
        let slot = &mut self.evaluations[waiter.position as usize];
        debug_assert!(slot.is_none(), "an evaluation was effects twice to {waiter:?}");
        self.missing -= u32::from(slot.is_none());
        *slot = Some(evaluation);
        (self.missing == 0)
            .then(|| mem::take(&mut self.evaluations).into_iter().flatten().collect())
    }
}

/// One for each name of the call.
fn given(
    call: &CallRequest,
    outcome: Outcome,
    fallback: impl Fn(&Error, &BatchKey, CallKind, &Arc<str>) -> Option<Evaluation>,
) -> Vec<Result<Evaluation, Box<Failure>>> {
    let group = BatchKey::of(call);
    let failure = |name: &Arc<str>, error: Error| {
        let instead = fallback(&error, &group, call.kind, name);
        Box::new(Failure { error, instead })
    };
    let left_out = |name: &Arc<str>| {
        failure(name, Error::MissingName { path: call.kind.path(), name: Arc::clone(name) })
    };
    let names = call.names.iter();
    match outcome {
        Ok(evaluations) => {
            let evaluations = evaluations.into_iter().chain(std::iter::repeat(None));
            let given = names.zip(evaluations);
            given.map(|(name, evaluation)| evaluation.ok_or_else(|| left_out(name))).collect()
        }
        Err(error) => names.map(|name| Err(failure(name, error.clone()))).collect(),
    }
}

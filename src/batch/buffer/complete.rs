//! Turns the outcome of a call into the answers to its requests.

use std::{
    iter::{repeat, repeat_n},
    mem,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use smallvec::smallvec;

use super::{
    Answer, Buffer, CallId, Effects, Evaluations, InFlightCall, PartialResults, PendingRequest,
    bisect,
    group::{Waiter, Waiters},
    refused_names::NameVerdict,
};
use crate::{
    message::call::{CallRequest, Outcome},
    model::{error::Error, evaluation::Evaluation},
};

/// The least remaining time that is worth another call.
const WORTHWHILE: Duration = Duration::from_millis(50);

impl Buffer {
    /// Turns the outcome of a call into answers. Ignores a call that is not in flight: a restarted
    /// transport may report such a call.
    ///
    /// `stale` has evaluations to deliver in place of an error, indexed by the position of their
    /// names in the call.
    ///
    /// A refusal of several names does not say which of them is to blame. The names are retried in
    /// halves until each refused name stands alone. Refused names are remembered and get calls of
    /// their own from then on.
    pub(crate) fn complete(
        &mut self,
        call: CallId,
        outcome: Outcome,
        stale: PartialResults,
        now: Instant,
    ) -> Effects {
        let Some(in_flight) = self.end_call(call) else { return Effects::default() };
        if let Err(error) = &outcome
            && bisect::refuses_whole_call(error)
            && in_flight.names.len() > 1
        {
            return self.bisect(in_flight, error);
        }
        let InFlightCall { request, group, names, bisection } = in_flight;
        self.refused.record(bisection, &request, NameVerdict::of(&outcome), now);
        let mut answers = Vec::with_capacity(names.len());
        let (evaluations, error) = match outcome {
            Ok(evaluations) => (evaluations, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        let evaluations = evaluations.into_iter().chain(repeat(None));
        let stale = stale.into_iter().chain(repeat(None));
        for ((name, evaluation), stale) in names.into_iter().zip(evaluations).zip(stale) {
            let Some((key, entry)) = self.groups.remove_name(name) else { continue };
            if let Some(evaluation) = evaluation {
                self.deliver(entry.waiters, evaluation, &mut answers);
                continue;
            }
            let waiters = self.deliver_stale(entry.waiters, stale, &mut answers);
            let missing_name =
                || Error::MissingName { path: request.kind.path(), name: Arc::clone(&key.name) };
            let error = error.clone().unwrap_or_else(missing_name);
            let retried = self.fail(waiters, &error, &request, now, &mut answers);
            if !retried.is_empty() {
                self.groups.buffer_retry(key, retried);
            }
        }
        self.groups.remove_or_reschedule(group);
        Effects { answers, ..Effects::default() }
    }

    fn bisect(&mut self, refused: InFlightCall, refusal: &Error) -> Effects {
        let InFlightCall { request, group, names, bisection } = refused;
        let parts = bisect::split(&request, &self.refused);
        let bisection = Some(self.refused.split(bisection, parts.len()));
        let calls = parts.into_iter().map(|positions| {
            let request = bisect::part(&request, refusal, &positions);
            let names = positions.iter().map(|at| names[*at]).collect();
            self.start_call(InFlightCall { request, group, names, bisection })
        });
        Effects { calls: calls.collect(), ..Effects::default() }
    }

    fn deliver(&mut self, waiters: Waiters, evaluation: Evaluation, answers: &mut Vec<Answer>) {
        answers.reserve(waiters.len());
        let charge = self.byte_budget.charge(&evaluation);
        let evaluations = repeat_n(evaluation, waiters.len());
        for (waiter, evaluation) in waiters.into_iter().zip(evaluations) {
            let Some(pending) = self.requests.get_mut(waiter.request) else { continue };
            if let Some(evaluations) = pending.insert(waiter, evaluation) {
                self.requests.remove(waiter.request);
                answers.push(Answer { request: waiter.request, result: Ok(evaluations) });
            } else if let Some(charge) = &charge {
                pending.charges.get_or_insert_default().push(Rc::clone(charge));
            }
        }
        drop(charge);
        self.shed_largest(answers);
    }

    /// Delivers a stale evaluation, if there is one, to the waiters that accept it. Returns the
    /// other waiters.
    fn deliver_stale(
        &mut self,
        waiters: Waiters,
        stale: Option<Evaluation>,
        answers: &mut Vec<Answer>,
    ) -> Waiters {
        let Some(stale) = stale else { return waiters };
        let (strict, lenient) = waiters.into_iter().partition(|waiter| {
            self.requests.get(waiter.request).is_some_and(|request| request.bypass_cache)
        });
        self.deliver(lenient, stale, answers);
        strict
    }

    /// Fails the requests of these waiters with the error, except for waiters to retry. Returns the
    /// waiters to retry.
    fn fail(
        &mut self,
        waiters: Waiters,
        error: &Error,
        call: &CallRequest,
        now: Instant,
        answers: &mut Vec<Answer>,
    ) -> Waiters {
        let is_retried = |waiter: &Waiter| self.may_retry(*waiter, error, call, now);
        let (retried, failed): (Waiters, Waiters) = waiters.into_iter().partition(is_retried);
        let failed = failed.into_iter().map(|waiter| self.refuse(waiter.request, error.clone()));
        answers.extend(failed.flatten());
        retried
    }

    /// Whether a waiter gets another call, because it still has time left: it joined late, or an
    /// earlier request's deadline cut the call short.
    fn may_retry(&self, waiter: Waiter, error: &Error, call: &CallRequest, now: Instant) -> bool {
        let Some(request) = self.requests.get(waiter.request) else { return false };
        let timed_out = matches!(error, Error::Timeout { .. }) && call.deadline <= now;
        let was_cut_short = timed_out && request.deadline > call.deadline + WORTHWHILE;
        // A late joiner is retried once. A waiter whose call was cut short may be retried again and
        // again, but not forever: each time, an earlier request's deadline has passed.
        let had_part = was_cut_short || (waiter.joined && !waiter.is_retried);
        had_part && error.is_retryable() && request.deadline > now
    }
}

impl PendingRequest {
    /// Inserts one evaluation. Returns all evaluations once none is missing.
    fn insert(&mut self, waiter: Waiter, evaluation: Evaluation) -> Option<Evaluations> {
        // Most requests have one name.
        if self.names == 1 {
            return Some(smallvec![evaluation]);
        }
        self.results.resize(self.names as usize, None);
        let slot = &mut self.results[waiter.position as usize];
        debug_assert!(slot.is_none(), "two evaluations were delivered to {waiter:?}");
        self.missing -= u32::from(slot.is_none());
        *slot = Some(evaluation);
        (self.missing == 0).then(|| mem::take(&mut self.results).into_iter().flatten().collect())
    }
}

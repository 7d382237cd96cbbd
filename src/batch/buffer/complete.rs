//! From the outcome of a call to the answers of requests.

use std::{iter::repeat_n, mem, rc::Rc, sync::Arc, time::Instant};

use smallvec::smallvec;

use super::{
    Answer, Buffer, CallId, Dealt, Evaluations, Open, Pending, WORTHWHILE,
    bisect::{is_for_the_whole, part, parts},
    group::{Lane, Place, Places, Wanted},
    refused::Said,
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
        fallback: impl Fn(&Error, &Lane, CallKind, &Arc<str>) -> Option<Evaluation>,
    ) -> Dealt {
        let Some(open) = self.calls.get(&call) else { return Dealt::default() };
        if let Err(error) = &outcome
            && is_for_the_whole(error)
            && open.names.len() > 1
        {
            return self.ask_in_parts(call, error);
        }
        // Before anything is changed: a panic in the fallback leaves the call in flight.
        let said = Said::of(&outcome);
        let given = given(&open.request, outcome, fallback);
        let Some(open) = self.close(call) else { return Dealt::default() };
        let Open { request, lane, names, isolation } = open;
        self.refused.note(isolation, &request, said, now);
        let mut answers = Vec::with_capacity(names.len());
        for (name, given) in names.into_iter().zip(given) {
            let Some((wanted, name)) = self.lanes.forget(name) else { continue };
            match given {
                Ok(evaluation) => self.deal(name.places, evaluation, &mut answers),
                Err(failure) => {
                    let places = self.fail(name.places, *failure, &request, now, &mut answers);
                    self.ask_again(wanted, places);
                }
            }
        }
        self.lanes.settle(lane);
        Dealt { answers, calls: Vec::new() }
    }

    fn ask_in_parts(&mut self, call: CallId, refusal: &Error) -> Dealt {
        let Some(open) = self.close(call) else { return Dealt::default() };
        let Open { request, lane, names, isolation } = open;
        let parts = parts(&request, |name| self.refused.contains(request.kind, name));
        let isolation = Some(self.refused.split(isolation, parts.len()));
        let calls = parts.into_iter().map(|positions| {
            let request = part(&request, refusal, &positions);
            let names = positions.iter().map(|at| names[*at]).collect();
            self.open(Open { request, lane, names, isolation })
        });
        Dealt { answers: Vec::new(), calls: calls.collect() }
    }

    fn deal(&mut self, places: Places, evaluation: Evaluation, answers: &mut Vec<Answer>) {
        answers.reserve(places.len());
        let held = self.hold.take(&evaluation);
        let evaluations = repeat_n(evaluation, places.len());
        for (place, evaluation) in places.into_iter().zip(evaluations) {
            let Some(pending) = self.requests.get_mut(place.request) else { continue };
            if let Some(evaluations) = pending.take(place, evaluation) {
                self.requests.remove(place.request);
                answers.push(Answer { request: place.request, result: Ok(evaluations) });
            } else if let Some(held) = &held {
                pending.held.get_or_insert_default().push(Rc::clone(held));
            }
        }
        drop(held);
        self.let_go(answers);
    }

    /// Deals out what there is instead of an evaluation, and the error to those whom nothing else
    /// will do. Returns who is to be asked for again.
    fn fail(
        &mut self,
        mut places: Places,
        failure: Failure,
        call: &CallRequest,
        now: Instant,
        answers: &mut Vec<Answer>,
    ) -> Places {
        let Failure { error, instead } = failure;
        if let Some(instead) = instead {
            let (strict, lenient) = places.into_iter().partition(|place| {
                self.requests.get(place.request).is_some_and(|request| request.bypass_cache)
            });
            self.deal(lenient, instead, answers);
            places = strict;
        }
        let has_a_chance = |place: &Place| self.has_second_chance(*place, &error, call, now);
        let (again, failed): (Places, Places) = places.into_iter().partition(has_a_chance);
        let refused = failed.into_iter().map(|place| self.refuse(place.request, error.clone()));
        answers.extend(refused.flatten());
        again
    }

    /// Those who joined the call when it was under way already, and those who rode in a call that
    /// ran out of somebody else's time, have had only a part of their own: while they have some
    /// left they are asked for again.
    fn has_second_chance(
        &self,
        place: Place,
        error: &Error,
        call: &CallRequest,
        now: Instant,
    ) -> bool {
        let Some(request) = self.requests.get(place.request) else { return false };
        let ran_out = matches!(error, Error::Timeout { .. }) && call.deadline <= now;
        let was_cut_short = ran_out && request.deadline > call.deadline + WORTHWHILE;
        // The former once; the latter ends by itself, for each time somebody's time is over.
        let is_asked_again = was_cut_short || (place.joined && !place.again);
        is_asked_again && error.is_retryable() && request.deadline > now
    }

    fn ask_again(&mut self, Wanted { lane, kind, name }: Wanted, places: Places) {
        if places.is_empty() {
            return;
        }
        // Never by joining a call that somebody who asked past the cache has caused meanwhile: its
        // deadline is later than that of those who are asked for again.
        let id = self.lanes.want(lane, kind, name, true);
        for place in places {
            self.lanes.join(id, Place { again: true, ..place });
        }
        // After those who have their second chance now: who asks from here on has one still.
        if let Some((_, name)) = self.lanes.names.get_mut(id) {
            name.again = true;
        }
        self.lanes.make_due(lane);
    }
}

impl Pending {
    /// Takes one evaluation in; gives all of them if it was the last.
    fn take(&mut self, place: Place, evaluation: Evaluation) -> Option<Evaluations> {
        // As most do.
        if self.names == 1 {
            return Some(smallvec![evaluation]);
        }
        self.evaluations.resize(self.names as usize, None);
        let slot = &mut self.evaluations[place.position as usize];
        debug_assert!(slot.is_none(), "an evaluation was dealt twice to {place:?}");
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
    fallback: impl Fn(&Error, &Lane, CallKind, &Arc<str>) -> Option<Evaluation>,
) -> Vec<Result<Evaluation, Box<Failure>>> {
    let lane = Lane::of(call);
    let failure = |name: &Arc<str>, error: Error| {
        let instead = fallback(&error, &lane, call.kind, name);
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

//! What is waiting for what. Pure: no actix, no clock, no I/O; `now` is an argument, and what is to
//! be done comes back as a value.
//!
//! A request asks for names of one *lane*: a user, compared in full, and an exposure mode. Within a
//! lane a name is either buffered or in flight, never both and never twice, and has a list of the
//! places in the requests that its evaluation goes to.

use std::{
    collections::{HashMap, HashSet},
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use foldhash::fast::RandomState;
use indexmap::IndexSet;

use super::{
    departure::Departure,
    isolate::{halves, is_for_the_whole},
    lane::{Lane, Names, Place, RequestId},
};
use crate::{
    config::FlushPolicy,
    error::Error,
    evaluation::Evaluation,
    messages::{CallKind, CallRequest, Outcome},
};

pub(crate) type CallId = u64;

type Map<K, V> = HashMap<K, V, RandomState>;

/// The requests that wait for an evaluation.
#[derive(Debug)]
pub(crate) struct Buffer {
    departure: Departure,
    lanes: Map<Lane, Names>,
    requests: Map<RequestId, Pending>,
    calls: Map<CallId, CallRequest>,
    /// Lanes with something buffered, in the order they got it, and some that had: they go when
    /// nothing is buffered any more.
    waiting: IndexSet<Lane, RandomState>,
    /// Lanes that are due before the interval has run.
    due: Vec<Lane>,
    buffered: usize,
    last_id: u64,
}

/// The part of a request that the buffer needs.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) lane: Lane,
    pub(crate) kind: CallKind,
    pub(crate) names: Vec<Arc<str>>,
    /// One for each name, or none at all: evaluations that are there already. Their names are not
    /// asked for.
    pub(crate) known: Vec<Option<Evaluation>>,
    /// Whether only Statsig's own answer will do.
    pub(crate) past_cache: bool,
    pub(crate) deadline: Instant,
}

/// The end of a request: one evaluation for each name in the order asked, or an error.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) request: RequestId,
    pub(crate) result: Result<Vec<Evaluation>, Error>,
}

/// What a flush found.
#[derive(Debug, Default)]
pub(crate) struct Flushed {
    pub(crate) calls: Vec<(CallId, CallRequest)>,
    /// Requests whose callers had left.
    pub(crate) abandoned: Vec<RequestId>,
}

/// What the outcome of a call leads to.
#[derive(Debug, Default)]
pub(crate) struct Dealt {
    pub(crate) answers: Vec<Answer>,
    pub(crate) calls: Vec<(CallId, CallRequest)>,
}

#[derive(Debug)]
struct Pending {
    evaluations: Vec<Option<Evaluation>>,
    missing: usize,
    past_cache: bool,
    deadline: Instant,
    restarts: u8,
}

/// Less time than this is not worth another call.
const WORTHWHILE: Duration = Duration::from_millis(50);

impl Buffer {
    pub(crate) fn new(batch_size: usize, policy: FlushPolicy) -> Self {
        Self {
            departure: Departure { batch_size, policy },
            lanes: Map::default(),
            requests: Map::default(),
            calls: Map::default(),
            waiting: IndexSet::default(),
            due: Vec::new(),
            buffered: 0,
            last_id: 0,
        }
    }

    /// Takes a request in. Its names must be valid, and there must be one at least that is not
    /// known. Says also how many of them were in flight already.
    pub(crate) fn add(&mut self, request: Request) -> (RequestId, usize) {
        let id = self.next_id();
        let Request { lane, kind, names, known: mut evaluations, past_cache, deadline } = request;
        evaluations.resize(names.len(), None);
        let is_missing: Vec<_> = evaluations.iter().map(Option::is_none).collect();
        let missing = is_missing.iter().filter(|is_missing| **is_missing).count();
        debug_assert!(missing > 0, "a request that waits for nothing");
        let pending = Pending { evaluations, missing, past_cache, deadline, restarts: 0 };
        self.requests.insert(id, pending);

        // The lane is cloned only where it is new: the clone shares the user, but counts it.
        if !self.lanes.contains_key(&lane) {
            self.lanes.insert(lane.clone(), Names::default());
        }
        let Some(lane_names) = self.lanes.get_mut(&lane) else { return (id, 0) };
        let mut joined = 0;
        let before = lane_names.buffered.len();
        let names = names.into_iter().enumerate().zip(is_missing);
        for ((position, name), _) in names.filter(|(_, is_missing)| *is_missing) {
            let place = Place { request: id, position, joined: false, again: false };
            joined += usize::from(lane_names.ask(kind, name, place));
        }
        let after = lane_names.buffered.len();
        self.buffered += after - before;
        if after == before {
            return (id, joined);
        }
        if self.departure.is_due(lane_names, kind) {
            if !mem::replace(&mut lane_names.is_due, true) {
                self.due.push(lane);
            }
        } else if before == 0 {
            self.waiting.insert(lane);
        }
        (id, joined)
    }

    /// Whether a lane is to be flushed before the interval has run.
    pub(crate) fn is_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// Whether something may have to wait for the interval.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Names waiting for the next flush.
    pub(crate) fn buffered(&self) -> usize {
        self.buffered
    }

    /// Calls without an outcome yet.
    pub(crate) fn in_flight(&self) -> usize {
        self.calls.len()
    }

    /// Requests without an answer yet.
    pub(crate) fn pending(&self) -> usize {
        self.requests.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Requests with a name that waits for the next flush. Those that have ended are not among
    /// them, though their names are flushed with the others.
    pub(crate) fn buffered_requests(&self) -> HashSet<RequestId> {
        let names = self.lanes.values().flat_map(|names| names.known.values());
        let places = names.filter(|name| !name.in_flight).flat_map(|name| &name.places);
        let requests = places.map(|place| place.request);
        requests.filter(|request| self.requests.contains_key(request)).collect()
    }

    /// Makes calls of the lanes that are due.
    pub(crate) fn flush_due(&mut self, is_present: impl Fn(RequestId) -> bool) -> Flushed {
        let lanes = mem::take(&mut self.due);
        let departure = self.departure;
        let flushed = self.flush(lanes, |names| departure.holds_gates_back(names), is_present);
        if self.buffered == 0 {
            self.waiting.clear();
        }
        flushed
    }

    /// Makes calls of everything that is buffered, leaving out what nobody waits for any more.
    pub(crate) fn flush_all(&mut self, is_present: impl Fn(RequestId) -> bool) -> Flushed {
        let due = mem::take(&mut self.due);
        let waiting = mem::take(&mut self.waiting);
        self.flush(due.into_iter().chain(waiting), |_| false, is_present)
    }

    /// Deals the outcome of a call out to its requests. An outcome of a call that is not in flight,
    /// which a restarted transport may bring, changes nothing.
    ///
    /// A refusal of several names together does not say which of them is to blame: they are asked
    /// for again in halves, until the refused ones stand alone. Where a name has failed, `fallback`
    /// may have an evaluation instead of the error.
    pub(crate) fn complete(
        &mut self,
        call: CallId,
        outcome: Outcome,
        now: Instant,
        fallback: impl Fn(&Error, &Lane, CallKind, &Arc<str>) -> Option<Evaluation>,
    ) -> Dealt {
        let Some(call) = self.close(call) else { return Dealt::default() };
        if let Err(error) = &outcome
            && is_for_the_whole(error)
            && call.names.len() > 1
        {
            let calls = halves(&call, error).map(|half| self.open(half)).into();
            return Dealt { answers: Vec::new(), calls };
        }
        let mut answers = Vec::new();
        let lane = Lane::of(&call);
        let mut outcome = outcome.map(Vec::into_iter);
        for name in call.names.iter() {
            let result = match &mut outcome {
                Ok(evaluations) => evaluations.next().flatten().ok_or_else(|| Error::MissingName {
                    path: call.kind.path(),
                    name: Arc::clone(name),
                }),
                Err(error) => Err(error.clone()),
            };
            let places = self.take_places(&lane, call.kind, name);
            match result {
                Ok(evaluation) => self.deal(places, &evaluation, &mut answers),
                Err(error) => {
                    let places = match fallback(&error, &lane, call.kind, name) {
                        Some(instead) => self.deal_instead(places, &instead, &mut answers),
                        None => places,
                    };
                    let (again, failed) =
                        self.split_by_second_chance(places, &error, call.deadline, now);
                    self.fail(failed, &error, &mut answers);
                    self.ask_again(&lane, call.kind, name, again);
                }
            }
        }
        let names = self.lanes.get(&lane);
        if names.is_some_and(|names| self.departure.is_due_after_a_call(names)) {
            self.make_due(&lane);
        }
        self.forget_if_idle(&lane);
        Dealt { answers, calls: Vec::new() }
    }

    /// Whether one of these requests waits for the call.
    pub(crate) fn is_wanted(&self, call: CallId, is_present: impl Fn(RequestId) -> bool) -> bool {
        let Some(call) = self.calls.get(&call) else { return false };
        let Some(names) = self.lanes.get(&Lane::of(call)) else { return false };
        call.names.iter().any(|name| {
            let name = names.known.get(&(call.kind, Arc::clone(name)));
            name.is_some_and(|name| name.places.iter().any(|place| is_present(place.request)))
        })
    }

    /// What the call asks for, if it has no outcome yet.
    pub(crate) fn call(&self, call: CallId) -> Option<&CallRequest> {
        self.calls.get(&call)
    }

    /// Ends one request with this error.
    pub(crate) fn refuse(&mut self, request: RequestId, error: Error) -> Option<Answer> {
        self.requests.remove(&request)?;
        Some(Answer { request, result: Err(error) })
    }

    /// Ends every request with this error.
    pub(crate) fn refuse_all(&mut self, error: &Error) -> Vec<Answer> {
        let refused = self.requests.drain();
        refused.map(|(request, _)| Answer { request, result: Err(error.clone()) }).collect()
    }

    fn take_places(&mut self, lane: &Lane, kind: CallKind, name: &Arc<str>) -> Vec<Place> {
        let names = self.lanes.get_mut(lane);
        let name = names.and_then(|names| names.known.remove(&(kind, Arc::clone(name))));
        name.map_or_else(Vec::new, |name| name.places)
    }

    fn deal(&mut self, places: Vec<Place>, evaluation: &Evaluation, answers: &mut Vec<Answer>) {
        for place in places {
            let Some(pending) = self.requests.get_mut(&place.request) else { continue };
            let slot = &mut pending.evaluations[place.position];
            debug_assert!(slot.is_none(), "an evaluation was dealt twice to {place:?}");
            pending.missing -= usize::from(slot.is_none());
            *slot = Some(evaluation.clone());
            if pending.missing > 0 {
                continue;
            }
            if let Some(pending) = self.requests.remove(&place.request) {
                let result = Ok(pending.evaluations.into_iter().flatten().collect());
                answers.push(Answer { request: place.request, result });
            }
        }
    }

    /// Deals an evaluation out that Statsig did not give now; returns those whom it will not do.
    fn deal_instead(
        &mut self,
        places: Vec<Place>,
        instead: &Evaluation,
        answers: &mut Vec<Answer>,
    ) -> Vec<Place> {
        let (strict, lenient) = places.into_iter().partition(|place| {
            self.requests.get(&place.request).is_some_and(|request| request.past_cache)
        });
        self.deal(lenient, instead, answers);
        strict
    }

    fn fail(&mut self, places: Vec<Place>, error: &Error, answers: &mut Vec<Answer>) {
        let refused = places.into_iter().map(|place| self.refuse(place.request, error.clone()));
        answers.extend(refused.flatten());
    }

    /// Those who joined the call when it was under way already, and those who rode in a call that
    /// ran out of somebody else's time, have had only a part of their own: while they have some
    /// left they are asked for again.
    fn split_by_second_chance(
        &self,
        places: Vec<Place>,
        error: &Error,
        deadline: Instant,
        now: Instant,
    ) -> (Vec<Place>, Vec<Place>) {
        let ran_out = matches!(error, Error::Timeout { .. }) && deadline <= now;
        places.into_iter().partition(|place| {
            let Some(request) = self.requests.get(&place.request) else { return false };
            let was_cut_short = ran_out && request.deadline > deadline + WORTHWHILE;
            // The former once; the latter ends by itself, for each time somebody's time is over.
            let is_asked_again = was_cut_short || (place.joined && !place.again);
            is_asked_again && error.is_retryable() && request.deadline > now
        })
    }

    fn ask_again(&mut self, lane: &Lane, kind: CallKind, name: &Arc<str>, places: Vec<Place>) {
        if places.is_empty() {
            return;
        }
        let names = self.lanes.entry(lane.clone()).or_default();
        for place in places {
            let before = names.buffered.len();
            names.ask(kind, Arc::clone(name), Place { joined: false, again: true, ..place });
            self.buffered += names.buffered.len() - before;
        }
        // After those who have their second chance now: who asks from here on has one still.
        if let Some(name) = names.known.get_mut(&(kind, Arc::clone(name))) {
            name.again = true;
        }
        self.make_due(lane);
    }

    fn make_due(&mut self, lane: &Lane) {
        let Some(names) = self.lanes.get_mut(lane) else { return };
        if !mem::replace(&mut names.is_due, true) {
            self.due.push(lane.clone());
        }
    }

    fn open(&mut self, call: CallRequest) -> (CallId, CallRequest) {
        let id = self.next_id();
        if let Some(names) = self.lanes.get_mut(&Lane::of(&call)) {
            names.gate_calls += usize::from(call.kind == CallKind::CheckGate);
        }
        self.calls.insert(id, call.clone());
        (id, call)
    }

    fn close(&mut self, call: CallId) -> Option<CallRequest> {
        let call = self.calls.remove(&call)?;
        if let Some(names) = self.lanes.get_mut(&Lane::of(&call)) {
            names.gate_calls -= usize::from(call.kind == CallKind::CheckGate);
        }
        Some(call)
    }

    fn forget_if_idle(&mut self, lane: &Lane) {
        if self.lanes.get(lane).is_some_and(|names| names.known.is_empty()) {
            self.lanes.remove(lane);
        }
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }
}

mod flush;
mod recovery;
#[cfg(test)]
mod tests;

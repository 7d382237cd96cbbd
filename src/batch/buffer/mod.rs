//! What is waiting for what. Pure: no actix, no clock, no I/O; `now` is an argument, and what is to
//! be done comes back as a value.
//!
//! A request asks for names of one *group*: a user, compared in full, and an exposure mode. Within a
//! group a name is either buffered or in flight, never both and never twice, and has a list of the
//! waiters in the requests that its evaluation goes to. There is one exception: who asks past the
//! cache joins no call that was made before. Then the name is asked for anew, whoever asks from then
//! on is with the new one, and the old one has its waiters until its call ends.
//!
//! What comes in is found by its key once, and has an id from then on: an outcome finds its names,
//! and an evaluation its waiters, without a search.

mod bisect;
mod byte_budget;
mod complete;
mod flush;
pub(super) mod group;
mod groups;
mod interner;
pub(super) mod key_status;
mod policy;
mod recover;
mod refused_names;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    rc::Rc,
    time::{Duration, Instant},
};

use foldhash::fast::RandomState;
use slotmap::SlotMap;
use smallvec::SmallVec;

use self::{
    byte_budget::{ByteBudget, ByteCharge},
    group::{BatchKey, GroupId, NameId, RequestId, Waiter},
    groups::Groups,
    policy::FlushDecider,
    refused_names::{BisectionId, RefusedNames},
};
use crate::{
    config::FlushPolicy,
    message::{call::CallRequest, parts::Names},
    model::{call_kind::CallKind, error::Error, evaluation::Evaluation},
};

pub(crate) type CallId = u64;

/// The requests that wait for an evaluation.
#[derive(Debug)]
pub(crate) struct Buffer {
    groups: Groups,
    refused: RefusedNames,
    requests: SlotMap<RequestId, PendingRequest>,
    calls: HashMap<CallId, InFlightCall, RandomState>,
    last_call: CallId,
    byte_budget: ByteBudget,
}

/// The part of a request that the buffer needs.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) key: BatchKey,
    pub(crate) kind: CallKind,
    pub(crate) names: Names,
    /// For the first of the names, or all: evaluations that are there already. Their names are not
    /// asked for.
    pub(crate) known: PartialResults,
    /// Whether only Statsig's own answer will do.
    pub(crate) bypass_cache: bool,
    pub(crate) deadline: Instant,
}

/// What there is so far, in the order of the names.
pub(crate) type PartialResults = SmallVec<[Option<Evaluation>; 1]>;

pub(crate) type Evaluations = SmallVec<[Evaluation; 1]>;

/// The end of a request: one evaluation for each name in the order asked, or an error.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) request: RequestId,
    pub(crate) result: Result<Evaluations, Error>,
}

/// What the shell is to do after a flush, or after the outcome of a call.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) calls: Vec<(CallId, CallRequest)>,
    pub(crate) answers: Vec<Answer>,
    /// Requests whose callers had left.
    pub(crate) abandoned: Vec<RequestId>,
}

#[derive(Debug)]
struct PendingRequest {
    /// One for each name, once the first is there.
    evaluations: PartialResults,
    names: u32,
    missing: u32,
    restarts: u8,
    bypass_cache: bool,
    deadline: Instant,
    /// The large ones of the evaluations.
    #[expect(clippy::box_collection, reason = "a word and not three, as most requests have none")]
    charges: Option<Box<Vec<Rc<ByteCharge>>>>,
}

/// A call without an outcome yet, and the names it asks for, in its order.
#[derive(Debug)]
struct InFlightCall {
    request: CallRequest,
    group: GroupId,
    names: Vec<NameId>,
    /// If it asks for a part of a call that was refused: in search of the name.
    bisection: Option<BisectionId>,
}

/// Less time than this is not worth another call.
const WORTHWHILE: Duration = Duration::from_millis(50);

impl Buffer {
    /// While they wait for others, requests hold so many bytes of large evaluations at the most.
    pub(crate) fn new(batch_size: usize, policy: FlushPolicy, held: usize) -> Self {
        Self {
            groups: Groups::new(FlushDecider { batch_size, policy }),
            refused: RefusedNames::default(),
            requests: SlotMap::with_key(),
            calls: HashMap::default(),
            last_call: 0,
            byte_budget: ByteBudget::new(held),
        }
    }

    /// Takes a request in. Its names must be valid, and there must be one at least that is not
    /// known. Says also how many of them were in flight already.
    pub(crate) fn add(&mut self, request: Request) -> (RequestId, usize) {
        let Request { key, kind, names, known, bypass_cache, deadline } = request;
        let request = self.requests.insert(PendingRequest {
            evaluations: PartialResults::new(),
            names: names.len() as u32,
            missing: 0,
            restarts: 0,
            bypass_cache,
            deadline,
            charges: None,
        });
        let group = self.groups.intern(key);
        let (buffered, mut missing, mut joined) = (self.groups.buffered, 0, 0);
        for (position, name) in (0..).zip(names) {
            if known.get(position as usize).is_some_and(Option::is_some) {
                continue;
            }
            let name = self.groups.buffer_name(group, kind, name, bypass_cache);
            let waiter = Waiter { request, position, joined: false, again: false };
            joined += usize::from(self.groups.add_waiter(name, waiter));
            missing += 1;
        }
        debug_assert!(missing > 0, "a request that waits for nothing");
        if self.groups.buffered > buffered {
            self.groups.schedule(group, kind);
        }
        if let Some(pending) = self.requests.get_mut(request) {
            // They may leave the cache while the request waits. If they are too much, it is seen to with
            // the next answer: until then the cache has what it has.
            for held in known.iter().flatten().filter_map(|known| self.byte_budget.charge(known)) {
                pending.charges.get_or_insert_default().push(held);
            }
            (pending.evaluations, pending.missing) = (known, missing);
        }
        (request, joined)
    }

    /// Whether a group is to be effects before the interval has run.
    pub(crate) fn is_due(&self) -> bool {
        !self.groups.due.is_empty()
    }

    /// Whether something may have to wait for the interval.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.groups.waiting.is_empty()
    }

    /// Names waiting for the next flush.
    pub(crate) fn buffered(&self) -> usize {
        self.groups.buffered
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

    /// Requests with a name that waits for the next flush, once for each such name. Those that have
    /// ended are not among them, though their names are effects with the others.
    pub(crate) fn buffered_requests(&self) -> impl Iterator<Item = RequestId> {
        let names = self.groups.names.iter().filter(|(_, _, name)| !name.in_flight);
        let waiters = names.flat_map(|(_, _, name)| &name.waiters);
        let requests = waiters.map(|waiter| waiter.request);
        requests.filter(|request| self.requests.contains_key(*request))
    }

    /// Makes calls of the groups that are due.
    pub(crate) fn flush_due(&mut self, is_present: impl Fn(RequestId) -> bool) -> Effects {
        let due = self.groups.drain_due();
        let effects = self.flush(due, true, is_present);
        if self.groups.buffered == 0 {
            self.groups.drain_waiting();
        }
        effects
    }

    /// Makes calls of everything that is buffered, leaving out what nobody waits for any more.
    pub(crate) fn flush_all(&mut self, is_present: impl Fn(RequestId) -> bool) -> Effects {
        let (due, waiting) = (self.groups.drain_due(), self.groups.drain_waiting());
        self.flush(due.into_iter().chain(waiting), false, is_present)
    }

    /// Whether one of these requests waits for the call.
    pub(crate) fn is_wanted(&self, call: CallId, is_present: impl Fn(RequestId) -> bool) -> bool {
        self.requests_of(call).any(is_present)
    }

    /// The requests that wait for the call, once for each of the names they wait for.
    pub(crate) fn requests_of(&self, call: CallId) -> impl Iterator<Item = RequestId> {
        self.waiters_of(call).map(|waiter| waiter.request)
    }

    /// Those of them that joined it when it was under way.
    pub(crate) fn joiners_of(&self, call: CallId) -> impl Iterator<Item = RequestId> {
        self.waiters_of(call)
            .filter(|waiter| waiter.joined && !waiter.again)
            .map(|waiter| waiter.request)
    }

    fn waiters_of(&self, call: CallId) -> impl Iterator<Item = &Waiter> {
        let names = self.calls.get(&call).into_iter().flat_map(|call| &call.names);
        let names = names.filter_map(|name| self.groups.names.get(*name));
        names.flat_map(|(_, name)| &name.waiters)
    }

    /// What the call asks for, if it has no outcome yet.
    pub(crate) fn call(&self, call: CallId) -> Option<&CallRequest> {
        self.calls.get(&call).map(|call| &call.request)
    }

    /// For each name of the call, whether it has been asked for anew since, past the cache: then what
    /// the call brings is not the last that Statsig said.
    pub(crate) fn is_superseded(&self, call: CallId) -> impl Iterator<Item = bool> {
        let names = self.calls.get(&call).into_iter().flat_map(|call| &call.names);
        names.map(|name| self.groups.names.get(*name).is_none_or(|(_, name)| name.is_superseded))
    }

    /// The call that was made last; zero before the first.
    pub(crate) fn last_call(&self) -> CallId {
        self.last_call
    }

    /// Ends one request with this error.
    pub(crate) fn refuse(&mut self, request: RequestId, error: Error) -> Option<Answer> {
        self.requests.remove(request)?;
        Some(Answer { request, result: Err(error) })
    }

    /// Ends every request with this error.
    pub(crate) fn refuse_all(&mut self, error: &Error) -> Vec<Answer> {
        let refused = self.requests.drain();
        refused.map(|(request, _)| Answer { request, result: Err(error.clone()) }).collect()
    }

    fn start_call(&mut self, call: InFlightCall) -> (CallId, CallRequest) {
        self.last_call += 1;
        let request = call.request.clone();
        if request.kind == CallKind::CheckGate {
            self.groups.gate_call_started(call.group);
        }
        self.calls.insert(self.last_call, call);
        (self.last_call, request)
    }

    fn end_call(&mut self, call: CallId) -> Option<InFlightCall> {
        let call = self.calls.remove(&call)?;
        if call.request.kind == CallKind::CheckGate {
            self.groups.gate_call_ended(call.group);
        }
        Some(call)
    }
}

//! Decides which requests wait for which names, and which calls to make. Pure: no actix, no clock,
//! no I/O. `now` is an argument, and decisions are returned as [`Effects`].
//!
//! A request asks for names of one *group*: a user, compared in full, and an exposure mode. Within
//! a group a name is either buffered or in flight, and keeps a list of waiters: the positions in
//! requests that its evaluation goes to. A request that bypasses the cache is the exception: it
//! must not join an earlier call, so it buffers the name anew. Later requests join the new entry,
//! and the superseded entry keeps its waiters until its call ends.
//!
//! Groups and names are looked up by key once, when a request arrives. From then on, ids lead from
//! an outcome to its names and their waiters without a lookup by key.

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

use std::{collections::HashMap, rc::Rc, time::Instant};

use foldhash::fast::RandomState;
use slotmap::SlotMap;
use smallvec::SmallVec;

use self::{
    byte_budget::{ByteBudget, ByteCharge},
    group::{BatchKey, GroupId, NameEntry, NameId, NameKey, RequestId, Waiter},
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

/// All requests without an answer, and the calls made for them.
#[derive(Debug)]
pub(crate) struct Buffer {
    groups: Groups,
    refused: RefusedNames,
    requests: SlotMap<RequestId, PendingRequest>,
    calls: HashMap<CallId, InFlightCall, RandomState>,
    last_call: CallId,
    byte_budget: ByteBudget,
}

/// The parts of a request that the buffer needs.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) key: BatchKey,
    pub(crate) kind: CallKind,
    pub(crate) names: Names,
    /// Evaluations from the cache. No call asks for their names.
    pub(crate) cached: PartialResults,
    /// Accepts only evaluations that Statsig gives from now on.
    pub(crate) bypass_cache: bool,
    pub(crate) deadline: Instant,
}

/// Evaluations by the position of their names. Missing evaluations at the end may be left out.
pub(crate) type PartialResults = SmallVec<[Option<Evaluation>; 1]>;

pub(crate) type Evaluations = SmallVec<[Evaluation; 1]>;

/// The end of a request: one evaluation for each of its names, in their order, or an error.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) request: RequestId,
    pub(crate) result: Result<Evaluations, Error>,
}

/// What the actor must do after a flush or a call's outcome.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) calls: Vec<(CallId, CallRequest)>,
    pub(crate) answers: Vec<Answer>,
    /// Requests that end without an answer, because their callers have left.
    pub(crate) abandoned: Vec<RequestId>,
}

#[derive(Debug)]
struct PendingRequest {
    /// Empty until the first evaluation arrives.
    results: PartialResults,
    names: u32,
    missing: u32,
    restarts: u8,
    bypass_cache: bool,
    deadline: Instant,
    /// The charges for the large results.
    #[expect(clippy::box_collection, reason = "one word, not three: most requests have no charge")]
    charges: Option<Box<Vec<Rc<ByteCharge>>>>,
}

/// A call without an outcome yet, and the ids of its names, in the request's order.
#[derive(Debug)]
struct InFlightCall {
    request: CallRequest,
    group: GroupId,
    names: Vec<NameId>,
    /// Set for a part of a call that was refused.
    bisection: Option<BisectionId>,
}

impl Buffer {
    /// Partial results may hold up to `max_bytes` of large evaluations.
    pub(crate) fn new(batch_size: usize, policy: FlushPolicy, max_bytes: usize) -> Self {
        Self {
            groups: Groups::new(FlushDecider { batch_size, policy }),
            refused: RefusedNames::default(),
            requests: SlotMap::with_key(),
            calls: HashMap::default(),
            last_call: 0,
            byte_budget: ByteBudget::new(max_bytes),
        }
    }

    /// Adds a request with valid names, at least one of which is not in the cache. Returns its id,
    /// and how many of its names were in flight already.
    pub(crate) fn add(&mut self, request: Request) -> (RequestId, usize) {
        let Request { key, kind, names, cached, bypass_cache, deadline } = request;
        let request = self.requests.insert(PendingRequest {
            results: PartialResults::new(),
            names: names.len() as u32,
            missing: 0,
            restarts: 0,
            bypass_cache,
            deadline,
            charges: None,
        });
        let group = self.groups.intern(key);
        let (buffered, mut missing, mut joined) = (self.groups.buffered(), 0, 0);
        for (position, name) in (0..).zip(names) {
            if cached.get(position as usize).is_some_and(Option::is_some) {
                continue;
            }
            let name = self.groups.buffer_name(NameKey { group, kind, name }, bypass_cache);
            let waiter = Waiter { request, position, joined: false, is_retried: false };
            joined += usize::from(self.groups.add_waiter(name, waiter));
            missing += 1;
        }
        debug_assert!(missing > 0, "all names of the request are in the cache");
        if self.groups.buffered() > buffered {
            self.groups.schedule(group, kind);
        }
        if let Some(pending) = self.requests.get_mut(request) {
            // Charge cached evaluations too: the cache may evict them while the request waits. If
            // they exceed the budget, the next delivery sheds requests. Until then, most of them
            // are still in the cache anyway.
            for charge in
                cached.iter().flatten().filter_map(|cached| self.byte_budget.charge(cached))
            {
                pending.charges.get_or_insert_default().push(charge);
            }
            (pending.results, pending.missing) = (cached, missing);
        }
        (request, joined)
    }

    /// Whether a group is to be flushed before the next interval.
    pub(crate) fn is_due(&self) -> bool {
        self.groups.has_due()
    }

    /// Whether names may have to wait for the next interval.
    pub(crate) fn is_waiting(&self) -> bool {
        self.groups.has_waiting()
    }

    /// Names waiting for the next flush.
    pub(crate) fn buffered(&self) -> usize {
        self.groups.buffered()
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

    /// The requests that wait for the call, once for each name they wait for.
    pub(crate) fn requests_of(&self, call: CallId) -> impl Iterator<Item = RequestId> {
        self.waiters_of(call).map(|waiter| waiter.request)
    }

    /// The requests that joined the call when it was in flight, once for each name.
    pub(crate) fn joiners_of(&self, call: CallId) -> impl Iterator<Item = RequestId> {
        let joiners = self.waiters_of(call).filter(|waiter| waiter.joined && !waiter.is_retried);
        joiners.map(|waiter| waiter.request)
    }

    fn waiters_of(&self, call: CallId) -> impl Iterator<Item = &Waiter> {
        self.names_of(call).flatten().flat_map(|name| &name.waiters)
    }

    fn names_of(&self, call: CallId) -> impl Iterator<Item = Option<&NameEntry>> {
        let names = self.calls.get(&call).into_iter().flat_map(|call| &call.names);
        names.map(|name| self.groups.name(*name))
    }

    /// Returns the call's request, if the call is in flight.
    pub(crate) fn call(&self, call: CallId) -> Option<&CallRequest> {
        self.calls.get(&call).map(|call| &call.request)
    }

    /// Returns, for each name of the call, whether a newer entry has superseded it. The call's
    /// evaluation is then not the newest one.
    pub(crate) fn is_superseded(&self, call: CallId) -> impl Iterator<Item = bool> {
        self.names_of(call).map(|name| name.is_none_or(|name| name.is_superseded))
    }

    /// The newest call, or zero before the first.
    pub(crate) fn last_call(&self) -> CallId {
        self.last_call
    }

    /// Fails one request with this error.
    fn refuse(&mut self, request: RequestId, error: Error) -> Option<Answer> {
        self.requests.remove(request)?;
        Some(Answer { request, result: Err(error) })
    }

    /// Fails every request with this error.
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

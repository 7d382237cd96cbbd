//! A group: the names that requests of one user and exposure mode wait for.

use std::sync::Arc;

use slotmap::new_key_type;
use smallvec::SmallVec;

use crate::model::{call_kind::CallKind, user::User};

new_key_type! {
    pub(crate) struct RequestId;
    pub(super) struct GroupId;
    pub(super) struct NameId;
}

/// The key of a group. Only requests that are equal in both fields may share a call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct BatchKey {
    pub(crate) user: User,
    pub(crate) exposure: bool,
}

#[derive(Debug, Default)]
pub(super) struct Group {
    /// Names that are buffered or in flight.
    pub(super) names: usize,
    /// Names for the next flush, in the order of their first requests.
    pub(super) buffered: Vec<NameId>,
    /// Gate calls without an outcome yet.
    pub(super) gate_calls: usize,
    /// Whether the group is listed for a flush before the next interval.
    pub(super) is_due: bool,
    /// Whether the group is listed for a flush at the next interval.
    pub(super) is_waiting: bool,
}

/// The key of a name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct NameKey {
    pub(super) group: GroupId,
    pub(super) kind: CallKind,
    pub(super) name: Arc<str>,
}

#[derive(Debug, Default)]
pub(super) struct NameEntry {
    pub(super) in_flight: bool,
    /// Buffered again for the remaining waiters of a failed call, which have less time left than
    /// new requests.
    pub(super) is_retry: bool,
    /// In flight, while a newer entry for the same name is buffered or in flight too. New requests
    /// find the newer entry.
    pub(super) is_superseded: bool,
    pub(super) waiters: Waiters,
}

/// Most names have one waiter.
pub(super) type Waiters = SmallVec<[Waiter; 1]>;

/// The destination of an evaluation: a position in a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiter {
    pub(super) request: RequestId,
    pub(super) position: u32,
    /// The name was in flight, or buffered for a retry, before this request arrived.
    pub(super) joined: bool,
    /// A failed call of the name has been retried for this waiter.
    pub(super) is_retried: bool,
}

impl NameKey {
    pub(super) fn is_gate(&self) -> bool {
        self.kind == CallKind::CheckGate
    }
}

impl NameEntry {
    pub(super) fn add_waiter(&mut self, waiter: Waiter) {
        self.waiters.push(Waiter { joined: self.in_flight || self.is_retry, ..waiter });
    }
}

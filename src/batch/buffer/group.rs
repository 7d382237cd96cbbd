//! The names of one user and exposure mode, and their way into calls.

use std::{sync::Arc, time::Instant};

use slotmap::new_key_type;
use smallvec::SmallVec;

use crate::{
    message::call::CallRequest,
    model::{call_kind::CallKind, user::User},
};

new_key_type! {
    pub(crate) struct RequestId;
    pub(super) struct GroupId;
    pub(super) struct NameId;
}

/// Who is asked about, and how: only what is equal in both may share a call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct BatchKey {
    pub(crate) user: User,
    pub(crate) exposure: bool,
}

/// The names of a group that somebody waits for.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) count: usize,
    /// Group to ask for with the next flush, in the order they were first asked.
    pub(super) buffered: Vec<NameId>,
    /// Calls for gates without an outcome yet.
    pub(super) gate_calls: usize,
    /// Listed to be effects before the interval has run.
    pub(super) is_due: bool,
    /// Listed to be effects when the interval has run.
    pub(super) is_waiting: bool,
}

/// What a name is known by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct NameKey {
    pub(super) group: GroupId,
    pub(super) kind: CallKind,
    pub(super) name: Arc<str>,
}

#[derive(Debug, Default)]
pub(super) struct NameEntry {
    pub(super) in_flight: bool,
    /// Asked a second time, for those who joined a call that failed: they have less time left than
    /// who asks now.
    pub(super) again: bool,
    /// It is in flight, and has been asked for anew by somebody who does not want what an earlier
    /// call brings: it is found no more.
    pub(super) is_superseded: bool,
    pub(super) waiters: Waiters,
}

/// Most names are waited for by one request.
pub(super) type Waiters = SmallVec<[Waiter; 1]>;

/// Where an evaluation goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiter {
    pub(super) request: RequestId,
    pub(super) position: u32,
    /// When this request asked for the name it was in flight already, or about to be again.
    pub(super) joined: bool,
    /// It has been asked for a second time, and will not be for a third.
    pub(super) again: bool,
}

/// A name that is to go into a call, and when the first of those who wait for it has to have its
/// answer.
pub(super) struct Leaving {
    pub(super) id: NameId,
    pub(super) name: Arc<str>,
    pub(super) deadline: Instant,
}

impl NameKey {
    pub(super) fn is_gate(&self) -> bool {
        self.kind == CallKind::CheckGate
    }
}

impl BatchKey {
    /// The group of a call's names.
    pub(super) fn of(call: &CallRequest) -> Self {
        Self { user: call.user.clone(), exposure: call.exposure }
    }

    /// A call for names of one kind.
    pub(super) fn call(&self, kind: CallKind, names: &[Leaving]) -> Option<CallRequest> {
        let deadline = names.iter().map(|leaving| leaving.deadline).min()?;
        let names = names.iter().map(|leaving| Arc::clone(&leaving.name)).collect();
        let (user, exposure) = (self.user.clone(), self.exposure);
        Some(CallRequest { kind, user, names, exposure, deadline, refusal: None })
    }
}

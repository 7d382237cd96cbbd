//! The names of one user and exposure mode, and their way into calls.

use std::{collections::HashMap, sync::Arc, time::Instant};

use foldhash::fast::RandomState;

use crate::{
    messages::{CallKind, CallRequest},
    user::User,
};

pub(crate) type RequestId = u64;

/// Who is asked about, and how: only what is equal in both may share a call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Lane {
    pub(crate) user: User,
    pub(crate) exposure: bool,
}

/// The names of a lane that somebody waits for.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) known: HashMap<(CallKind, Arc<str>), Name, RandomState>,
    /// Names to ask for with the next flush, in the order they were first asked.
    pub(super) buffered: Vec<(CallKind, Arc<str>)>,
    /// Calls for gates without an outcome yet.
    pub(super) gate_calls: usize,
    /// Listed to be flushed before the interval has run.
    pub(super) is_due: bool,
}

#[derive(Debug)]
pub(super) struct Name {
    pub(super) in_flight: bool,
    /// Asked a second time, for those who joined a call that failed: they have less time left than
    /// who asks now.
    pub(super) again: bool,
    pub(super) places: Vec<Place>,
}

/// Where an evaluation goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) request: RequestId,
    pub(super) position: usize,
    /// When this request asked for the name it was in flight already, or about to be again.
    pub(super) joined: bool,
    /// It has been asked for a second time, and will not be for a third.
    pub(super) again: bool,
}

impl Names {
    /// Says whether the name was in flight already.
    pub(super) fn ask(&mut self, kind: CallKind, name: Arc<str>, place: Place) -> bool {
        let Self { known, buffered, .. } = self;
        let entry = known.entry((kind, name)).or_insert_with_key(|key| {
            buffered.push(key.clone());
            Name { in_flight: false, again: false, places: Vec::with_capacity(1) }
        });
        entry.places.push(Place { joined: entry.in_flight || entry.again, ..place });
        entry.in_flight
    }

    /// What leaves of the names that are buffered while gates are held back: configs, and what is
    /// asked again.
    pub(super) fn take_all_but_fresh_gates(&mut self) -> Vec<(CallKind, Arc<str>)> {
        let Self { known, buffered, .. } = self;
        let is_again = |key: &_| known.get(key).is_some_and(|name| name.again);
        let leaves = |key: &mut (CallKind, _)| key.0 == CallKind::GetConfig || is_again(key);
        buffered.extract_if(.., leaves).collect()
    }
}

impl Lane {
    /// The lane of a call's names.
    pub(super) fn of(call: &CallRequest) -> Self {
        Self { user: call.user.clone(), exposure: call.exposure }
    }

    /// Names of one kind, each with its earliest deadline, as calls that the API takes.
    pub(super) fn calls(
        &self,
        kind: CallKind,
        names: Vec<(Arc<str>, Instant)>,
    ) -> impl Iterator<Item = CallRequest> {
        let mut names = names.into_iter().peekable();
        std::iter::from_fn(move || {
            let mut deadline = names.peek()?.1;
            let batch = names.by_ref().take(kind.max_names());
            let batch = batch.inspect(|(_, at)| deadline = deadline.min(*at)).map(|(name, _)| name);
            let names = batch.collect();
            let (user, exposure) = (self.user.clone(), self.exposure);
            Some(CallRequest { kind, user, names, exposure, deadline, refusal: None })
        })
    }
}

//! What is asked of whom, and which groups are to be effects when.

use std::{mem, sync::Arc};

use super::{
    group::{BatchKey, Group, GroupId, NameEntry, NameId, NameKey, Waiter},
    interner::Interner,
    policy::{FlushDecider, HoldBack},
};
use crate::model::call_kind::CallKind;

#[derive(Debug)]
pub(super) struct Groups {
    pub(super) decider: FlushDecider,
    pub(super) groups: Interner<GroupId, BatchKey, Group>,
    pub(super) names: Interner<NameId, NameKey, NameEntry>,
    /// Groups with something buffered, in the order they got it, and some that had: they go when
    /// nothing is buffered any more.
    pub(super) waiting: Vec<GroupId>,
    /// Groups that are due before the interval has run.
    pub(super) due: Vec<GroupId>,
    pub(super) buffered: usize,
}

impl Groups {
    pub(super) fn new(decider: FlushDecider) -> Self {
        let (groups, names) = (Interner::new(), Interner::new());
        Self { decider, groups, names, waiting: Vec::new(), due: Vec::new(), buffered: 0 }
    }

    pub(super) fn intern(&mut self, group: BatchKey) -> GroupId {
        self.groups.intern(group, Group::default)
    }

    /// The name's id; it is buffered if nobody has asked for it so far, or if it is to be asked for
    /// anew and is in flight.
    pub(super) fn buffer_name(
        &mut self,
        group: GroupId,
        kind: CallKind,
        name: Arc<str>,
        anew: bool,
    ) -> NameId {
        let mut is_new = false;
        let mut id = self.names.intern(NameKey { group, kind, name }, || {
            is_new = true;
            NameEntry::default()
        });
        if anew
            && self.names.get(id).is_some_and(|(_, name)| name.in_flight)
            && let Some(new) = self.supersede(id)
        {
            (id, is_new) = (new, true);
        }
        if is_new && let Some((_, names)) = self.groups.get_mut(group) {
            names.count += 1;
            names.buffered.push(id);
            self.buffered += 1;
        }
        id
    }

    /// Takes the waiter of a name in flight: whoever asks from now on is with the new one.
    pub(super) fn supersede(&mut self, id: NameId) -> Option<NameId> {
        let new = self.names.supersede(id, NameEntry::default())?;
        if let Some((_, name)) = self.names.get_mut(id) {
            name.is_superseded = true;
        }
        Some(new)
    }

    /// Has the name's evaluation go to this waiter, too. Says whether the name was in flight already.
    pub(super) fn add_waiter(&mut self, name: NameId, waiter: Waiter) -> bool {
        let Some((_, name)) = self.names.get_mut(name) else { return false };
        name.waiters.push(Waiter { joined: name.in_flight || name.again, ..waiter });
        name.in_flight
    }

    /// Sees to it that the group is effects, now that names of this kind have been buffered.
    pub(super) fn schedule(&mut self, group: GroupId, kind: CallKind) {
        let Some((_, names)) = self.groups.get_mut(group) else { return };
        if self.decider.is_due(names, kind) {
            self.make_due(group);
        } else if !names.is_due {
            self.make_waiting(group);
        }
    }

    pub(super) fn make_due(&mut self, group: GroupId) {
        if let Some((_, names)) = self.groups.get_mut(group)
            && !mem::replace(&mut names.is_due, true)
        {
            self.due.push(group);
        }
    }

    pub(super) fn make_waiting(&mut self, group: GroupId) {
        if let Some((_, names)) = self.groups.get_mut(group)
            && !mem::replace(&mut names.is_waiting, true)
        {
            self.waiting.push(group);
        }
    }

    /// The groups that are due, which are so no longer.
    pub(super) fn drain_due(&mut self) -> Vec<GroupId> {
        let due = mem::take(&mut self.due);
        for group in &due {
            if let Some((_, names)) = self.groups.get_mut(*group) {
                names.is_due = false;
            }
        }
        due
    }

    /// The groups that wait for the interval, which do so no longer.
    pub(super) fn drain_waiting(&mut self) -> Vec<GroupId> {
        let waiting = mem::take(&mut self.waiting);
        for group in &waiting {
            if let Some((_, names)) = self.groups.get_mut(*group) {
                names.is_waiting = false;
            }
        }
        waiting
    }

    /// What of a group leaves now: all that it has buffered or, where it need not all leave, what
    /// its decider says.
    pub(super) fn drain_buffered(&mut self, group: GroupId, may_stay: bool) -> Vec<NameId> {
        let Some((_, state)) = self.groups.get_mut(group) else { return Vec::new() };
        let Self { decider, names, .. } = self;
        let taken: Vec<_> = match decider.of(state).filter(|_| may_stay) {
            None => mem::take(&mut state.buffered),
            Some(HoldBack::PartialBatch) => {
                let mut leave = in_whole_batches(&state.buffered, decider.batch_size, names);
                let leaves = |id: &mut NameId| {
                    let is_gate = names.get(*id).is_some_and(|(of, _)| of.is_gate());
                    let leaves = !is_gate || leave > 0;
                    leave -= usize::from(is_gate && leaves);
                    leaves
                };
                state.buffered.extract_if(.., leaves).collect()
            }
            Some(HoldBack::Gates) => {
                let leaves = |id: &mut NameId| {
                    let name = names.get(*id);
                    name.is_some_and(|(of, name)| !of.is_gate() || name.again)
                };
                state.buffered.extract_if(.., leaves).collect()
            }
        };
        let is_left = !state.buffered.is_empty();
        self.buffered -= taken.len();
        if is_left {
            self.make_waiting(group);
        }
        taken
    }

    /// Nobody waits for the name any more, or its evaluation is there.
    pub(super) fn remove_name(&mut self, name: NameId) -> Option<(NameKey, NameEntry)> {
        let (key, name) = self.names.remove(name)?;
        if let Some((_, names)) = self.groups.get_mut(key.group) {
            names.count -= 1;
        }
        Some((key, name))
    }

    pub(super) fn gate_call_started(&mut self, group: GroupId) {
        if let Some((_, names)) = self.groups.get_mut(group) {
            names.gate_calls += 1;
        }
    }

    pub(super) fn gate_call_ended(&mut self, group: GroupId) {
        if let Some((_, names)) = self.groups.get_mut(group) {
            names.gate_calls -= 1;
        }
    }

    /// After names of the group have got their evaluations, or have been forgotten.
    pub(super) fn remove_or_reschedule(&mut self, group: GroupId) {
        let Some((_, names)) = self.groups.get(group) else { return };
        if names.count == 0 {
            self.groups.remove(group);
        } else if self.decider.is_due_after_a_call(names) {
            self.make_due(group);
        }
    }
}

/// How many of these gates make whole batches, or all if they make none. A request's names are not
/// torn apart, and what is asked again has waited for a call already: where it stands behind, all of
/// them leave.
fn in_whole_batches(
    buffered: &[NameId],
    batch_size: usize,
    names: &Interner<NameId, NameKey, NameEntry>,
) -> usize {
    let gates = buffered.iter().filter_map(|id| names.get(*id));
    let gates: Vec<_> = gates.filter(|(of, _)| of.is_gate()).map(|(_, name)| name).collect();
    let (whole, rest) = gates.split_at(gates.len() - gates.len() % batch_size);
    let first_asked_by = |name: &NameEntry| name.waiters.first().map(|waiter| waiter.request);
    match whole.last() {
        Some(last) if !rest.iter().any(|name| name.again) => {
            let of_the_last = |name: &&&NameEntry| first_asked_by(name) == first_asked_by(last);
            whole.len() + rest.iter().take_while(of_the_last).count()
        }
        _ => gates.len(),
    }
}

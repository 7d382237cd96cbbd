//! All groups and names, and the lists of groups to flush.

#[cfg(test)]
mod invariants;
mod recover;

use std::mem;

use super::{
    group::{BatchKey, Group, GroupId, NameEntry, NameId, NameKey, Waiter, Waiters},
    interner::Interner,
    policy::{FlushDecider, HoldBack},
};
use crate::model::call_kind::CallKind;

#[derive(Debug)]
pub(super) struct Groups {
    decider: FlushDecider,
    groups: Interner<GroupId, BatchKey, Group>,
    names: Interner<NameId, NameKey, NameEntry>,
    /// Groups to flush before the next interval.
    due: Vec<GroupId>,
    /// Groups to flush at the next interval. A group that is flushed earlier stays listed until
    /// nothing is buffered.
    waiting: Vec<GroupId>,
    /// The number of buffered names in all groups.
    buffered: usize,
}

impl Groups {
    pub(super) fn new(decider: FlushDecider) -> Self {
        let (groups, names) = (Interner::new(), Interner::new());
        Self { decider, groups, names, due: Vec::new(), waiting: Vec::new(), buffered: 0 }
    }

    pub(super) fn intern(&mut self, key: BatchKey) -> GroupId {
        self.groups.intern(key, Group::default)
    }

    pub(super) fn key(&self, group: GroupId) -> Option<&BatchKey> {
        self.groups.get(group).map(|(key, _)| key)
    }

    pub(super) fn name(&self, name: NameId) -> Option<&NameEntry> {
        self.names.get(name).map(|(_, entry)| entry)
    }

    pub(super) fn name_mut(&mut self, name: NameId) -> Option<(&NameKey, &mut NameEntry)> {
        self.names.get_mut(name)
    }

    pub(super) fn buffered(&self) -> usize {
        self.buffered
    }

    pub(super) fn has_due(&self) -> bool {
        !self.due.is_empty()
    }

    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Finds the name, or buffers it if it is new. With `anew`, a name in flight is also buffered:
    /// a new entry then supersedes the one in flight.
    pub(super) fn buffer_name(&mut self, key: NameKey, anew: bool) -> NameId {
        let (group, mut is_new) = (key.group, false);
        let mut name = self.names.intern(key, || {
            is_new = true;
            NameEntry::default()
        });
        if anew
            && self.name(name).is_some_and(|entry| entry.in_flight)
            && let Some(new) = self.supersede(name)
        {
            (name, is_new) = (new, true);
        }
        if is_new && let Some((_, group)) = self.groups.get_mut(group) {
            group.names += 1;
            group.buffered.push(name);
            self.buffered += 1;
        }
        name
    }

    fn supersede(&mut self, name: NameId) -> Option<NameId> {
        let new = self.names.supersede(name, NameEntry::default())?;
        if let Some((_, entry)) = self.names.get_mut(name) {
            entry.is_superseded = true;
        }
        Some(new)
    }

    /// Adds a waiter for the name. Returns whether the name was in flight already.
    pub(super) fn add_waiter(&mut self, name: NameId, waiter: Waiter) -> bool {
        let Some((_, entry)) = self.names.get_mut(name) else { return false };
        entry.add_waiter(waiter);
        entry.in_flight
    }

    /// Buffers a name again for waiters whose call failed.
    pub(super) fn buffer_retry(&mut self, key: NameKey, waiters: Waiters) {
        let group = key.group;
        // Buffer the name anew instead of joining a call that a request may have caused meanwhile
        // by bypassing the cache: the deadline of that call is later than the deadlines of these
        // waiters.
        let name = self.buffer_name(key, true);
        if let Some((_, entry)) = self.names.get_mut(name) {
            for waiter in waiters {
                entry.add_waiter(Waiter { is_retried: true, ..waiter });
            }
            // Requests that join from here on count as joiners, and get a retry of their own.
            entry.is_retry = true;
        }
        self.make_due(group);
    }

    /// Removes a name that has an outcome, or that no request waits for.
    pub(super) fn remove_name(&mut self, name: NameId) -> Option<(NameKey, NameEntry)> {
        let (key, entry) = self.names.remove(name)?;
        if let Some((_, group)) = self.groups.get_mut(key.group) {
            group.names -= 1;
        }
        Some((key, entry))
    }

    /// Lists the group for a flush after names of this kind have been buffered.
    pub(super) fn schedule(&mut self, id: GroupId, kind: CallKind) {
        let Some((_, group)) = self.groups.get_mut(id) else { return };
        if self.decider.is_due(group, kind) {
            self.make_due(id);
        } else if !group.is_due {
            self.make_waiting(id);
        }
    }

    fn make_due(&mut self, id: GroupId) {
        if let Some((_, group)) = self.groups.get_mut(id)
            && !mem::replace(&mut group.is_due, true)
        {
            self.due.push(id);
        }
    }

    fn make_waiting(&mut self, id: GroupId) {
        if let Some((_, group)) = self.groups.get_mut(id)
            && !mem::replace(&mut group.is_waiting, true)
        {
            self.waiting.push(id);
        }
    }

    /// Empties the list of due groups and returns them.
    pub(super) fn drain_due(&mut self) -> Vec<GroupId> {
        let due = mem::take(&mut self.due);
        for id in &due {
            if let Some((_, group)) = self.groups.get_mut(*id) {
                group.is_due = false;
            }
        }
        due
    }

    /// Empties the list of waiting groups and returns them.
    pub(super) fn drain_waiting(&mut self) -> Vec<GroupId> {
        let waiting = mem::take(&mut self.waiting);
        for id in &waiting {
            if let Some((_, group)) = self.groups.get_mut(*id) {
                group.is_waiting = false;
            }
        }
        waiting
    }

    /// Takes out a group's buffered names, to make calls for them. With `may_hold_back`, the flush
    /// policy may leave some of the gates buffered.
    pub(super) fn drain_buffered(&mut self, id: GroupId, may_hold_back: bool) -> Vec<NameId> {
        let Self { decider, names, .. } = self;
        let Some((_, group)) = self.groups.get_mut(id) else { return Vec::new() };
        let drained: Vec<_> = match decider.hold_back(group).filter(|_| may_hold_back) {
            None => mem::take(&mut group.buffered),
            Some(HoldBack::PartialBatch) => {
                let mut gates = gates_in_full_batches(&group.buffered, decider.batch_size, names);
                let is_flushed = |name: &mut NameId| {
                    let is_gate = names.get(*name).is_some_and(|(key, _)| key.is_gate());
                    let is_flushed = !is_gate || gates > 0;
                    gates -= usize::from(is_gate && is_flushed);
                    is_flushed
                };
                group.buffered.extract_if(.., is_flushed).collect()
            }
            Some(HoldBack::Gates) => {
                let is_flushed = |name: &mut NameId| {
                    let name = names.get(*name);
                    name.is_some_and(|(key, entry)| !key.is_gate() || entry.is_retry)
                };
                group.buffered.extract_if(.., is_flushed).collect()
            }
        };
        let is_held_back = !group.buffered.is_empty();
        self.buffered -= drained.len();
        if is_held_back {
            self.make_waiting(id);
        }
        drained
    }

    /// The waiters of the names that are buffered in due groups.
    pub(super) fn due_waiters(&self) -> impl Iterator<Item = &Waiter> {
        self.due.iter().flat_map(|group| self.buffered_in(*group))
    }

    /// The waiters of all names that are buffered.
    pub(super) fn buffered_waiters(&self) -> impl Iterator<Item = &Waiter> {
        let is_due = |id: &&GroupId| self.groups.get(**id).is_some_and(|(_, group)| group.is_due);
        let waiting = self.waiting.iter().filter(move |id| !is_due(id));
        self.due_waiters().chain(waiting.flat_map(|group| self.buffered_in(*group)))
    }

    fn buffered_in(&self, group: GroupId) -> impl Iterator<Item = &Waiter> {
        let names = self.groups.get(group).into_iter().flat_map(|(_, group)| &group.buffered);
        names.filter_map(|name| self.name(*name)).flat_map(|entry| &entry.waiters)
    }

    pub(super) fn gate_call_started(&mut self, group: GroupId) {
        if let Some((_, group)) = self.groups.get_mut(group) {
            group.gate_calls += 1;
        }
    }

    pub(super) fn gate_call_ended(&mut self, group: GroupId) {
        if let Some((_, group)) = self.groups.get_mut(group) {
            group.gate_calls -= 1;
        }
    }

    /// Removes a group that has no names left, or makes the group due if the end of its last gate
    /// call does so.
    pub(super) fn remove_or_reschedule(&mut self, id: GroupId) {
        let Some((_, group)) = self.groups.get(id) else { return };
        if group.names == 0 {
            self.groups.remove(id);
        } else if self.decider.is_due_after_call(group) {
            self.make_due(id);
        }
    }
}

/// Returns how many of the buffered gates to flush: the gates that fill whole batches, and the rest
/// of the last request's gates, so that no request is split. Flushes all gates if they fill no
/// batch, or if a retry comes after the last full batch, because a retry has waited for a call
/// already.
fn gates_in_full_batches(
    buffered: &[NameId],
    batch_size: usize,
    names: &Interner<NameId, NameKey, NameEntry>,
) -> usize {
    let gates = buffered.iter().filter_map(|name| names.get(*name));
    let gates: Vec<_> = gates.filter(|(key, _)| key.is_gate()).map(|(_, entry)| entry).collect();
    let (full, rest) = gates.split_at(gates.len() - gates.len() % batch_size);
    let first_request = |entry: &NameEntry| entry.waiters.first().map(|waiter| waiter.request);
    match full.last() {
        Some(last) if !rest.iter().any(|entry| entry.is_retry) => {
            let is_same_request = |entry: &&&NameEntry| first_request(entry) == first_request(last);
            full.len() + rest.iter().take_while(is_same_request).count()
        }
        _ => gates.len(),
    }
}

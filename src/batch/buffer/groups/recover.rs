//! Repairs the groups after a panic, which may have left a change half done.

use std::collections::{HashMap, HashSet};

use super::Groups;
use crate::batch::buffer::group::{GroupId, NameEntry, NameId};

impl Groups {
    /// Rebuilds the buffered names and the due groups from all names. `in_flight` has the names of
    /// the calls in flight, `gate_calls` the number of gate calls of each group.
    pub(in crate::batch::buffer) fn recover(
        &mut self,
        in_flight: &HashSet<NameId>,
        gate_calls: &HashMap<GroupId, usize>,
    ) {
        self.merge_lost_names(in_flight);
        let Self { decider, groups, names, waiting, due, buffered } = self;
        waiting.clear();
        due.clear();
        *buffered = 0;
        let mut listed = HashSet::new();
        for (id, _, group) in groups.iter_mut() {
            group.names = 0;
            group.gate_calls = gate_calls.get(&id).copied().unwrap_or_default();
            let exists = |name: &NameId| names.get(*name).is_some();
            group.buffered.retain(|name| exists(name) && !in_flight.contains(name));
            listed.extend(group.buffered.iter().copied());
        }
        for (id, key, entry) in names.iter_mut() {
            entry.in_flight = in_flight.contains(&id);
            let Some((_, group)) = groups.get_mut(key.group) else { continue };
            group.names += 1;
            if !entry.in_flight && !listed.contains(&id) {
                group.buffered.push(id);
            }
        }
        for (id, _, group) in groups.iter_mut() {
            *buffered += group.buffered.len();
            group.is_waiting = !group.buffered.is_empty();
            waiting.extend(group.is_waiting.then_some(id));
            let keys = group.buffered.iter().filter_map(|name| names.get(*name));
            let mut kinds = keys.map(|(key, _)| key.kind);
            group.is_due = kinds.any(|kind| decider.is_due(group, kind));
            due.extend(group.is_due.then_some(id));
        }
    }

    /// Merges each superseded name whose call is lost into the name that superseded it, so that a
    /// name is buffered once.
    fn merge_lost_names(&mut self, in_flight: &HashSet<NameId>) {
        let lost = self
            .names
            .iter()
            .filter(|(name, _, entry)| entry.is_superseded && !in_flight.contains(name));
        let lost: Vec<_> = lost.map(|(name, ..)| name).collect();
        for name in lost {
            let Some((key, NameEntry { waiters, .. })) = self.names.remove(name) else { continue };
            let mut name = self.names.intern(key, NameEntry::default);
            // The call in flight has a later deadline than these waiters, so they do not join it.
            if in_flight.contains(&name)
                && let Some(new) = self.supersede(name)
            {
                name = new;
            }
            if let Some((_, entry)) = self.names.get_mut(name) {
                entry.waiters.extend(waiters);
            }
        }
    }
}

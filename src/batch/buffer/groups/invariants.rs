//! The invariants of the groups, which tests assert after every step.

use super::Groups;
use crate::{
    batch::buffer::group::{BatchKey, NameId},
    config::FlushPolicy,
};

impl Groups {
    pub(in crate::batch::buffer) fn is_empty(&self) -> bool {
        let has_entries = self.names.iter().next().is_some() || self.groups.iter().next().is_some();
        !has_entries && self.buffered == 0 && self.waiting.is_empty() && self.due.is_empty()
    }

    /// Asserts that buffered names wait for the interval only where the policy says so.
    /// `gate_calls` has the group's key for each gate call in flight.
    pub(in crate::batch::buffer) fn assert_scheduled(&self, gate_calls: &[BatchKey]) {
        for (id, key, group) in self.groups.iter() {
            let is_gate = |name: &NameId| self.names.get(*name).expect("a name").0.is_gate();
            let gate_calls = gate_calls.iter().filter(|of| *of == key).count();
            assert_eq!(group.gate_calls, gate_calls);
            let is_full = group.buffered.len() >= self.decider.batch_size;
            let is_idle = gate_calls == 0 && group.buffered.iter().any(is_gate);
            let has_configs = !group.buffered.iter().all(is_gate);
            let is_adaptive = self.decider.policy == FlushPolicy::Adaptive;
            if is_full || (is_adaptive && (is_idle || has_configs)) {
                assert!(group.is_due, "{key:?} waits for nothing: {group:?}");
            }
            assert_eq!(group.is_due, self.due.contains(&id));
            assert_eq!(group.is_waiting, self.waiting.contains(&id));
            assert!(group.buffered.is_empty() || group.is_due || group.is_waiting);
            let names = self.names.iter().filter(|(_, name, _)| name.group == id);
            assert_eq!(group.names, names.count());
        }
    }
}

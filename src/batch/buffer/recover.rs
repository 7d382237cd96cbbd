//! What a restart of the actor asks of the buffer.

use std::collections::{HashMap, HashSet};

use super::{
    Answer, Buffer,
    group::{GroupId, NameEntry, NameId},
    groups::Groups,
};
use crate::model::{call_kind::CallKind, error::Error};

/// A request that is pending through this many restarts gets an error: it may be their cause.
const MAX_RESTARTS: u8 = 3;

impl Buffer {
    /// Notes a restart of the actor: a request that is pending through a third one is ended. What
    /// the panic before it may have left half done is set right.
    pub(crate) fn restarted(&mut self) -> Vec<Answer> {
        let calls = self.calls.values();
        let gate_calls = calls.clone().filter(|call| call.request.kind == CallKind::CheckGate);
        let mut gate_calls_of = HashMap::new();
        for call in gate_calls {
            *gate_calls_of.entry(call.group).or_default() += 1;
        }
        let asked = calls.flat_map(|call| &call.names).copied().collect();
        self.groups.recover(&asked, &gate_calls_of);

        let detail = "the request was pending through three restarts";
        let mut ended = Vec::new();
        self.requests.retain(|request, pending| {
            pending.restarts += 1;
            if pending.restarts >= MAX_RESTARTS {
                ended.push(Answer { request, result: Err(Error::Internal { detail }) });
            }
            pending.restarts < MAX_RESTARTS
        });
        ended
    }
}

impl Groups {
    /// Derives what is buffered and what is due from the names that are known and from what the
    /// calls ask for that are open.
    fn recover(&mut self, asked: &HashSet<NameId>, gate_calls: &HashMap<GroupId, usize>) {
        self.reunite(asked);
        let Self { decider, groups, names, waiting, due, buffered } = self;
        waiting.clear();
        due.clear();
        *buffered = 0;
        let mut listed = HashSet::new();
        for (id, _, group) in groups.iter_mut() {
            group.count = 0;
            group.gate_calls = gate_calls.get(&id).copied().unwrap_or_default();
            let is_known = |name: &NameId| names.get(*name).is_some();
            group.buffered.retain(|name| is_known(name) && !asked.contains(name));
            listed.extend(group.buffered.iter().copied());
        }
        for (id, key, name) in names.iter_mut() {
            name.in_flight = asked.contains(&id);
            let Some((_, group)) = groups.get_mut(key.group) else { continue };
            group.count += 1;
            if !name.in_flight && !listed.contains(&id) {
                group.buffered.push(id);
            }
        }
        for (id, _, group) in groups.iter_mut() {
            *buffered += group.buffered.len();
            group.is_waiting = !group.buffered.is_empty();
            waiting.extend(group.is_waiting.then_some(id));
            let key = group.buffered.iter().filter_map(|name| names.get(*name));
            let mut kinds = key.map(|(key, _)| key.kind);
            group.is_due = kinds.any(|kind| decider.is_due(group, kind));
            due.extend(group.is_due.then_some(id));
        }
    }

    /// What was superseded and is in no call any more goes to what is buffered in its waiter: a name
    /// is buffered once.
    fn reunite(&mut self, asked: &HashSet<NameId>) {
        let strays =
            self.names.iter().filter(|(id, _, name)| name.is_superseded && !asked.contains(id));
        let strays: Vec<_> = strays.map(|(id, ..)| id).collect();
        for stray in strays {
            let Some((key, NameEntry { waiters, .. })) = self.names.remove(stray) else { continue };
            let mut id = self.names.intern(key, NameEntry::default);
            // A call that is on the way has a later deadline than what it has superseded.
            if asked.contains(&id)
                && let Some(new) = self.supersede(id)
            {
                id = new;
            }
            if let Some((_, name)) = self.names.get_mut(id) {
                name.waiters.extend(waiters);
            }
        }
    }
}

//! What a restart of the actor asks of the buffer.

use std::collections::{HashMap, HashSet};

use super::{
    Answer, Buffer,
    group::{LaneId, Name, NameId},
    groups::Lanes,
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
            *gate_calls_of.entry(call.lane).or_default() += 1;
        }
        let asked = calls.flat_map(|call| &call.names).copied().collect();
        self.lanes.recover(&asked, &gate_calls_of);

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

impl Lanes {
    /// Derives what is buffered and what is due from the names that are known and from what the
    /// calls ask for that are open.
    fn recover(&mut self, asked: &HashSet<NameId>, gate_calls: &HashMap<LaneId, usize>) {
        self.reunite(asked);
        let Self { departure, lanes, names, waiting, due, buffered } = self;
        waiting.clear();
        due.clear();
        *buffered = 0;
        let mut listed = HashSet::new();
        for (id, _, lane) in lanes.iter_mut() {
            lane.count = 0;
            lane.gate_calls = gate_calls.get(&id).copied().unwrap_or_default();
            let is_known = |name: &NameId| names.get(*name).is_some();
            lane.buffered.retain(|name| is_known(name) && !asked.contains(name));
            listed.extend(lane.buffered.iter().copied());
        }
        for (id, wanted, name) in names.iter_mut() {
            name.in_flight = asked.contains(&id);
            let Some((_, lane)) = lanes.get_mut(wanted.lane) else { continue };
            lane.count += 1;
            if !name.in_flight && !listed.contains(&id) {
                lane.buffered.push(id);
            }
        }
        for (id, _, lane) in lanes.iter_mut() {
            *buffered += lane.buffered.len();
            lane.is_waiting = !lane.buffered.is_empty();
            waiting.extend(lane.is_waiting.then_some(id));
            let wanted = lane.buffered.iter().filter_map(|name| names.get(*name));
            let mut kinds = wanted.map(|(wanted, _)| wanted.kind);
            lane.is_due = kinds.any(|kind| departure.is_due(lane, kind));
            due.extend(lane.is_due.then_some(id));
        }
    }

    /// What was superseded and is in no call any more goes to what is buffered in its place: a name
    /// is buffered once.
    fn reunite(&mut self, asked: &HashSet<NameId>) {
        let strays =
            self.names.iter().filter(|(id, _, name)| name.is_superseded && !asked.contains(id));
        let strays: Vec<_> = strays.map(|(id, ..)| id).collect();
        for stray in strays {
            let Some((wanted, Name { places, .. })) = self.names.remove(stray) else { continue };
            let mut id = self.names.id_of(wanted, Name::default);
            // A call that is on the way has a later deadline than what it has superseded.
            if asked.contains(&id)
                && let Some(new) = self.supersede(id)
            {
                id = new;
            }
            if let Some((_, name)) = self.names.get_mut(id) {
                name.places.extend(places);
            }
        }
    }
}

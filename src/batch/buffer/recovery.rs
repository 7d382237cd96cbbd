//! What a restart of the actor asks of the buffer.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{Answer, Buffer};
use crate::{
    batch::lane::{Lane, Names},
    error::Error,
    messages::CallKind,
};

/// A request that is pending through this many restarts gets an error: it may be their cause.
const MAX_RESTARTS: u8 = 3;

impl Buffer {
    /// Notes a restart of the actor: a request that is pending through a third one is ended. What
    /// the panic before it may have left half done is set right.
    pub(crate) fn restarted(&mut self) -> Vec<Answer> {
        self.recover();
        let detail = "the request was pending through three restarts";
        let result = || Err(Error::Internal { detail });
        let ended = self.requests.extract_if(|_, pending| {
            pending.restarts += 1;
            pending.restarts >= MAX_RESTARTS
        });
        ended.map(|(request, _)| Answer { request, result: result() }).collect()
    }

    /// Derives what is buffered and what is due from the names that are known and the calls that
    /// are open.
    fn recover(&mut self) {
        let mut asked: HashSet<(Lane, CallKind, Arc<str>)> = HashSet::new();
        let mut gate_calls: HashMap<Lane, usize> = HashMap::new();
        for call in self.calls.values() {
            let lane = Lane::of(call);
            if call.kind == CallKind::CheckGate {
                *gate_calls.entry(lane.clone()).or_default() += 1;
            }
            let names = call.names.iter();
            asked.extend(names.map(|name| (lane.clone(), call.kind, Arc::clone(name))));
        }
        self.due.clear();
        self.buffered = 0;
        for (lane, names) in &mut self.lanes {
            for ((kind, name), known) in &mut names.known {
                known.in_flight = asked.contains(&(lane.clone(), *kind, Arc::clone(name)));
            }
            names.gate_calls = gate_calls.get(lane).copied().unwrap_or_default();
            let Names { known, buffered, .. } = names;
            let is_buffered = |key: &_| known.get(key).is_some_and(|name| !name.in_flight);
            buffered.retain(is_buffered);
            let listed: HashSet<_> = buffered.iter().cloned().collect();
            let lost = known.keys().filter(|key| is_buffered(key) && !listed.contains(*key));
            buffered.extend(lost.cloned().collect::<Vec<_>>());
            self.buffered += buffered.len();
            if !buffered.is_empty() {
                self.waiting.insert(lane.clone());
            }
            let mut kinds = names.buffered.iter().map(|(kind, _)| *kind);
            names.is_due = kinds.any(|kind| self.departure.is_due(names, kind));
            if names.is_due {
                self.due.push(lane.clone());
            }
        }
    }
}

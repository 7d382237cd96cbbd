//! Repairs the buffer after a restart of the actor.

use std::collections::HashMap;

use super::{Answer, Buffer};
use crate::model::{call_kind::CallKind, error::Error};

/// A request that is pending through this many restarts gets an error, because it may cause them.
const MAX_RESTARTS: u8 = 3;

impl Buffer {
    /// Repairs the buffer after a restart of the actor, and ends the requests that have been
    /// pending through too many restarts.
    pub(crate) fn restarted(&mut self) -> Vec<Answer> {
        let mut gate_calls = HashMap::new();
        for call in self.calls.values().filter(|call| call.request.kind == CallKind::CheckGate) {
            *gate_calls.entry(call.group).or_default() += 1;
        }
        let in_flight = self.calls.values().flat_map(|call| &call.names).copied().collect();
        self.groups.recover(&in_flight, &gate_calls);

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

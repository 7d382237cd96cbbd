//! Turns buffered names into calls.

use std::{iter, sync::Arc, time::Instant};

use slotmap::SlotMap;

use super::{
    Buffer, CallId, Effects, InFlightCall, PendingRequest,
    group::{GroupId, NameEntry, NameId, RequestId},
};
use crate::{message::call::CallRequest, model::call_kind::CallKind};

/// A name to put into a call, and the earliest deadline of its waiters.
type DueName = (NameId, Arc<str>, Instant);

impl Buffer {
    /// The requests that [`flush_due`](Self::flush_due) would make calls for, once for each name.
    pub(crate) fn due_requests(&self) -> impl Iterator<Item = RequestId> {
        self.groups.due_waiters().map(|waiter| waiter.request)
    }

    /// The requests that [`flush_all`](Self::flush_all) would make calls for, once for each name.
    pub(crate) fn buffered_requests(&self) -> impl Iterator<Item = RequestId> {
        let requests = self.groups.buffered_waiters().map(|waiter| waiter.request);
        requests.filter(|request| self.requests.contains_key(*request))
    }

    /// Drops the requests whose callers have left, and makes the calls for the groups that are due.
    pub(crate) fn flush_due(&mut self, left: &[RequestId]) -> Effects {
        let abandoned = self.abandon(left);
        let due = self.groups.drain_due();
        let calls = self.flush_groups(due, true);
        if self.groups.buffered() == 0 {
            self.groups.drain_waiting();
        }
        Effects { calls, abandoned, ..Effects::default() }
    }

    /// Drops the requests whose callers have left, and makes the calls for all groups.
    pub(crate) fn flush_all(&mut self, left: &[RequestId]) -> Effects {
        let abandoned = self.abandon(left);
        let (due, waiting) = (self.groups.drain_due(), self.groups.drain_waiting());
        let calls = self.flush_groups(due.into_iter().chain(waiting), false);
        Effects { calls, abandoned, ..Effects::default() }
    }

    /// Drops these requests. Returns those that had not ended.
    fn abandon(&mut self, left: &[RequestId]) -> Vec<RequestId> {
        let left = left.iter().filter(|request| self.requests.remove(**request).is_some());
        left.copied().collect()
    }

    pub(super) fn flush_groups(
        &mut self,
        groups: impl IntoIterator<Item = GroupId>,
        may_hold_back: bool,
    ) -> Vec<(CallId, CallRequest)> {
        let mut calls = Vec::new();
        for group in groups {
            let (mut gates, mut configs) = (Vec::new(), Vec::new());
            // Retries get calls of their own: their short deadline would apply to the whole call.
            let mut retries = Vec::new();
            // Each name that was refused before also gets its own call: it would fail the whole
            // call.
            let mut refused = Vec::new();
            for id in self.groups.drain_buffered(group, may_hold_back) {
                let Some((key, entry)) = self.groups.name_mut(id) else { continue };
                let Some(deadline) = earliest_deadline(entry, &self.requests) else {
                    self.groups.remove_name(id);
                    continue;
                };
                entry.in_flight = true;
                let names = match key.kind {
                    CallKind::CheckGate if self.refused.contains(key.kind, &key.name) => {
                        &mut refused
                    }
                    CallKind::CheckGate if entry.is_retry => &mut retries,
                    CallKind::CheckGate => &mut gates,
                    CallKind::GetConfig => &mut configs,
                };
                names.push((id, Arc::clone(&key.name), deadline));
            }
            let (gate, config) = (CallKind::CheckGate, CallKind::GetConfig);
            let batches = gates.chunks(gate.max_names()).chain(retries.chunks(gate.max_names()));
            let batches = batches.chain(refused.chunks(1)).zip(iter::repeat(gate));
            let configs = configs.chunks(config.max_names()).zip(iter::repeat(config));
            for (names, kind) in batches.chain(configs) {
                calls.extend(self.call_for(group, kind, names));
            }
            self.groups.remove_or_reschedule(group);
        }
        calls
    }

    fn call_for(
        &mut self,
        group: GroupId,
        kind: CallKind,
        names: &[DueName],
    ) -> Option<(CallId, CallRequest)> {
        let key = self.groups.key(group)?;
        let request = CallRequest {
            kind,
            user: key.user.clone(),
            exposure: key.exposure,
            deadline: names.iter().map(|(.., deadline)| *deadline).min()?,
            names: names.iter().map(|(_, name, _)| Arc::clone(name)).collect(),
            refusal: None,
        };
        let names = names.iter().map(|(id, ..)| *id).collect();
        Some(self.start_call(InFlightCall { request, group, names, bisection: None }))
    }
}

/// Drops the waiters whose requests have ended. Returns the earliest deadline of the others.
fn earliest_deadline(
    entry: &mut NameEntry,
    requests: &SlotMap<RequestId, PendingRequest>,
) -> Option<Instant> {
    let mut earliest: Option<Instant> = None;
    entry.waiters.retain(|waiter| {
        let Some(request) = requests.get(waiter.request) else { return false };
        earliest = Some(earliest.map_or(request.deadline, |at| at.min(request.deadline)));
        true
    });
    earliest
}

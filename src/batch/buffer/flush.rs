//! From what is buffered to calls.

use std::{mem, sync::Arc, time::Instant};

use super::{Buffer, Flushed};
use crate::{
    batch::lane::{Lane, Names, RequestId},
    messages::CallKind,
};

impl Buffer {
    /// Makes calls of what these lanes have buffered, but for the gates of those that hold them
    /// back.
    pub(super) fn flush(
        &mut self,
        lanes: impl IntoIterator<Item = Lane>,
        holds_gates_back: impl Fn(&Names) -> bool,
        is_present: impl Fn(RequestId) -> bool,
    ) -> Flushed {
        let mut flushed = Flushed::default();
        for lane in lanes {
            let Some(names) = self.lanes.get_mut(&lane) else { continue };
            names.is_due = false;
            let buffered = if holds_gates_back(names) {
                let buffered = names.take_all_but_fresh_gates();
                if !names.buffered.is_empty() {
                    self.waiting.insert(lane.clone());
                }
                buffered
            } else {
                mem::take(&mut names.buffered)
            };
            self.buffered -= buffered.len();
            // What is asked again travels alone: its short deadline would be the whole call's.
            let (mut gates, mut again, mut configs) = (Vec::new(), Vec::new(), Vec::new());
            for (kind, name) in buffered {
                let wanted = self.present(&lane, kind, &name, &is_present, &mut flushed);
                let Some((deadline, is_again)) = wanted else { continue };
                let names = match kind {
                    CallKind::CheckGate if is_again => &mut again,
                    CallKind::CheckGate => &mut gates,
                    CallKind::GetConfig => &mut configs,
                };
                names.push((name, deadline));
            }
            let gates = lane.calls(CallKind::CheckGate, gates);
            let again = lane.calls(CallKind::CheckGate, again);
            let configs = lane.calls(CallKind::GetConfig, configs);
            for call in gates.chain(again).chain(configs) {
                flushed.calls.push(self.open(call));
            }
            self.forget_if_idle(&lane);
        }
        flushed
    }

    /// Drops the places of callers who left. Marks the name as in flight and returns the earliest
    /// deadline of those who wait for it, and whether it is asked again; or forgets the name if
    /// nobody waits for it.
    fn present(
        &mut self,
        lane: &Lane,
        kind: CallKind,
        name: &Arc<str>,
        is_present: impl Fn(RequestId) -> bool,
        flushed: &mut Flushed,
    ) -> Option<(Instant, bool)> {
        let known = &mut self.lanes.get_mut(lane)?.known;
        let key = (kind, Arc::clone(name));
        let entry = known.get_mut(&key)?;
        let requests = &mut self.requests;
        entry.places.retain(|place| {
            if requests.contains_key(&place.request) && !is_present(place.request) {
                requests.remove(&place.request);
                flushed.abandoned.push(place.request);
            }
            requests.contains_key(&place.request)
        });
        let deadlines = entry.places.iter().filter_map(|place| requests.get(&place.request));
        let Some(deadline) = deadlines.map(|request| request.deadline).min() else {
            known.remove(&key);
            return None;
        };
        entry.in_flight = true;
        Some((deadline, entry.again))
    }
}

//! From what is buffered to calls.

use std::{sync::Arc, time::Instant};

use super::{
    Buffer, Flushed, Open,
    group::{LaneId, Leaving, NameId, RequestId},
};
use crate::model::call_kind::CallKind;

impl Buffer {
    /// Makes calls of what these lanes have buffered, but for gates that are to be held back.
    pub(super) fn flush(
        &mut self,
        lanes: impl IntoIterator<Item = LaneId>,
        may_hold_back: bool,
        is_present: impl Fn(RequestId) -> bool,
    ) -> Flushed {
        let mut flushed = Flushed::default();
        for lane in lanes {
            // What is asked again travels by itself: its short deadline would be the whole call's.
            let (mut gates, mut again, mut configs) = (Vec::new(), Vec::new(), Vec::new());
            // So does each name that was refused: the refusal would be the whole call's.
            let mut alone = Vec::new();
            for id in self.lanes.take_buffered(lane, may_hold_back) {
                let Some(deadline) = self.present(id, &is_present, &mut flushed) else { continue };
                let Some((wanted, name)) = self.lanes.names.get_mut(id) else { continue };
                name.in_flight = true;
                let names = match wanted.kind {
                    CallKind::CheckGate if self.refused.contains(wanted.kind, &wanted.name) => {
                        &mut alone
                    }
                    CallKind::CheckGate if name.again => &mut again,
                    CallKind::CheckGate => &mut gates,
                    CallKind::GetConfig => &mut configs,
                };
                names.push(Leaving { id, name: Arc::clone(&wanted.name), deadline });
            }
            self.make_calls(lane, CallKind::CheckGate, &gates, &mut flushed);
            self.make_calls(lane, CallKind::CheckGate, &again, &mut flushed);
            for name in alone.chunks(1) {
                self.make_calls(lane, CallKind::CheckGate, name, &mut flushed);
            }
            self.make_calls(lane, CallKind::GetConfig, &configs, &mut flushed);
            self.lanes.settle(lane);
        }
        flushed
    }

    /// Drops the places of callers who left. Returns the earliest deadline of those who wait for
    /// the name, or forgets the name if nobody does.
    fn present(
        &mut self,
        id: NameId,
        is_present: impl Fn(RequestId) -> bool,
        flushed: &mut Flushed,
    ) -> Option<Instant> {
        let (_, name) = self.lanes.names.get_mut(id)?;
        let requests = &mut self.requests;
        let mut deadline: Option<Instant> = None;
        name.places.retain(|place| {
            let Some(request) = requests.get(place.request) else { return false };
            if !is_present(place.request) {
                requests.remove(place.request);
                flushed.abandoned.push(place.request);
                return false;
            }
            let earliest = deadline.map_or(request.deadline, |at| at.min(request.deadline));
            deadline = Some(earliest);
            true
        });
        if deadline.is_none() {
            self.lanes.forget(id);
        }
        deadline
    }

    /// As many calls as the API needs for so many names.
    fn make_calls(
        &mut self,
        lane: LaneId,
        kind: CallKind,
        names: &[Leaving],
        flushed: &mut Flushed,
    ) {
        for names in names.chunks(kind.max_names()) {
            let Some((of, _)) = self.lanes.lanes.get(lane) else { return };
            let Some(request) = of.call(kind, names) else { return };
            let names = names.iter().map(|leaving| leaving.id).collect();
            flushed.calls.push(self.open(Open { request, lane, names, isolation: None }));
        }
    }
}

//! From what is buffered to calls.

use std::{sync::Arc, time::Instant};

use super::{
    Buffer, Effects, InFlightCall,
    group::{GroupId, Leaving, NameId, RequestId},
};
use crate::model::call_kind::CallKind;

impl Buffer {
    /// Makes calls of what these groups have buffered, but for gates that are to be held back.
    pub(super) fn flush(
        &mut self,
        groups: impl IntoIterator<Item = GroupId>,
        may_hold_back: bool,
        is_present: impl Fn(RequestId) -> bool,
    ) -> Effects {
        let mut effects = Effects::default();
        for group in groups {
            // What is asked again travels by itself: its short deadline would be the whole call's.
            let (mut gates, mut again, mut configs) = (Vec::new(), Vec::new(), Vec::new());
            // So does each name that was refused: the refusal would be the whole call's.
            let mut alone = Vec::new();
            for id in self.groups.drain_buffered(group, may_hold_back) {
                let Some(deadline) = self.present(id, &is_present, &mut effects) else { continue };
                let Some((key, name)) = self.groups.names.get_mut(id) else { continue };
                name.in_flight = true;
                let names = match key.kind {
                    CallKind::CheckGate if self.refused.contains(key.kind, &key.name) => &mut alone,
                    CallKind::CheckGate if name.again => &mut again,
                    CallKind::CheckGate => &mut gates,
                    CallKind::GetConfig => &mut configs,
                };
                names.push(Leaving { id, name: Arc::clone(&key.name), deadline });
            }
            self.make_calls(group, CallKind::CheckGate, &gates, &mut effects);
            self.make_calls(group, CallKind::CheckGate, &again, &mut effects);
            for name in alone.chunks(1) {
                self.make_calls(group, CallKind::CheckGate, name, &mut effects);
            }
            self.make_calls(group, CallKind::GetConfig, &configs, &mut effects);
            self.groups.remove_or_reschedule(group);
        }
        effects
    }

    /// Drops the waiters of callers who left. Returns the earliest deadline of those who wait for
    /// the name, or forgets the name if nobody does.
    fn present(
        &mut self,
        id: NameId,
        is_present: impl Fn(RequestId) -> bool,
        effects: &mut Effects,
    ) -> Option<Instant> {
        let (_, name) = self.groups.names.get_mut(id)?;
        let requests = &mut self.requests;
        let mut deadline: Option<Instant> = None;
        name.waiters.retain(|waiter| {
            let Some(request) = requests.get(waiter.request) else { return false };
            if !is_present(waiter.request) {
                requests.remove(waiter.request);
                effects.abandoned.push(waiter.request);
                return false;
            }
            let earliest = deadline.map_or(request.deadline, |at| at.min(request.deadline));
            deadline = Some(earliest);
            true
        });
        if deadline.is_none() {
            self.groups.remove_name(id);
        }
        deadline
    }

    /// As many calls as the API needs for so many names.
    fn make_calls(
        &mut self,
        group: GroupId,
        kind: CallKind,
        names: &[Leaving],
        effects: &mut Effects,
    ) {
        for names in names.chunks(kind.max_names()) {
            let Some((of, _)) = self.groups.groups.get(group) else { return };
            let Some(request) = of.call(kind, names) else { return };
            let names = names.iter().map(|leaving| leaving.id).collect();
            effects.calls.push(self.start_call(InFlightCall {
                request,
                group,
                names,
                bisection: None,
            }));
        }
    }
}

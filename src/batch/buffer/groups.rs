//! What is asked of whom, and which lanes are to be flushed when.

use std::{mem, sync::Arc};

use super::{
    group::{Lane, LaneId, Name, NameId, Names, Place, Wanted},
    interner::Keyed,
    policy::{Departure, Staying},
};
use crate::model::call_kind::CallKind;

#[derive(Debug)]
pub(super) struct Lanes {
    pub(super) departure: Departure,
    pub(super) lanes: Keyed<LaneId, Lane, Names>,
    pub(super) names: Keyed<NameId, Wanted, Name>,
    /// Lanes with something buffered, in the order they got it, and some that had: they go when
    /// nothing is buffered any more.
    pub(super) waiting: Vec<LaneId>,
    /// Lanes that are due before the interval has run.
    pub(super) due: Vec<LaneId>,
    pub(super) buffered: usize,
}

impl Lanes {
    pub(super) fn new(departure: Departure) -> Self {
        let (lanes, names) = (Keyed::new(), Keyed::new());
        Self { departure, lanes, names, waiting: Vec::new(), due: Vec::new(), buffered: 0 }
    }

    pub(super) fn enter(&mut self, lane: Lane) -> LaneId {
        self.lanes.id_of(lane, Names::default)
    }

    /// The name's id; it is buffered if nobody has asked for it so far, or if it is to be asked for
    /// anew and is in flight.
    pub(super) fn want(
        &mut self,
        lane: LaneId,
        kind: CallKind,
        name: Arc<str>,
        anew: bool,
    ) -> NameId {
        let mut is_new = false;
        let mut id = self.names.id_of(Wanted { lane, kind, name }, || {
            is_new = true;
            Name::default()
        });
        if anew
            && self.names.get(id).is_some_and(|(_, name)| name.in_flight)
            && let Some(new) = self.supersede(id)
        {
            (id, is_new) = (new, true);
        }
        if is_new && let Some((_, names)) = self.lanes.get_mut(lane) {
            names.count += 1;
            names.buffered.push(id);
            self.buffered += 1;
        }
        id
    }

    /// Takes the place of a name in flight: whoever asks from now on is with the new one.
    pub(super) fn supersede(&mut self, id: NameId) -> Option<NameId> {
        let new = self.names.supersede(id, Name::default())?;
        if let Some((_, name)) = self.names.get_mut(id) {
            name.is_superseded = true;
        }
        Some(new)
    }

    /// Has the name's evaluation go to this place, too. Says whether the name was in flight already.
    pub(super) fn join(&mut self, name: NameId, place: Place) -> bool {
        let Some((_, name)) = self.names.get_mut(name) else { return false };
        name.places.push(Place { joined: name.in_flight || name.again, ..place });
        name.in_flight
    }

    /// Sees to it that the lane is flushed, now that names of this kind have been buffered.
    pub(super) fn list(&mut self, lane: LaneId, kind: CallKind) {
        let Some((_, names)) = self.lanes.get_mut(lane) else { return };
        if self.departure.is_due(names, kind) {
            self.make_due(lane);
        } else if !names.is_due {
            self.make_waiting(lane);
        }
    }

    pub(super) fn make_due(&mut self, lane: LaneId) {
        if let Some((_, names)) = self.lanes.get_mut(lane)
            && !mem::replace(&mut names.is_due, true)
        {
            self.due.push(lane);
        }
    }

    pub(super) fn make_waiting(&mut self, lane: LaneId) {
        if let Some((_, names)) = self.lanes.get_mut(lane)
            && !mem::replace(&mut names.is_waiting, true)
        {
            self.waiting.push(lane);
        }
    }

    /// The lanes that are due, which are so no longer.
    pub(super) fn take_due(&mut self) -> Vec<LaneId> {
        let due = mem::take(&mut self.due);
        for lane in &due {
            if let Some((_, names)) = self.lanes.get_mut(*lane) {
                names.is_due = false;
            }
        }
        due
    }

    /// The lanes that wait for the interval, which do so no longer.
    pub(super) fn take_waiting(&mut self) -> Vec<LaneId> {
        let waiting = mem::take(&mut self.waiting);
        for lane in &waiting {
            if let Some((_, names)) = self.lanes.get_mut(*lane) {
                names.is_waiting = false;
            }
        }
        waiting
    }

    /// What of a lane leaves now: all that it has buffered or, where it need not all leave, what
    /// its departure says.
    pub(super) fn take_buffered(&mut self, lane: LaneId, may_stay: bool) -> Vec<NameId> {
        let Some((_, lane_names)) = self.lanes.get_mut(lane) else { return Vec::new() };
        let Self { departure, names, .. } = self;
        let taken: Vec<_> = match departure.of(lane_names).filter(|_| may_stay) {
            None => mem::take(&mut lane_names.buffered),
            Some(Staying::TheLastBatch) => {
                let mut leave = in_whole_batches(&lane_names.buffered, departure.batch_size, names);
                let leaves = |id: &mut NameId| {
                    let is_gate = names.get(*id).is_some_and(|(of, _)| of.is_gate());
                    let leaves = !is_gate || leave > 0;
                    leave -= usize::from(is_gate && leaves);
                    leaves
                };
                lane_names.buffered.extract_if(.., leaves).collect()
            }
            Some(Staying::Gates) => {
                let leaves = |id: &mut NameId| {
                    let name = names.get(*id);
                    name.is_some_and(|(of, name)| !of.is_gate() || name.again)
                };
                lane_names.buffered.extract_if(.., leaves).collect()
            }
        };
        let is_left = !lane_names.buffered.is_empty();
        self.buffered -= taken.len();
        if is_left {
            self.make_waiting(lane);
        }
        taken
    }

    /// Nobody waits for the name any more, or its evaluation is there.
    pub(super) fn forget(&mut self, name: NameId) -> Option<(Wanted, Name)> {
        let (wanted, name) = self.names.remove(name)?;
        if let Some((_, names)) = self.lanes.get_mut(wanted.lane) {
            names.count -= 1;
        }
        Some((wanted, name))
    }

    pub(super) fn gate_call_began(&mut self, lane: LaneId) {
        if let Some((_, names)) = self.lanes.get_mut(lane) {
            names.gate_calls += 1;
        }
    }

    pub(super) fn gate_call_ended(&mut self, lane: LaneId) {
        if let Some((_, names)) = self.lanes.get_mut(lane) {
            names.gate_calls -= 1;
        }
    }

    /// After names of the lane have got their evaluations, or have been forgotten.
    pub(super) fn settle(&mut self, lane: LaneId) {
        let Some((_, names)) = self.lanes.get(lane) else { return };
        if names.count == 0 {
            self.lanes.remove(lane);
        } else if self.departure.is_due_after_a_call(names) {
            self.make_due(lane);
        }
    }
}

/// How many of these gates make whole batches, or all if they make none. A request's names are not
/// torn apart, and what is asked again has waited for a call already: where it stands behind, all of
/// them leave.
fn in_whole_batches(
    buffered: &[NameId],
    batch_size: usize,
    names: &Keyed<NameId, Wanted, Name>,
) -> usize {
    let gates = buffered.iter().filter_map(|id| names.get(*id));
    let gates: Vec<_> = gates.filter(|(of, _)| of.is_gate()).map(|(_, name)| name).collect();
    let (whole, rest) = gates.split_at(gates.len() - gates.len() % batch_size);
    let first_asked_by = |name: &Name| name.places.first().map(|place| place.request);
    match whole.last() {
        Some(last) if !rest.iter().any(|name| name.again) => {
            let of_the_last = |name: &&&Name| first_asked_by(name) == first_asked_by(last);
            whole.len() + rest.iter().take_while(of_the_last).count()
        }
        _ => gates.len(),
    }
}

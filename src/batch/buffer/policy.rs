//! When a group's group leave before the interval has run. Pure.

use super::group::Group;
use crate::{config::FlushPolicy, model::call_kind::CallKind};

#[derive(Clone, Copy, Debug)]
pub(super) struct FlushDecider {
    pub(super) batch_size: usize,
    pub(super) policy: FlushPolicy,
}

/// What of a group's group does not leave with the others.
#[derive(Clone, Copy, Debug)]
pub(super) enum HoldBack {
    /// Gates that make no whole batch: a call of few group, if it left now.
    PartialBatch,
    /// All gates, to gather for the call that is under way. What is asked again does not: it has
    /// waited for a call already.
    Gates,
}

impl FlushDecider {
    /// Whether a name of this kind that is buffered now makes its group due.
    pub(super) fn is_due(self, group: &Group, kind: CallKind) -> bool {
        let may_leave = match kind {
            CallKind::CheckGate => group.gate_calls == 0,
            // Each is a call of its own: there is nothing to gather.
            CallKind::GetConfig => true,
        };
        self.is_full(group) || (self.is_adaptive() && may_leave)
    }

    /// What of a group that is due stays, if anything does.
    pub(super) fn of(self, group: &Group) -> Option<HoldBack> {
        let may_gather = !self.is_adaptive() || group.gate_calls > 0;
        if self.is_full(group) && may_gather {
            Some(HoldBack::PartialBatch)
        } else if self.is_adaptive() && may_gather {
            Some(HoldBack::Gates)
        } else {
            None
        }
    }

    /// Whether the return of a gate call makes its group due.
    pub(super) fn is_due_after_a_call(self, group: &Group) -> bool {
        self.is_adaptive() && group.gate_calls == 0 && !group.buffered.is_empty()
    }

    fn is_full(self, group: &Group) -> bool {
        group.buffered.len() >= self.batch_size
    }

    fn is_adaptive(self) -> bool {
        self.policy == FlushPolicy::Adaptive
    }
}

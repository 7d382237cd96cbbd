//! When a lane's names leave before the interval has run. Pure.

use super::group::Names;
use crate::{config::FlushPolicy, model::call_kind::CallKind};

#[derive(Clone, Copy, Debug)]
pub(super) struct Departure {
    pub(super) batch_size: usize,
    pub(super) policy: FlushPolicy,
}

/// What of a lane's names does not leave with the others.
#[derive(Clone, Copy, Debug)]
pub(super) enum Staying {
    /// Gates that make no whole batch: a call of few names, if it left now.
    TheLastBatch,
    /// All gates, to gather for the call that is under way. What is asked again does not: it has
    /// waited for a call already.
    Gates,
}

impl Departure {
    /// Whether a name of this kind that is buffered now makes its lane due.
    pub(super) fn is_due(self, names: &Names, kind: CallKind) -> bool {
        let may_leave = match kind {
            CallKind::CheckGate => names.gate_calls == 0,
            // Each is a call of its own: there is nothing to gather.
            CallKind::GetConfig => true,
        };
        self.is_full(names) || (self.is_adaptive() && may_leave)
    }

    /// What of a lane that is due stays, if anything does.
    pub(super) fn of(self, names: &Names) -> Option<Staying> {
        let may_gather = !self.is_adaptive() || names.gate_calls > 0;
        if self.is_full(names) && may_gather {
            Some(Staying::TheLastBatch)
        } else if self.is_adaptive() && may_gather {
            Some(Staying::Gates)
        } else {
            None
        }
    }

    /// Whether the return of a gate call makes its lane due.
    pub(super) fn is_due_after_a_call(self, names: &Names) -> bool {
        self.is_adaptive() && names.gate_calls == 0 && !names.buffered.is_empty()
    }

    fn is_full(self, names: &Names) -> bool {
        names.buffered.len() >= self.batch_size
    }

    fn is_adaptive(self) -> bool {
        self.policy == FlushPolicy::Adaptive
    }
}

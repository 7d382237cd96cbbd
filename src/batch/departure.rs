//! When a lane's names leave before the interval has run. Pure.

use super::lane::Names;
use crate::{config::FlushPolicy, messages::CallKind};

#[derive(Clone, Copy, Debug)]
pub(super) struct Departure {
    pub(super) batch_size: usize,
    pub(super) policy: FlushPolicy,
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

    /// Whether the gates of a lane that is due gather on, for a call that is under way. What is
    /// asked again does not: it has waited for a call already.
    pub(super) fn holds_gates_back(self, names: &Names) -> bool {
        self.is_adaptive() && names.gate_calls > 0 && !self.is_full(names)
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

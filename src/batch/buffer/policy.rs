//! When a group is flushed before the next interval. Pure.

use super::group::Group;
use crate::{config::FlushPolicy, model::call_kind::CallKind};

#[derive(Clone, Copy, Debug)]
pub(super) struct FlushDecider {
    pub(super) batch_size: usize,
    pub(super) policy: FlushPolicy,
}

/// The gates that a flush of a due group leaves buffered.
#[derive(Clone, Copy, Debug)]
pub(super) enum HoldBack {
    /// The gates that fill no whole batch: flushing them now would make a call of few names.
    PartialBatch,
    /// All gates except retries, to collect more gates while a call is in flight. A retry has
    /// waited for a call already.
    Gates,
}

impl FlushDecider {
    /// Whether a newly buffered name of this kind makes its group due.
    pub(super) fn is_due(self, group: &Group, kind: CallKind) -> bool {
        let is_idle = match kind {
            CallKind::CheckGate => group.gate_calls == 0,
            // Each config is a call of its own: there is nothing to collect.
            CallKind::GetConfig => true,
        };
        self.is_full(group) || (self.is_adaptive() && is_idle)
    }

    /// Returns which gates a flush of this due group holds back.
    pub(super) fn hold_back(self, group: &Group) -> Option<HoldBack> {
        let may_collect = !self.is_adaptive() || group.gate_calls > 0;
        if self.is_full(group) && may_collect {
            Some(HoldBack::PartialBatch)
        } else if self.is_adaptive() && may_collect {
            Some(HoldBack::Gates)
        } else {
            None
        }
    }

    /// Whether the end of a gate call makes its group due.
    pub(super) fn is_due_after_call(self, group: &Group) -> bool {
        self.is_adaptive() && group.gate_calls == 0 && !group.buffered.is_empty()
    }

    fn is_full(self, group: &Group) -> bool {
        group.buffered.len() >= self.batch_size
    }

    fn is_adaptive(self) -> bool {
        self.policy == FlushPolicy::Adaptive
    }
}

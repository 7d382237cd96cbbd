//! Remembers for a while which names the server refuses, so that each gets a call of its own. Pure.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use foldhash::fast::RandomState;
use slotmap::{SlotMap, new_key_type};

use crate::{
    message::call::{CallRequest, Outcome},
    model::{call_kind::CallKind, error::Error},
};

new_key_type! {
    pub(in crate::batch) struct BisectionId;
}

/// The refused names, and the bisections that search for more of them.
///
/// A refusal of a single name may also be due to the user, or to an outage. It counts as the name's
/// fault only if other names of the same call were answered.
#[derive(Debug, Default)]
pub(in crate::batch) struct RefusedNames {
    names: HashMap<(CallKind, Arc<str>), Instant, RandomState>,
    bisections: SlotMap<BisectionId, Bisection>,
    last_eviction: Option<Instant>,
}

/// A call that was refused as a whole and is retried in parts.
#[derive(Debug)]
struct Bisection {
    /// Parts without an outcome yet.
    in_flight: usize,
    has_answer: bool,
    refused: Vec<Arc<str>>,
}

/// What the outcome of a call says about its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::batch) enum NameVerdict {
    Answered,
    Refused,
    Unknown,
}

impl NameVerdict {
    pub(in crate::batch) fn of(outcome: &Outcome) -> Self {
        match outcome {
            Ok(_) => Self::Answered,
            // Not 413: with a single name, the user is too large, not the name.
            Err(Error::Refused { status: 400, .. }) => Self::Refused,
            Err(_) => Self::Unknown,
        }
    }
}

/// Bounds the memory, because a name has at most 100 characters.
const MAX_NAMES: usize = 1_000;

/// How long a name is remembered after its last refusal.
const MAX_AGE: Duration = Duration::from_secs(600);
const EVICTION_INTERVAL: Duration = Duration::from_secs(60);

impl RefusedNames {
    pub(in crate::batch) fn contains(&self, kind: CallKind, name: &Arc<str>) -> bool {
        !self.names.is_empty() && self.names.contains_key(&(kind, Arc::clone(name)))
    }

    /// Records that a call is retried in this many parts. Parts of parts stay in the same
    /// bisection.
    pub(in crate::batch) fn split(&mut self, of: Option<BisectionId>, parts: usize) -> BisectionId {
        if let Some((id, bisection)) = of.and_then(|id| Some((id, self.bisections.get_mut(id)?))) {
            bisection.in_flight += parts.saturating_sub(1);
            return id;
        }
        let bisection = Bisection { in_flight: parts, has_answer: false, refused: Vec::new() };
        self.bisections.insert(bisection)
    }

    /// Records the outcome of a call, whose bisection is `of` if it is a part.
    pub(in crate::batch) fn record(
        &mut self,
        of: Option<BisectionId>,
        call: &CallRequest,
        verdict: NameVerdict,
        now: Instant,
    ) {
        let is_alone = call.names.len() == 1;
        if !self.names.is_empty() {
            self.evict_old(now);
            for name in call.names.iter().filter(|_| verdict != NameVerdict::Unknown) {
                let key = (call.kind, Arc::clone(name));
                if verdict == NameVerdict::Answered {
                    self.names.remove(&key);
                } else if let Some(at) = self.names.get_mut(&key).filter(|_| is_alone) {
                    *at = now;
                }
            }
        }
        let Some(id) = of else { return };
        let Some(bisection) = self.bisections.get_mut(id) else { return };
        bisection.in_flight = bisection.in_flight.saturating_sub(1);
        bisection.has_answer |= verdict == NameVerdict::Answered;
        if verdict == NameVerdict::Refused && is_alone {
            bisection.refused.extend(call.names.iter().cloned());
        }
        if bisection.in_flight == 0
            && let Some(bisection) = self.bisections.remove(id)
            && bisection.has_answer
        {
            for name in bisection.refused {
                self.remember(call.kind, name, now);
            }
        }
    }

    #[cfg(test)]
    pub(in crate::batch) fn has_no_bisections(&self) -> bool {
        self.bisections.is_empty()
    }

    fn evict_old(&mut self, now: Instant) {
        let age = |at: Instant| now.saturating_duration_since(at);
        if self.last_eviction.is_none_or(|last| age(last) >= EVICTION_INTERVAL) {
            self.last_eviction = Some(now);
            self.names.retain(|_, at| age(*at) < MAX_AGE);
        }
    }

    fn remember(&mut self, kind: CallKind, name: Arc<str>, now: Instant) {
        if self.names.len() >= MAX_NAMES
            && let Some(oldest) = self.names.iter().min_by_key(|(_, at)| **at)
        {
            let oldest = oldest.0.clone();
            self.names.remove(&oldest);
        }
        self.names.insert((kind, name), now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::user::User;

    #[allow(clippy::disallowed_methods)]
    fn start() -> Instant {
        Instant::now()
    }

    fn call(names: &[&str]) -> CallRequest {
        CallRequest {
            kind: CallKind::CheckGate,
            user: User::new("u").unwrap(),
            names: names.iter().map(|name| Arc::from(*name)).collect(),
            exposure: true,
            deadline: start(),
            refusal: None,
        }
    }

    /// Returns the refused names after a call was retried in these parts, each with its verdict.
    fn after(parts: &[(&[&str], NameVerdict)], now: Instant) -> RefusedNames {
        let mut refused = RefusedNames::default();
        let bisection = Some(refused.split(None, parts.len()));
        for (names, verdict) in parts {
            refused.record(bisection, &call(names), *verdict, now);
        }
        assert!(refused.bisections.is_empty());
        refused
    }

    fn contains(refused: &RefusedNames, name: &str) -> bool {
        refused.contains(CallKind::CheckGate, &name.into())
    }

    #[test]
    fn name_refused_alone_beside_answered_ones_is_remembered() {
        let refused =
            after(&[(&["a", "b"], NameVerdict::Answered), (&["c"], NameVerdict::Refused)], start());

        assert!(contains(&refused, "c"));
        assert!(!contains(&refused, "a"));
        assert!(!refused.contains(CallKind::GetConfig, &"c".into()), "a config is not a gate");
    }

    #[test]
    fn no_name_is_remembered_if_all_were_refused() {
        for (verdict, other) in [
            (NameVerdict::Refused, NameVerdict::Refused),
            (NameVerdict::Refused, NameVerdict::Unknown),
        ] {
            let refused = after(&[(&["a"], verdict), (&["b"], other)], start());
            assert!(!contains(&refused, "a") && !contains(&refused, "b"));
        }
    }

    #[test]
    fn parts_of_parts_belong_to_the_same_call() {
        let mut refused = RefusedNames::default();
        let whole = Some(refused.split(None, 2));
        let half = Some(refused.split(whole, 2));
        refused.record(half, &call(&["a"]), NameVerdict::Refused, start());
        refused.record(half, &call(&["b"]), NameVerdict::Refused, start());
        assert!(!contains(&refused, "a"), "not yet");

        refused.record(whole, &call(&["c", "d"]), NameVerdict::Answered, start());

        assert!(contains(&refused, "a") && contains(&refused, "b"));
    }

    #[test]
    fn refused_name_is_forgotten_when_answered_or_after_a_while() {
        let now = start();
        let parts: &[(&[&str], NameVerdict)] = &[
            (&["a"], NameVerdict::Answered),
            (&["b"], NameVerdict::Refused),
            (&["c"], NameVerdict::Refused),
        ];
        let mut refused = after(parts, now);
        let later = now + MAX_AGE - EVICTION_INTERVAL;
        refused.record(None, &call(&["b"]), NameVerdict::Refused, later);
        refused.record(None, &call(&["c"]), NameVerdict::Unknown, later);
        assert!(contains(&refused, "b") && contains(&refused, "c"));

        refused.record(None, &call(&["x"]), NameVerdict::Answered, now + MAX_AGE);
        assert!(contains(&refused, "b") && !contains(&refused, "c"));

        refused.record(None, &call(&["b"]), NameVerdict::Answered, now + MAX_AGE);
        assert!(!contains(&refused, "b"));
    }

    #[test]
    fn promise_4_refused_names_are_bounded_oldest_evicted_first() {
        let now = start();
        let names: Vec<_> = (0..MAX_NAMES + 10).map(|n| format!("name {n}")).collect();
        let mut refused = RefusedNames::default();
        for (name, n) in names.iter().zip(0..) {
            let bisection = Some(refused.split(None, 2));
            refused.record(bisection, &call(&["good"]), NameVerdict::Answered, now);
            refused.record(
                bisection,
                &call(&[name]),
                NameVerdict::Refused,
                now + Duration::from_millis(n),
            );
        }
        assert_eq!(refused.names.len(), MAX_NAMES);
        assert!(!contains(&refused, &names[9]) && contains(&refused, &names[10]));
    }
}

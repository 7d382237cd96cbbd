//! Names that the server refuses, remembered for a while so that each of them goes out alone. Pure.

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

/// What is known of refused names, and what is about to become known.
///
/// That a name was refused alone says little: it may be the user that is refused, or everything. Only
/// where other names of the same call were answered is it the name.
#[derive(Debug, Default)]
pub(in crate::batch) struct RefusedNames {
    names: HashMap<(CallKind, Arc<str>), Instant, RandomState>,
    bisections: SlotMap<BisectionId, Bisection>,
    /// When it was looked last for names to forget.
    looked: Option<Instant>,
}

/// A call that was refused as a whole and is asked again in parts.
#[derive(Debug)]
struct Bisection {
    /// Parts without an outcome yet.
    open: usize,
    has_answer: bool,
    refused: Vec<Arc<str>>,
}

/// What the outcome of a call says of its names.
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
            // Not 413, which is about the user where it comes for a single name.
            Err(Error::Refused { status: 400, .. }) => Self::Refused,
            Err(_) => Self::Unknown,
        }
    }
}

/// How many are remembered. A name has at most 100 characters.
const MOST: usize = 1_000;

/// How long a name is remembered after it was refused last, and how often that is looked at.
const LONGEST: Duration = Duration::from_secs(600);
const LOOKS: Duration = Duration::from_secs(60);

impl RefusedNames {
    pub(in crate::batch) fn contains(&self, kind: CallKind, name: &Arc<str>) -> bool {
        !self.names.is_empty() && self.names.contains_key(&(kind, Arc::clone(name)))
    }

    /// A call is asked again in so many parts.
    pub(in crate::batch) fn split(&mut self, of: Option<BisectionId>, parts: usize) -> BisectionId {
        if let Some((id, bisection)) = of.and_then(|id| Some((id, self.bisections.get_mut(id)?))) {
            bisection.open += parts.saturating_sub(1);
            return id;
        }
        let bisection = Bisection { open: parts, has_answer: false, refused: Vec::new() };
        self.bisections.insert(bisection)
    }

    /// A call has its outcome.
    pub(in crate::batch) fn record(
        &mut self,
        of: Option<BisectionId>,
        call: &CallRequest,
        said: NameVerdict,
        now: Instant,
    ) {
        let is_alone = call.names.len() == 1;
        if !self.names.is_empty() {
            self.forget_old(now);
            for name in call.names.iter().filter(|_| said != NameVerdict::Unknown) {
                let key = (call.kind, Arc::clone(name));
                if said == NameVerdict::Answered {
                    self.names.remove(&key);
                } else if let Some(at) = self.names.get_mut(&key).filter(|_| is_alone) {
                    *at = now;
                }
            }
        }
        let Some(id) = of else { return };
        let Some(bisection) = self.bisections.get_mut(id) else { return };
        bisection.open = bisection.open.saturating_sub(1);
        bisection.has_answer |= said == NameVerdict::Answered;
        if said == NameVerdict::Refused && is_alone {
            bisection.refused.extend(call.names.iter().cloned());
        }
        if bisection.open == 0
            && let Some(bisection) = self.bisections.remove(id)
            && bisection.has_answer
        {
            for name in bisection.refused {
                self.remember(call.kind, name, now);
            }
        }
    }

    /// Nothing is being isolated.
    #[cfg(test)]
    pub(in crate::batch) fn has_no_bisections(&self) -> bool {
        self.bisections.is_empty()
    }

    fn forget_old(&mut self, now: Instant) {
        let age = |at: Instant| now.saturating_duration_since(at);
        if self.looked.is_none_or(|looked| age(looked) >= LOOKS) {
            self.looked = Some(now);
            self.names.retain(|_, at| age(*at) < LONGEST);
        }
    }

    fn remember(&mut self, kind: CallKind, name: Arc<str>, now: Instant) {
        if self.names.len() >= MOST
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

    /// What is known after a call was asked in these parts, each with what was said of it.
    fn after(parts: &[(&[&str], NameVerdict)], now: Instant) -> RefusedNames {
        let mut refused = RefusedNames::default();
        let bisection = Some(refused.split(None, parts.len()));
        for (names, said) in parts {
            refused.record(bisection, &call(names), *said, now);
        }
        assert!(refused.bisections.is_empty());
        refused
    }

    fn contains(refused: &RefusedNames, name: &str) -> bool {
        refused.contains(CallKind::CheckGate, &name.into())
    }

    #[test]
    fn a_name_is_remembered_that_was_refused_alone_while_others_of_its_call_were_answered() {
        let refused =
            after(&[(&["a", "b"], NameVerdict::Answered), (&["c"], NameVerdict::Refused)], start());

        assert!(contains(&refused, "c"));
        assert!(!contains(&refused, "a"));
        assert!(!refused.contains(CallKind::GetConfig, &"c".into()), "that is another name");
    }

    #[test]
    fn no_name_is_remembered_where_all_were_refused_for_it_may_be_the_user() {
        for (said, other) in [
            (NameVerdict::Refused, NameVerdict::Refused),
            (NameVerdict::Refused, NameVerdict::Unknown),
        ] {
            let refused = after(&[(&["a"], said), (&["b"], other)], start());
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
    fn it_is_forgotten_when_it_is_answered_or_was_not_refused_for_a_while() {
        let now = start();
        let parts: &[(&[&str], NameVerdict)] = &[
            (&["a"], NameVerdict::Answered),
            (&["b"], NameVerdict::Refused),
            (&["c"], NameVerdict::Refused),
        ];
        let mut refused = after(parts, now);
        let later = now + LONGEST - LOOKS;
        refused.record(None, &call(&["b"]), NameVerdict::Refused, later);
        refused.record(None, &call(&["c"]), NameVerdict::Unknown, later);
        assert!(contains(&refused, "b") && contains(&refused, "c"));

        refused.record(None, &call(&["x"]), NameVerdict::Answered, now + LONGEST);
        assert!(contains(&refused, "b") && !contains(&refused, "c"));

        refused.record(None, &call(&["b"]), NameVerdict::Answered, now + LONGEST);
        assert!(!contains(&refused, "b"));
    }

    #[test]
    fn promise_4_no_more_names_are_remembered_than_allowed_and_the_oldest_goes_first() {
        let now = start();
        let names: Vec<_> = (0..MOST + 10).map(|n| format!("name {n}")).collect();
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
        assert_eq!(refused.names.len(), MOST);
        assert!(!contains(&refused, &names[9]) && contains(&refused, &names[10]));
    }
}

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
    pub(in crate::batch) struct IsolationId;
}

/// What is known of refused names, and what is about to become known.
///
/// That a name was refused alone says little: it may be the user that is refused, or everything. Only
/// where other names of the same call were answered is it the name.
#[derive(Debug, Default)]
pub(in crate::batch) struct Refused {
    names: HashMap<(CallKind, Arc<str>), Instant, RandomState>,
    isolations: SlotMap<IsolationId, Isolation>,
    /// When it was looked last for names to forget.
    looked: Option<Instant>,
}

/// A call that was refused as a whole and is asked again in parts.
#[derive(Debug)]
struct Isolation {
    /// Parts without an outcome yet.
    open: usize,
    has_answer: bool,
    refused: Vec<Arc<str>>,
}

/// What the outcome of a call says of its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::batch) enum Said {
    Answered,
    Refused,
    Nothing,
}

impl Said {
    pub(in crate::batch) fn of(outcome: &Outcome) -> Self {
        match outcome {
            Ok(_) => Self::Answered,
            // Not 413, which is about the user where it comes for a single name.
            Err(Error::Refused { status: 400, .. }) => Self::Refused,
            Err(_) => Self::Nothing,
        }
    }
}

/// How many are remembered. A name has at most 100 characters.
const MOST: usize = 1_000;

/// How long a name is remembered after it was refused last, and how often that is looked at.
const LONGEST: Duration = Duration::from_secs(600);
const LOOKS: Duration = Duration::from_secs(60);

impl Refused {
    pub(in crate::batch) fn contains(&self, kind: CallKind, name: &Arc<str>) -> bool {
        !self.names.is_empty() && self.names.contains_key(&(kind, Arc::clone(name)))
    }

    /// A call is asked again in so many parts.
    pub(in crate::batch) fn split(&mut self, of: Option<IsolationId>, parts: usize) -> IsolationId {
        if let Some((id, isolation)) = of.and_then(|id| Some((id, self.isolations.get_mut(id)?))) {
            isolation.open += parts.saturating_sub(1);
            return id;
        }
        let isolation = Isolation { open: parts, has_answer: false, refused: Vec::new() };
        self.isolations.insert(isolation)
    }

    /// A call has its outcome.
    pub(in crate::batch) fn note(
        &mut self,
        of: Option<IsolationId>,
        call: &CallRequest,
        said: Said,
        now: Instant,
    ) {
        let is_alone = call.names.len() == 1;
        if !self.names.is_empty() {
            self.forget_old(now);
            for name in call.names.iter().filter(|_| said != Said::Nothing) {
                let key = (call.kind, Arc::clone(name));
                if said == Said::Answered {
                    self.names.remove(&key);
                } else if let Some(at) = self.names.get_mut(&key).filter(|_| is_alone) {
                    *at = now;
                }
            }
        }
        let Some(id) = of else { return };
        let Some(isolation) = self.isolations.get_mut(id) else { return };
        isolation.open = isolation.open.saturating_sub(1);
        isolation.has_answer |= said == Said::Answered;
        if said == Said::Refused && is_alone {
            isolation.refused.extend(call.names.iter().cloned());
        }
        if isolation.open == 0
            && let Some(isolation) = self.isolations.remove(id)
            && isolation.has_answer
        {
            for name in isolation.refused {
                self.remember(call.kind, name, now);
            }
        }
    }

    /// Nothing is being isolated.
    #[cfg(test)]
    pub(in crate::batch) fn is_settled(&self) -> bool {
        self.isolations.is_empty()
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
    fn after(parts: &[(&[&str], Said)], now: Instant) -> Refused {
        let mut refused = Refused::default();
        let isolation = Some(refused.split(None, parts.len()));
        for (names, said) in parts {
            refused.note(isolation, &call(names), *said, now);
        }
        assert!(refused.isolations.is_empty());
        refused
    }

    fn contains(refused: &Refused, name: &str) -> bool {
        refused.contains(CallKind::CheckGate, &name.into())
    }

    #[test]
    fn a_name_is_remembered_that_was_refused_alone_while_others_of_its_call_were_answered() {
        let refused = after(&[(&["a", "b"], Said::Answered), (&["c"], Said::Refused)], start());

        assert!(contains(&refused, "c"));
        assert!(!contains(&refused, "a"));
        assert!(!refused.contains(CallKind::GetConfig, &"c".into()), "that is another name");
    }

    #[test]
    fn no_name_is_remembered_where_all_were_refused_for_it_may_be_the_user() {
        for (said, other) in [(Said::Refused, Said::Refused), (Said::Refused, Said::Nothing)] {
            let refused = after(&[(&["a"], said), (&["b"], other)], start());
            assert!(!contains(&refused, "a") && !contains(&refused, "b"));
        }
    }

    #[test]
    fn parts_of_parts_belong_to_the_same_call() {
        let mut refused = Refused::default();
        let whole = Some(refused.split(None, 2));
        let half = Some(refused.split(whole, 2));
        refused.note(half, &call(&["a"]), Said::Refused, start());
        refused.note(half, &call(&["b"]), Said::Refused, start());
        assert!(!contains(&refused, "a"), "not yet");

        refused.note(whole, &call(&["c", "d"]), Said::Answered, start());

        assert!(contains(&refused, "a") && contains(&refused, "b"));
    }

    #[test]
    fn it_is_forgotten_when_it_is_answered_or_was_not_refused_for_a_while() {
        let now = start();
        let parts: &[(&[&str], Said)] =
            &[(&["a"], Said::Answered), (&["b"], Said::Refused), (&["c"], Said::Refused)];
        let mut refused = after(parts, now);
        let later = now + LONGEST - LOOKS;
        refused.note(None, &call(&["b"]), Said::Refused, later);
        refused.note(None, &call(&["c"]), Said::Nothing, later);
        assert!(contains(&refused, "b") && contains(&refused, "c"));

        refused.note(None, &call(&["x"]), Said::Answered, now + LONGEST);
        assert!(contains(&refused, "b") && !contains(&refused, "c"));

        refused.note(None, &call(&["b"]), Said::Answered, now + LONGEST);
        assert!(!contains(&refused, "b"));
    }

    #[test]
    fn promise_4_no_more_names_are_remembered_than_allowed_and_the_oldest_goes_first() {
        let now = start();
        let names: Vec<_> = (0..MOST + 10).map(|n| format!("name {n}")).collect();
        let mut refused = Refused::default();
        for (name, n) in names.iter().zip(0..) {
            let isolation = Some(refused.split(None, 2));
            refused.note(isolation, &call(&["good"]), Said::Answered, now);
            refused.note(isolation, &call(&[name]), Said::Refused, now + Duration::from_millis(n));
        }
        assert_eq!(refused.names.len(), MOST);
        assert!(!contains(&refused, &names[9]) && contains(&refused, &names[10]));
    }
}

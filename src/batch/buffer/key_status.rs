//! Whether the API key is refused for good. Pure: `now` is passed in.

use std::time::{Duration, Instant};

use super::CallId;

/// What the outcomes of calls have said of the key.
///
/// One refusal may be a mistake: of a deployment at Statsig, or of something in between that speaks
/// JSON as well. What is kept cannot be had again until it is over, so it is not thrown away for one
/// answer. A key that was revoked is refused again, and what was answered to it is then not given out
/// any more.
#[derive(Debug, Default)]
pub(in crate::batch) struct KeyStatus {
    state: State,
    /// What calls up to this one say is not kept: they were made before the key was refused.
    distrusted_up_to: CallId,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Accepted,
    /// Refused once: at this time, when this was the last call that had been made.
    Doubted {
        since: Instant,
        last_call: CallId,
    },
    Refused,
}

/// What follows from a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::batch) enum Verdict {
    /// Go on as before.
    Doubt,
    /// Forget what is kept; `is_new` if this is the first time that it is said.
    Refused { is_new: bool },
}

/// A refusal counts if one came so long before it, and no answer since.
pub(in crate::batch) const PAUSE: Duration = Duration::from_secs(10);

impl KeyStatus {
    /// A call was answered. Whether what it says may be kept.
    pub(in crate::batch) fn record_answer(&mut self, call: CallId) -> bool {
        if call <= self.distrusted_up_to {
            return false;
        }
        if !matches!(self.state, State::Doubted { last_call, .. } if call <= last_call) {
            self.state = State::Accepted;
        }
        true
    }

    /// Nothing of what calls up to this one say is kept: it is in doubt, or for another key.
    pub(in crate::batch) fn distrust_up_to(&mut self, last_call: CallId) {
        *self = Self { state: State::Accepted, distrusted_up_to: last_call };
    }

    /// A call was refused for its key. `last_call` is the last one that has been made.
    pub(in crate::batch) fn record_refusal(
        &mut self,
        call: CallId,
        last_call: CallId,
        now: Instant,
    ) -> Verdict {
        let is_new = match self.state {
            State::Accepted => {
                self.state = State::Doubted { since: now, last_call };
                return Verdict::Doubt;
            }
            // Of the calls that were made before the first one came back, all say the same.
            State::Doubted { since, last_call } if call <= last_call || now < since + PAUSE => {
                return Verdict::Doubt;
            }
            State::Doubted { .. } => true,
            State::Refused => false,
        };
        self.state = State::Refused;
        self.distrusted_up_to = last_call;
        Verdict::Refused { is_new }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[allow(clippy::disallowed_methods)]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn a_key_is_refused_when_that_is_said_again_after_a_pause() {
        let (mut key, now) = (KeyStatus::default(), start());
        assert_eq!(key.record_refusal(1, 3, now), Verdict::Doubt);
        assert!(key.record_answer(2), "it was asked before, and is kept");
        assert_eq!(key.record_refusal(4, 4, now + PAUSE / 2), Verdict::Doubt);
        assert_eq!(
            key.record_refusal(3, 5, now + PAUSE),
            Verdict::Doubt,
            "it was asked before as well"
        );

        assert_eq!(key.record_refusal(5, 6, now + PAUSE), Verdict::Refused { is_new: true });
        assert!(!key.record_answer(6), "it was made before the key was refused");
        assert_eq!(key.record_refusal(7, 8, now + PAUSE), Verdict::Refused { is_new: false });
        assert!(!key.record_answer(8));
        assert!(key.record_answer(9), "accepted again");
        assert_eq!(key.record_refusal(10, 10, now + 9 * PAUSE), Verdict::Doubt);
    }

    #[test]
    fn an_answer_between_two_refusals_makes_the_second_the_first() {
        let (mut key, now) = (KeyStatus::default(), start());
        assert_eq!(key.record_refusal(1, 1, now), Verdict::Doubt);
        assert!(key.record_answer(2));
        assert_eq!(key.record_refusal(3, 3, now + PAUSE), Verdict::Doubt);
        assert_eq!(key.record_refusal(4, 4, now + 2 * PAUSE), Verdict::Refused { is_new: true });
    }

    proptest! {
        #[test]
        fn nothing_is_forgotten_for_refusals_within_one_pause(
            key_status in proptest::collection::vec(0..10_000u64, 1..50),
        ) {
            let (mut key, now) = (KeyStatus::default(), start());
            for (call, ms) in (1..).zip(key_status) {
                let at = now + Duration::from_millis(ms).min(PAUSE - Duration::from_millis(1));
                prop_assert_eq!(key.record_refusal(call, call, at), Verdict::Doubt);
                prop_assert!(key.distrusted_up_to == 0);
            }
        }
    }
}

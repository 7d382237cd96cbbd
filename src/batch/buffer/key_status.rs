//! Whether Statsig refuses the API key for good. Pure: `now` is passed in.

use std::time::{Duration, Instant};

use super::CallId;

/// What the outcomes of calls say about the API key.
///
/// A single refusal may be a mistake: of a deployment at Statsig, or of an intermediary that
/// answers in JSON. It does not clear the cache, which could not be refilled until the mistake is
/// fixed. A revoked key is refused again after a pause, and its cached answers are dropped then.
#[derive(Debug, Default)]
pub(in crate::batch) struct KeyStatus {
    state: State,
    /// Answers of calls up to this one are not cached.
    distrusted_up_to: CallId,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Accepted,
    /// Refused once, at `since`, when `last_call` was the newest call.
    Doubted {
        since: Instant,
        last_call: CallId,
    },
    Refused,
}

/// The consequence of a refusal of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::batch) enum KeyVerdict {
    /// Nothing yet.
    Doubt,
    /// Clear the cache. `is_new` is false for refusals after the first verdict.
    Refused { is_new: bool },
}

/// A repeated refusal is final if it comes at least this long after the first, with no answer
/// between them.
pub(in crate::batch) const PAUSE: Duration = Duration::from_secs(10);

impl KeyStatus {
    /// Records that a call was answered. Returns whether its evaluations may be cached.
    pub(in crate::batch) fn record_answer(&mut self, call: CallId) -> bool {
        if call <= self.distrusted_up_to {
            return false;
        }
        if !matches!(self.state, State::Doubted { last_call, .. } if call <= last_call) {
            self.state = State::Accepted;
        }
        true
    }

    /// Keeps the answers of calls up to this one out of the cache: they are in doubt, or were given
    /// to an earlier key.
    pub(in crate::batch) fn distrust_up_to(&mut self, last_call: CallId) {
        *self = Self { state: State::Accepted, distrusted_up_to: last_call };
    }

    /// Records that a call was refused because of its key. `last_call` is the newest call by then.
    pub(in crate::batch) fn record_refusal(
        &mut self,
        call: CallId,
        last_call: CallId,
        now: Instant,
    ) -> KeyVerdict {
        let is_new = match self.state {
            State::Accepted => {
                self.state = State::Doubted { since: now, last_call };
                return KeyVerdict::Doubt;
            }
            // Calls made before the first refusal arrived share its cause.
            State::Doubted { since, last_call } if call <= last_call || now < since + PAUSE => {
                return KeyVerdict::Doubt;
            }
            State::Doubted { .. } => true,
            State::Refused => false,
        };
        self.state = State::Refused;
        self.distrusted_up_to = last_call;
        KeyVerdict::Refused { is_new }
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
    fn key_is_refused_when_the_refusal_repeats_after_a_pause() {
        let (mut key, now) = (KeyStatus::default(), start());
        assert_eq!(key.record_refusal(1, 3, now), KeyVerdict::Doubt);
        assert!(key.record_answer(2), "made before the refusal arrived, and cached");
        assert_eq!(key.record_refusal(4, 4, now + PAUSE / 2), KeyVerdict::Doubt);
        assert_eq!(
            key.record_refusal(3, 5, now + PAUSE),
            KeyVerdict::Doubt,
            "made before the refusal arrived"
        );

        assert_eq!(key.record_refusal(5, 6, now + PAUSE), KeyVerdict::Refused { is_new: true });
        assert!(!key.record_answer(6), "made before the key was refused");
        assert_eq!(key.record_refusal(7, 8, now + PAUSE), KeyVerdict::Refused { is_new: false });
        assert!(!key.record_answer(8));
        assert!(key.record_answer(9), "accepted again");
        assert_eq!(key.record_refusal(10, 10, now + 9 * PAUSE), KeyVerdict::Doubt);
    }

    #[test]
    fn answer_between_two_refusals_restarts_the_count() {
        let (mut key, now) = (KeyStatus::default(), start());
        assert_eq!(key.record_refusal(1, 1, now), KeyVerdict::Doubt);
        assert!(key.record_answer(2));
        assert_eq!(key.record_refusal(3, 3, now + PAUSE), KeyVerdict::Doubt);
        assert_eq!(key.record_refusal(4, 4, now + 2 * PAUSE), KeyVerdict::Refused { is_new: true });
    }

    proptest! {
        #[test]
        fn refusals_within_one_pause_empty_no_cache(
            key_status in proptest::collection::vec(0..10_000u64, 1..50),
        ) {
            let (mut key, now) = (KeyStatus::default(), start());
            for (call, ms) in (1..).zip(key_status) {
                let at = now + Duration::from_millis(ms).min(PAUSE - Duration::from_millis(1));
                prop_assert_eq!(key.record_refusal(call, call, at), KeyVerdict::Doubt);
                prop_assert!(key.distrusted_up_to == 0);
            }
        }
    }
}

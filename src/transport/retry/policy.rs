//! Whether and when a failed attempt is retried. Pure: the time left and the randomness are passed in.

use std::time::Duration;

use super::server_pause;
use crate::model::error::Error;

/// Exponential backoff with full jitter, within the limits of attempts and time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RetryPolicy {
    max_attempts: u32,
}

/// The attempts that a call has had so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AttemptHistory {
    /// Attempts that counted.
    pub(crate) attempts: u32,
    /// Whether the call has used its one uncounted retry on a fresh connection.
    pub(crate) reconnected: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RetryDecision {
    RetryAfter(Duration),
    /// The error is the call's outcome.
    GiveUp,
}

/// The upper bound of the first backoff. Each further bound is twice the one before.
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const MAX_BACKOFF: Duration = Duration::from_secs(2);

impl RetryPolicy {
    pub(crate) fn new(max_attempts: u32) -> Self {
        Self { max_attempts }
    }

    /// Decides after a failed attempt. `left` is the time until the call's deadline, and `random` is
    /// from 0 to 1.
    pub(crate) fn decide(
        &self,
        history: AttemptHistory,
        error: &Error,
        left: Duration,
        random: f64,
    ) -> RetryDecision {
        if !error.is_retryable() || history.attempts >= self.max_attempts {
            return RetryDecision::GiveUp;
        }
        let doubled = 2u32.saturating_pow(history.attempts.saturating_sub(1));
        let ceiling = FIRST_BACKOFF.saturating_mul(doubled).min(MAX_BACKOFF);
        let backoff = ceiling.mul_f64(random.clamp(0.0, 1.0));
        let delay = match error {
            Error::Unavailable { retry_after: Some(asked), .. } if !asked.is_zero() => {
                let pause = server_pause::capped(*asked);
                let spread = server_pause::spread(*asked).min(left.saturating_sub(pause) / 2);
                backoff.max(pause + spread.mul_f64(random.clamp(0.0, 1.0)))
            }
            _ => backoff,
        };
        if delay < left { RetryDecision::RetryAfter(delay) } else { RetryDecision::GiveUp }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{server_pause::capped, *};

    const LONG: Duration = Duration::from_secs(3600);

    fn unavailable(retry_after: Option<u64>) -> Error {
        let retry_after = retry_after.map(Duration::from_secs);
        Error::Unavailable { path: "/v1/check_gate", status: 503, retry_after }
    }

    fn after(attempts: u32) -> AttemptHistory {
        AttemptHistory { attempts, reconnected: false }
    }

    fn decide(history: AttemptHistory, error: &Error, left: Duration) -> RetryDecision {
        RetryPolicy::new(3).decide(history, error, left, 1.0)
    }

    #[test]
    fn backoff_doubles_and_the_last_attempt_is_the_last() {
        let milliseconds = |ms| RetryDecision::RetryAfter(Duration::from_millis(ms));
        assert_eq!(decide(after(1), &unavailable(None), LONG), milliseconds(50));
        assert_eq!(decide(after(2), &unavailable(None), LONG), milliseconds(100));
        assert_eq!(decide(after(3), &unavailable(None), LONG), RetryDecision::GiveUp);
    }

    #[test]
    fn permanent_error_is_given_up_at_once() {
        let refused = Error::Unauthorized { path: "/v1/check_gate", status: 401 };
        assert_eq!(decide(after(1), &refused, LONG), RetryDecision::GiveUp);
    }

    #[test]
    fn retry_after_is_honoured_within_its_bound_and_deadline() {
        let milliseconds = |ms| RetryDecision::RetryAfter(Duration::from_millis(ms));
        let retry_after = |seconds, left| {
            decide(after(1), &unavailable(Some(seconds)), Duration::from_secs(left))
        };
        assert_eq!(retry_after(2, 3), milliseconds(2_200), "at most a tenth later");
        assert_eq!(retry_after(0, 3), milliseconds(50));
        assert_eq!(retry_after(3, 3), RetryDecision::GiveUp);
        assert_eq!(retry_after(u64::MAX, 60), RetryDecision::GiveUp);
        assert_eq!(retry_after(u64::MAX, 3_600), milliseconds(65_000), "a minute and its spread");
    }

    proptest! {
        #[test]
        fn retry_is_always_before_the_deadline_and_within_attempts(
            attempts in 1..20u32, allowed in 1..=10u32, left in 0..100_000u64,
            retry_after in proptest::option::of(any::<u64>()), random in any::<f64>(),
        ) {
            let left = Duration::from_millis(left);
            let policy = RetryPolicy::new(allowed);
            let random = if random.is_nan() { 0.5 } else { random };
            match policy.decide(after(attempts), &unavailable(retry_after), left, random) {
                RetryDecision::RetryAfter(delay) => {
                    prop_assert!(delay < left && attempts < allowed);
                    let pause = retry_after.map(|seconds| capped(Duration::from_secs(seconds)));
                    prop_assert!(pause.is_none_or(|pause| delay >= pause));
                }
                decision => prop_assert_eq!(decision, RetryDecision::GiveUp),
            }
        }
    }
}

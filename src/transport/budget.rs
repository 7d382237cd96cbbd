//! How many retries there may be in all, so that an outage is not multiplied. Pure.
//!
//! A token bucket, as in gRPC's retry throttling (A6) and Finagle's retry budget: every call puts a
//! part of a token in, every retry takes a whole one out. What does not depend on the clock cannot
//! be refilled by an outage that lasts.

/// The tokens, in fifths, so that a call is worth a retry for every five.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RetryBudget {
    fifths: u32,
}

const RETRY: u32 = 5;

/// Twenty retries before the first call has paid for one: enough to find one refused name among a
/// hundred by halving, which takes fourteen.
const FLOOR: u32 = 20 * RETRY;

/// Fifty: a long time without failures does not pay for a storm of retries.
const MOST: u32 = 50 * RETRY;

impl Default for RetryBudget {
    fn default() -> Self {
        Self { fifths: FLOOR }
    }
}

impl RetryBudget {
    /// A call has come.
    pub(super) fn deposit(&mut self) {
        self.fifths = (self.fifths + 1).min(MOST);
    }

    /// Whether there may be a retry; if so, it is paid for.
    pub(super) fn withdraw(&mut self) -> bool {
        let left = self.fifths.checked_sub(RETRY);
        self.fifths = left.unwrap_or(self.fifths);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn when_everything_fails_a_fifth_of_the_calls_is_retried() {
        let mut budget = RetryBudget::default();
        let calls = (0..1_000).filter(|_| {
            budget.deposit();
            budget.withdraw()
        });
        assert_eq!(calls.count(), 20 + 200);
    }

    #[test]
    fn a_long_time_without_failures_saves_no_more_than_fifty_retries() {
        let mut budget = RetryBudget::default();
        (0..1_000_000).for_each(|_| budget.deposit());
        assert_eq!(std::iter::from_fn(|| budget.withdraw().then_some(())).count(), 50);
    }

    proptest! {
        #[test]
        fn retries_never_exceed_a_fifth_of_the_calls_and_the_floor(
            steps in proptest::collection::vec(any::<bool>(), 0..500),
        ) {
            let mut budget = RetryBudget::default();
            let (mut calls, mut retries) = (0u32, 0u32);
            for is_call in steps {
                if is_call {
                    budget.deposit();
                    calls += 1;
                } else {
                    retries += u32::from(budget.withdraw());
                }
                prop_assert!(retries * 5 <= calls + 100);
            }
        }
    }
}

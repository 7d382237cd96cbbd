//! Limits the retries of all calls together, so that retries do not amplify an outage. Pure.
//!
//! A token bucket, as in gRPC's retry throttling (A6) and Finagle's retry budget: every call
//! deposits a part of a token, and every retry withdraws a whole one. The bucket does not depend on
//! the clock, so a long outage cannot refill it. A user that withdraws many tokens leaves a reserve
//! for the others.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use smallvec::SmallVec;

use crate::model::user::User;

/// The tokens, in fifths: five calls pay for one retry.
#[derive(Debug)]
pub(crate) struct RetryBudget {
    fifths: u32,
    /// Fifths deposited since the spenders were last credited.
    deposited: u32,
    spenders: SmallVec<[Spender; MAX_SPENDERS]>,
    hasher: RandomState,
}

#[derive(Debug)]
struct Spender {
    /// The user's hash.
    user: u64,
    /// The tokens that the user has withdrawn and no later calls have paid for.
    spent: u32,
    /// The user has spent its share. It may not use the reserve until all its tokens are paid for.
    is_over: bool,
}

const RETRY_COST: u32 = 5;

/// Allows thirty retries before any call has paid for one.
const INITIAL: u32 = 30 * RETRY_COST;

/// Allows fifty retries at most: a long time without failures must not pay for a retry storm.
const MAX_TOKENS: u32 = 50 * RETRY_COST;

/// One user's share. It is enough to find one refused name among a hundred by bisection, which
/// takes fourteen retries.
const MAX_PER_USER: u32 = 15;

/// The tokens that a user beyond its share leaves to others.
const RESERVE: u32 = MAX_PER_USER * RETRY_COST;

/// The most users to watch. A full budget has room for three users that spend too much.
const MAX_SPENDERS: usize = 16;

impl Default for RetryBudget {
    fn default() -> Self {
        let (spenders, hasher) = (SmallVec::new(), RandomState::default());
        Self { fifths: INITIAL, deposited: 0, spenders, hasher }
    }
}

impl RetryBudget {
    /// Counts a call.
    pub(crate) fn deposit(&mut self) {
        self.fifths = (self.fifths + 1).min(MAX_TOKENS);
        self.deposited += 1;
        if self.deposited == RETRY_COST {
            self.deposited = 0;
            self.spenders.iter_mut().for_each(|spender| spender.spent -= 1);
            self.spenders.retain(|spender| spender.spent > 0);
        }
    }

    /// Returns whether this user may have a retry. If so, the retry is paid for.
    pub(crate) fn withdraw(&mut self, user: &User) -> bool {
        let user = self.hasher.hash_one(user);
        let Some(left) = self.fifths.checked_sub(RETRY_COST) else { return false };
        if let Some(spender) = self.spenders.iter_mut().find(|spender| spender.user == user) {
            if spender.is_over && left < RESERVE {
                return false;
            }
            spender.spent += 1;
            spender.is_over |= spender.spent >= MAX_PER_USER;
        } else if self.spenders.len() < MAX_SPENDERS {
            // With more users than that, no single user is the cause.
            self.spenders.push(Spender { user, spent: 1, is_over: false });
        }
        self.fifths = left;
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn user(n: u32) -> User {
        User::new(format!("u-{n}")).unwrap()
    }

    #[test]
    fn when_everything_fails_a_fifth_of_the_calls_is_retried() {
        for (users, at_first) in [(1_000, 30), (1, 15)] {
            let mut budget = RetryBudget::default();
            let calls = (0..1_000).filter(|n| {
                budget.deposit();
                budget.withdraw(&user(n % users))
            });
            assert_eq!(calls.count(), at_first + 200);
        }
    }

    #[test]
    fn budget_saves_at_most_fifty_retries() {
        let mut budget = RetryBudget::default();
        (0..1_000_000).for_each(|_| budget.deposit());
        assert_eq!((0..1_000).filter(|n| budget.withdraw(&user(*n))).count(), 50);
    }

    #[test]
    fn promise_3_greedy_user_leaves_others_a_reserve_of_retries() {
        let mut budget = RetryBudget::default();
        for _ in 0..100 {
            budget.deposit();
            while budget.withdraw(&user(0)) {}
        }
        assert!(!budget.withdraw(&user(0)));
        assert_eq!((0..100).filter(|_| budget.withdraw(&user(1))).count(), 15);

        // Deposits serve other users first. The user gets retries again once its share is paid for.
        (0..RETRY_COST).for_each(|_| budget.deposit());
        assert!(!budget.withdraw(&user(0)) && budget.withdraw(&user(2)));
        (0..RETRY_COST * MAX_PER_USER).for_each(|_| budget.deposit());
        assert!(budget.withdraw(&user(0)));
    }

    proptest! {
        #[test]
        fn retries_never_exceed_a_fifth_of_the_calls_and_the_floor(
            steps in proptest::collection::vec((any::<bool>(), 0..40u32), 0..500),
        ) {
            let mut budget = RetryBudget::default();
            let (mut calls, mut retries) = (0u32, 0u32);
            for (is_call, of) in steps {
                if is_call {
                    budget.deposit();
                    calls += 1;
                } else {
                    retries += u32::from(budget.withdraw(&user(of)));
                }
                prop_assert!(retries * RETRY_COST <= calls + INITIAL);
                prop_assert!(budget.spenders.len() <= MAX_SPENDERS);
            }
        }
    }
}

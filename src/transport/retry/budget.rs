//! How many retries there may be in all, so that an outage is not multiplied. Pure.
//!
//! A token bucket, as in gRPC's retry throttling (A6) and Finagle's retry budget: every call puts a
//! part of a token in, every retry takes a whole one out. What does not depend on the clock cannot
//! be refilled by an outage that lasts. A user who takes many leaves a reserve to the others.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use smallvec::SmallVec;

use crate::model::user::User;

/// The tokens, in fifths, so that a call is worth a retry for every five.
#[derive(Debug)]
pub(in crate::transport) struct RetryBudget {
    fifths: u32,
    /// Fifths that were put in since the users below were looked at.
    put_in: u32,
    takers: SmallVec<[Taker; MOST_TAKERS]>,
    hasher: RandomState,
}

#[derive(Debug)]
struct Taker {
    /// The user's hash.
    user: u64,
    /// Tokens that no calls have paid for since.
    taken: u32,
    /// It has taken all it may, and all of it is to be paid for.
    is_over: bool,
}

const RETRY: u32 = 5;

/// Thirty retries before the first call has paid for one.
const FLOOR: u32 = 30 * RETRY;

/// Fifty: a long time without failures does not pay for a storm of retries.
const MOST: u32 = 50 * RETRY;

/// One user takes this many and then leaves as many to the others: enough to find one refused name
/// among a hundred by halving, which takes fourteen.
const OF_ONE_USER: u32 = 15;
const RESERVE: u32 = OF_ONE_USER * RETRY;

/// A budget of fifty has room for three who take too much.
const MOST_TAKERS: usize = 16;

impl Default for RetryBudget {
    fn default() -> Self {
        let (takers, hasher) = (SmallVec::new(), RandomState::default());
        Self { fifths: FLOOR, put_in: 0, takers, hasher }
    }
}

impl RetryBudget {
    /// A call has come.
    pub(in crate::transport) fn deposit(&mut self) {
        self.fifths = (self.fifths + 1).min(MOST);
        self.put_in += 1;
        if self.put_in == RETRY {
            self.put_in = 0;
            self.takers.iter_mut().for_each(|taker| taker.taken -= 1);
            self.takers.retain(|taker| taker.taken > 0);
        }
    }

    /// Whether there may be a retry for this user; if so, it is paid for.
    pub(in crate::transport) fn withdraw(&mut self, user: &User) -> bool {
        let user = self.hasher.hash_one(user);
        let Some(left) = self.fifths.checked_sub(RETRY) else { return false };
        if let Some(taker) = self.takers.iter_mut().find(|taker| taker.user == user) {
            if taker.is_over && left < RESERVE {
                return false;
            }
            taker.taken += 1;
            taker.is_over |= taker.taken >= OF_ONE_USER;
        } else if self.takers.len() < MOST_TAKERS {
            // So many users in trouble are no single user's.
            self.takers.push(Taker { user, taken: 1, is_over: false });
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
    fn a_long_time_without_failures_saves_no_more_than_fifty_retries() {
        let mut budget = RetryBudget::default();
        (0..1_000_000).for_each(|_| budget.deposit());
        assert_eq!((0..1_000).filter(|n| budget.withdraw(&user(*n))).count(), 50);
    }

    #[test]
    fn promise_3_a_user_who_takes_all_it_may_leaves_a_reserve_to_the_others() {
        let mut budget = RetryBudget::default();
        for _ in 0..100 {
            budget.deposit();
            while budget.withdraw(&user(0)) {}
        }
        assert!(!budget.withdraw(&user(0)));
        assert_eq!((0..100).filter(|_| budget.withdraw(&user(1))).count(), 15);

        // What is put in goes to others first, and to the user when it has been paid for.
        (0..RETRY).for_each(|_| budget.deposit());
        assert!(!budget.withdraw(&user(0)) && budget.withdraw(&user(2)));
        (0..RETRY * OF_ONE_USER).for_each(|_| budget.deposit());
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
                prop_assert!(retries * RETRY <= calls + FLOOR);
                prop_assert!(budget.takers.len() <= MOST_TAKERS);
            }
        }
    }
}

//! Limits pending requests, in names and in bytes, for all users and for each user. A mailbox does
//! not bound `Addr::send`. So the handle admits a request before it sends the message, and the
//! actor admits messages that are sent directly to its address.

use std::{
    hash::BuildHasher,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use foldhash::fast::RandomState;

use super::share::fair_share;
use crate::model::{error::Error, user::User};

/// Counts the names that are buffered, queued and in flight, and the bytes of their requests.
#[derive(Clone, Debug)]
pub(crate) struct Admission(Arc<Quotas>);

#[derive(Debug)]
struct Quotas {
    names: Quota,
    bytes: Quota,
    hasher: RandomState,
}

/// One limit, and how much of it is in use. The counts guard no other memory, so relaxed ordering is
/// enough.
#[derive(Debug)]
struct Quota {
    setting: &'static str,
    unit: &'static str,
    limit: usize,
    /// The amount that one user may always use while there is room.
    always: usize,
    full: fn(usize) -> Error,
    used: AtomicUsize,
    /// Each user's usage, as a count-min sketch. The smaller of a user's two counts is never below
    /// the user's usage, and is nearly always exact: it is too high only if both buckets are
    /// shared.
    used_by_user: [Box<[AtomicUsize; BUCKETS]>; 2],
}

const BUCKETS: usize = 2048;

/// The positions of a user in the two rows of the sketch.
type Buckets = [usize; 2];

/// One request's part of the limits, which is released on drop.
#[derive(Debug)]
pub(crate) struct Permit {
    quotas: Arc<Quotas>,
    buckets: Buckets,
    names: usize,
    bytes: usize,
}

/// The names of one full call.
const NAMES_ALWAYS: usize = 100;

/// Room for the largest user with that many names.
const BYTES_ALWAYS: usize = 128 * 1024;

/// The memory of a request in addition to its user and the text of its names: its message and its
/// caller's reply, and for each name its entries in the buffer and in a call.
const BYTES_A_REQUEST: usize = 512;
const BYTES_A_NAME: usize = 256;

impl Admission {
    pub(crate) fn new(names: usize, bytes: usize) -> Self {
        Self(Arc::new(Quotas {
            names: Quota::new(["max_pending", "names"], names, NAMES_ALWAYS, |limit| {
                Error::Overloaded { limit }
            }),
            bytes: Quota::new(["max_pending_bytes", "bytes"], bytes, BYTES_ALWAYS, |limit| {
                Error::OverloadedBytes { limit }
            }),
            hasher: RandomState::default(),
        }))
    }

    pub(crate) fn admit(&self, user: &User, names: &[Arc<str>]) -> Result<Permit, Error> {
        let quotas = &*self.0;
        let buckets = buckets(quotas.hasher.hash_one(user));
        let bytes = weight(user, names);
        let names = names.len();
        quotas.names.acquire(names, buckets)?;
        if let Err(error) = quotas.bytes.acquire(bytes, buckets) {
            quotas.names.release(names, buckets);
            return Err(error);
        }
        Ok(Permit { quotas: Arc::clone(&self.0), buckets, names, bytes })
    }
}

/// Returns the approximate memory of a request until it is answered. Its user counts in full: requests
/// that come over a network each have their own copy.
fn weight(user: &User, names: &[Arc<str>]) -> usize {
    let names = names.iter().map(|name| name.len() + BYTES_A_NAME);
    BYTES_A_REQUEST + user.json().len() + names.sum::<usize>()
}

fn buckets(hash: u64) -> Buckets {
    let bucket = |bits: u64| bits as usize % BUCKETS;
    [bucket(hash), bucket(hash >> 32)]
}

impl Quota {
    fn new(
        [setting, unit]: [&'static str; 2],
        limit: usize,
        always: usize,
        full: fn(usize) -> Error,
    ) -> Self {
        let row = || Box::new([const { AtomicUsize::new(0) }; BUCKETS]);
        let (used, used_by_user) = (AtomicUsize::new(0), [row(), row()]);
        Self { setting, unit, limit, always, full, used, used_by_user }
    }

    /// Acquires an amount, unless the user or all users together would exceed their limit. Threads
    /// that acquire for one user at the same moment may exceed the user's share by one request
    /// each.
    fn acquire(&self, amount: usize, buckets: Buckets) -> Result<(), Error> {
        let used = self.used.load(Relaxed);
        let counts = self.counts(buckets).map(|count| count.load(Relaxed));
        let used_by_user = counts.min().unwrap_or_default();
        let limit = fair_share(self.limit, used.saturating_sub(used_by_user), self.always);
        let has_room = self.limit.saturating_sub(used) >= amount;
        if has_room && used_by_user.saturating_add(amount) > limit {
            let Self { unit, setting, .. } = *self;
            return Err(Error::OverloadedUser { limit, unit, setting });
        }
        let add = |used: usize| used.checked_add(amount).filter(|used| *used <= self.limit);
        let added = self.used.fetch_update(Relaxed, Relaxed, add);
        added.map_err(|_| (self.full)(self.limit))?;
        for count in self.counts(buckets) {
            count.fetch_add(amount, Relaxed);
        }
        Ok(())
    }

    fn release(&self, amount: usize, buckets: Buckets) {
        self.used.fetch_sub(amount, Relaxed);
        for count in self.counts(buckets) {
            count.fetch_sub(amount, Relaxed);
        }
    }

    /// Returns the user's two counts.
    fn counts(&self, buckets: Buckets) -> impl Iterator<Item = &AtomicUsize> {
        self.used_by_user.iter().zip(buckets).map(|(row, bucket)| &row[bucket])
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Self { quotas, buckets, names, bytes } = self;
        quotas.names.release(*names, *buckets);
        quotas.bytes.release(*bytes, *buckets);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BYTES: usize = 64 << 20;

    fn user(n: usize) -> User {
        User::new(format!("u-{n}")).unwrap()
    }

    fn names(count: usize) -> Vec<Arc<str>> {
        vec!["gate".into(); count]
    }

    #[test]
    fn permits_are_limited_and_returned_on_drop() {
        let admission = Admission::new(10, BYTES);
        let first = admission.admit(&user(0), &names(7)).unwrap();
        let refused = admission.admit(&user(0), &names(4));
        assert!(matches!(refused, Err(Error::Overloaded { limit: 10 })), "{refused:?}");
        let _second = admission.admit(&user(1), &names(3)).unwrap();
        assert!(admission.admit(&user(2), &names(1)).is_err());

        drop(first);

        assert!(admission.admit(&user(0), &names(8)).is_err());
        assert!(admission.admit(&user(0), &names(7)).is_ok());
    }

    #[test]
    fn promise_3_greedy_user_leaves_a_quarter_for_others() {
        let admission = Admission::new(10_000, BYTES);
        let permits: Vec<_> =
            (0..10_500).filter_map(|_| admission.admit(&user(0), &names(1)).ok()).collect();
        assert_eq!(permits.len(), 7_500);
        let refused = admission.admit(&user(0), &names(1)).unwrap_err().to_string();
        let expected = "overloaded: more than 7500 names of this user would be pending; \
                        the rest of `max_pending` is for other users";
        assert_eq!(refused, expected);

        let others = (1..=2_500).map(|n| admission.admit(&user(n), &names(1)));
        let others: Vec<_> = others.collect::<Result<_, _>>().unwrap();

        assert!(matches!(
            admission.admit(&user(1), &names(1)),
            Err(Error::Overloaded { limit: 10_000 })
        ));
        drop((permits, others));
        assert!(admission.admit(&user(0), &names(7_500)).is_ok(), "everything is released");
    }

    #[test]
    fn promise_4_pending_requests_are_bounded_in_bytes_too() {
        let large = |n: usize| {
            User::builder()
                .user_id(n.to_string())
                .custom("bio", "x".repeat(60_000))
                .build()
                .unwrap()
        };
        let admission = Admission::new(10_000, 1 << 20);
        let permits: Vec<_> =
            (0..10_000).map_while(|n| admission.admit(&large(n), &names(1)).ok()).collect();
        assert_eq!(permits.len(), 17);

        let refused = admission.admit(&large(0), &names(1)).unwrap_err().to_string();
        let expected = "overloaded: more than 1048576 bytes of requests would be pending (`max_pending_bytes`)";
        assert_eq!(refused, expected);
        assert!(admission.admit(&user(0), &names(1)).is_ok(), "there is room for a small one");
        drop(permits);

        let permits: Vec<_> =
            (0..10_000).map_while(|_| admission.admit(&large(0), &names(1)).ok()).collect();
        assert_eq!(permits.len(), 12, "three quarters");
        assert!(admission.admit(&large(1), &names(1)).is_ok());
    }

    #[test]
    fn refusal_for_bytes_takes_no_names() {
        let admission = Admission::new(200, 1_000);
        let refused = admission.admit(&user(0), &names(100));
        assert!(matches!(refused, Err(Error::OverloadedBytes { limit: 1_000 })), "{refused:?}");
        assert_eq!(admission.0.names.used.load(Relaxed), 0);
    }

    #[test]
    fn promise_4_threads_together_take_no_more_than_there_is() {
        let admission = Admission::new(1_000, BYTES);
        let names = names(7);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (admission, names) = (&admission, &names);
                scope.spawn(move || {
                    let mut permits = Vec::new();
                    for n in 0..5_000 {
                        match admission.admit(&user((thread + n) % 5), names) {
                            Ok(permit) => permits.push(permit),
                            Err(_) => permits.truncate(permits.len() / 2),
                        }
                        assert!(admission.0.names.used.load(Relaxed) <= 1_000);
                    }
                });
            }
        });
        assert_eq!(admission.0.names.used.load(Relaxed), 0);
        assert_eq!(admission.0.bytes.used.load(Relaxed), 0);
    }

    proptest! {
        /// The amount in use is the sum of the permits, for all users and for each, and never
        /// exceeds the limit. A user without a permit gets the names of one call while there is
        /// room.
        #[test]
        fn promise_4_admission_is_bounded_and_returns_everything(
            limit in 1usize..2_000,
            steps in prop::collection::vec((0usize..5, 0usize..400, any::<bool>()), 0..100),
        ) {
            let admission = Admission::new(limit, BYTES);
            let mut permits: Vec<(usize, Permit)> = Vec::new();
            for (who, count, is_taken) in steps {
                if !is_taken && !permits.is_empty() {
                    permits.swap_remove(count % permits.len());
                    continue;
                }
                let sum = |of: Option<usize>| -> usize {
                    let permits = permits.iter().filter(|(who, _)| of.is_none_or(|of| of == *who));
                    permits.map(|(_, permit)| permit.names).sum()
                };
                let (taken, own) = (sum(None), sum(Some(who)));
                let may = fair_share(limit, taken - own, NAMES_ALWAYS);
                let admitted = admission.admit(&user(who), &names(count));
                prop_assert_eq!(admitted.is_ok(), taken + count <= limit && own + count <= may);
                permits.extend(admitted.ok().map(|permit| (who, permit)));
            }
            permits.clear();
            for quota in [&admission.0.names, &admission.0.bytes] {
                prop_assert_eq!(quota.used.load(Relaxed), 0);
                let mut counts = quota.used_by_user.iter().flat_map(|row| row.iter());
                prop_assert!(counts.all(|count| count.load(Relaxed) == 0));
            }
        }
    }
}

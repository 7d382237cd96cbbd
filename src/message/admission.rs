//! How much may be pending at once, in names and in bytes, and how much of it one user's. A mailbox
//! does not bound `Addr::send`, so admission is counted here: by the handle before it sends, by the
//! actor for what comes straight to its address.

use std::{
    hash::BuildHasher,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use foldhash::fast::RandomState;

use super::share::share;
use crate::model::{error::Error, user::User};

/// Counts the names that are buffered, queued and in flight, and the bytes of their requests.
#[derive(Clone, Debug)]
pub(crate) struct Admission(Arc<Books>);

#[derive(Debug)]
struct Books {
    names: Account,
    bytes: Account,
    hasher: RandomState,
}

/// What is taken of one limit. Counts say nothing about anything else in memory: no order is needed.
#[derive(Debug)]
struct Account {
    setting: &'static str,
    unit: &'static str,
    limit: usize,
    /// So much one user may hold wherever there is room.
    always: usize,
    full: fn(usize) -> Error,
    taken: AtomicUsize,
    /// What users hold, twice by different parts of their hashes. The smaller count is at least what
    /// the user holds, and hardly ever more: only if one neighbour in each row shares its cell.
    held: [Box<[AtomicUsize; CELLS]>; 2],
}

const CELLS: usize = 2048;

type Cells = [usize; 2];

/// The places of one request; free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    books: Arc<Books>,
    cells: Cells,
    names: usize,
    bytes: usize,
}

/// The names of one full call.
const NAMES_ALWAYS: usize = 100;

/// The largest user with as many names.
const BYTES_ALWAYS: usize = 128 * 1024;

/// What a request takes besides its user and the text of its names: its message, its caller's reply,
/// and for each name its place in the buffer and in a call.
const BYTES_A_REQUEST: usize = 512;
const BYTES_A_NAME: usize = 256;

impl Admission {
    pub(crate) fn new(names: usize, bytes: usize) -> Self {
        Self(Arc::new(Books {
            names: Account::new(["max_pending", "names"], names, NAMES_ALWAYS, |limit| {
                Error::Overloaded { limit }
            }),
            bytes: Account::new(["max_pending_bytes", "bytes"], bytes, BYTES_ALWAYS, |limit| {
                Error::OverloadedBytes { limit }
            }),
            hasher: RandomState::default(),
        }))
    }

    pub(crate) fn admit(&self, user: &User, names: &[Arc<str>]) -> Result<Permit, Error> {
        let Books { names: of_names, bytes: of_bytes, hasher } = &*self.0;
        let cells = cells(hasher.hash_one(user));
        let bytes = weight(user, names);
        let names = names.len();
        of_names.take(names, cells)?;
        if let Err(error) = of_bytes.take(bytes, cells) {
            of_names.give_back(names, cells);
            return Err(error);
        }
        Ok(Permit { books: Arc::clone(&self.0), cells, names, bytes })
    }
}

/// About what a request takes in memory until it is answered. Its user counts in full, though
/// requests of the same user share one: what comes over a network is a user of its own each time.
fn weight(user: &User, names: &[Arc<str>]) -> usize {
    let names = names.iter().map(|name| name.len() + BYTES_A_NAME);
    BYTES_A_REQUEST + user.json().len() + names.sum::<usize>()
}

/// Where a user is counted in each row.
fn cells(hash: u64) -> Cells {
    let cell = |bits: u64| bits as usize % CELLS;
    [cell(hash), cell(hash >> 32)]
}

impl Account {
    fn new(
        [setting, unit]: [&'static str; 2],
        limit: usize,
        always: usize,
        full: fn(usize) -> Error,
    ) -> Self {
        let row = || Box::new([const { AtomicUsize::new(0) }; CELLS]);
        let (taken, held) = (AtomicUsize::new(0), [row(), row()]);
        Self { setting, unit, limit, always, full, taken, held }
    }

    /// Takes so much, never more than the limit in all. Threads that ask for one user at the same
    /// moment may take it past its share, by a request each.
    fn take(&self, amount: usize, cells: Cells) -> Result<(), Error> {
        let taken = self.taken.load(Relaxed);
        let held = self.held(cells).map(|held| held.load(Relaxed)).min().unwrap_or_default();
        let limit = share(self.limit, taken.saturating_sub(held), self.always);
        let has_room = self.limit.saturating_sub(taken) >= amount;
        if has_room && held.saturating_add(amount) > limit {
            let Self { unit, setting, .. } = *self;
            return Err(Error::OverloadedUser { limit, unit, setting });
        }
        let more = |taken: usize| taken.checked_add(amount).filter(|taken| *taken <= self.limit);
        let is_taken = self.taken.fetch_update(Relaxed, Relaxed, more);
        is_taken.map_err(|_| (self.full)(self.limit))?;
        for held in self.held(cells) {
            held.fetch_add(amount, Relaxed);
        }
        Ok(())
    }

    fn give_back(&self, amount: usize, cells: Cells) {
        self.taken.fetch_sub(amount, Relaxed);
        for held in self.held(cells) {
            held.fetch_sub(amount, Relaxed);
        }
    }

    fn held(&self, cells: Cells) -> impl Iterator<Item = &AtomicUsize> {
        self.held.iter().zip(cells).map(|(row, cell)| &row[cell])
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Self { books, cells, names, bytes } = self;
        books.names.give_back(*names, *cells);
        books.bytes.give_back(*bytes, *cells);
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
    fn places_are_taken_up_to_the_limit_and_free_when_a_permit_is_dropped() {
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
    fn promise_3_a_user_with_more_names_than_there_are_places_leaves_a_quarter_for_others() {
        let admission = Admission::new(10_000, BYTES);
        let held: Vec<_> =
            (0..10_500).filter_map(|_| admission.admit(&user(0), &names(1)).ok()).collect();
        assert_eq!(held.len(), 7_500);
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
        drop((held, others));
        assert!(admission.admit(&user(0), &names(7_500)).is_ok(), "nothing is left taken");
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
        let held: Vec<_> =
            (0..10_000).map_while(|n| admission.admit(&large(n), &names(1)).ok()).collect();
        assert_eq!(held.len(), 17);

        let refused = admission.admit(&large(0), &names(1)).unwrap_err().to_string();
        let expected = "overloaded: more than 1048576 bytes of requests would be pending (`max_pending_bytes`)";
        assert_eq!(refused, expected);
        assert!(admission.admit(&user(0), &names(1)).is_ok(), "there is room for a small one");
        drop(held);

        let held: Vec<_> =
            (0..10_000).map_while(|_| admission.admit(&large(0), &names(1)).ok()).collect();
        assert_eq!(held.len(), 12, "three quarters");
        assert!(admission.admit(&large(1), &names(1)).is_ok());
    }

    #[test]
    fn a_refusal_for_its_bytes_leaves_no_names_taken() {
        let admission = Admission::new(200, 1_000);
        let refused = admission.admit(&user(0), &names(100));
        assert!(matches!(refused, Err(Error::OverloadedBytes { limit: 1_000 })), "{refused:?}");
        assert_eq!(admission.0.names.taken.load(Relaxed), 0);
    }

    #[test]
    fn promise_4_threads_together_take_no_more_than_there_is() {
        let admission = Admission::new(1_000, BYTES);
        let names = names(7);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (admission, names) = (&admission, &names);
                scope.spawn(move || {
                    let mut held = Vec::new();
                    for n in 0..5_000 {
                        match admission.admit(&user((thread + n) % 5), names) {
                            Ok(permit) => held.push(permit),
                            Err(_) => held.truncate(held.len() / 2),
                        }
                        assert!(admission.0.names.taken.load(Relaxed) <= 1_000);
                    }
                });
            }
        });
        assert_eq!(admission.0.names.taken.load(Relaxed), 0);
        assert_eq!(admission.0.bytes.taken.load(Relaxed), 0);
    }

    proptest! {
        /// What is taken is the sum of what the permits hold, for all and for each user, and never
        /// more than the limit; who holds nothing gets what a call has room for while there is some.
        #[test]
        fn promise_4_no_more_is_taken_than_there_is_and_all_of_it_comes_back(
            limit in 1usize..2_000,
            steps in prop::collection::vec((0usize..5, 0usize..400, any::<bool>()), 0..100),
        ) {
            let admission = Admission::new(limit, BYTES);
            let mut held: Vec<(usize, Permit)> = Vec::new();
            for (who, count, is_taken) in steps {
                if !is_taken && !held.is_empty() {
                    held.swap_remove(count % held.len());
                    continue;
                }
                let sum = |of: Option<usize>| -> usize {
                    let held = held.iter().filter(|(who, _)| of.is_none_or(|of| of == *who));
                    held.map(|(_, permit)| permit.names).sum()
                };
                let (taken, own) = (sum(None), sum(Some(who)));
                let may = share(limit, taken - own, NAMES_ALWAYS);
                let admitted = admission.admit(&user(who), &names(count));
                prop_assert_eq!(admitted.is_ok(), taken + count <= limit && own + count <= may);
                held.extend(admitted.ok().map(|permit| (who, permit)));
            }
            held.clear();
            for account in [&admission.0.names, &admission.0.bytes] {
                prop_assert_eq!(account.taken.load(Relaxed), 0);
                let mut cells = account.held.iter().flat_map(|row| row.iter());
                prop_assert!(cells.all(|cell| cell.load(Relaxed) == 0));
            }
        }
    }
}

//! Evaluations kept for a while: written by the `BatchActor`, which sees every answer, and read by
//! all threads, each caller on its own. Pure but for the map's atomics: `now`, the time since
//! some beginning, is passed in.

mod ledger;

use std::{
    collections::VecDeque,
    fmt,
    hash::{Hash, Hasher},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use foldhash::fast::RandomState;
use papaya::{Equivalent, Guard, HashMap};

use self::ledger::Ledger;
use crate::model::{
    call_kind::CallKind,
    evaluation::{Evaluation, Origin},
    user::User,
};

/// The evaluations kept, by the whole user, exposure mode, kind and name.
///
/// Where there is no more room it makes some as CLOCK does: the keys stand in a row, and the first
/// that was not read since it was looked at last gives way.
pub(crate) struct Cache {
    kept: HashMap<Key, CacheEntry, RandomState>,
    books: Mutex<Books>,
    limits: Limits,
}

/// What the writer keeps beside the map. Only the writer takes the lock.
#[derive(Default)]
struct Books {
    /// Every key that is kept, once.
    row: VecDeque<Key>,
    ledger: Ledger,
    /// About so many bytes have gone from the map and may still be read.
    gone: usize,
}

/// How many evaluations are kept, of what weight together, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) entries: usize,
    pub(crate) bytes: usize,
    pub(crate) fresh: Duration,
    /// So much longer while Statsig fails.
    pub(crate) stale: Duration,
}

/// What an evaluation is kept by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) user: User,
    pub(crate) exposure: bool,
    pub(crate) kind: CallKind,
    pub(crate) name: Arc<str>,
}

/// The same, borrowed: what is looked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyRef<'a> {
    pub(crate) user: &'a User,
    pub(crate) exposure: bool,
    pub(crate) kind: CallKind,
    pub(crate) name: &'a str,
}

#[derive(Debug)]
struct CacheEntry {
    evaluation: Evaluation,
    /// None where a later answer was too large to insert: then this one is out of date.
    at: Option<Duration>,
    /// Read since its key was looked at last.
    is_used: AtomicBool,
}

/// So many keys at most are looked at for one that gives way: a writer is never kept long, even
/// where every one of them was read.
const LOOKS: usize = 16;

/// More than this is made room for when it comes.
const LARGE: usize = 1_000_000;

/// What weighs more than this part of the budget is not kept: it would evict too many others.
const LARGEST_PART: usize = 128;

/// When this part of the budget has gone from the map, its memory is asked for. Until then the map
/// gives it back as it likes, which is by number and not by size.
const GONE_PART: usize = 16;

impl Cache {
    pub(crate) fn new(limits: Limits) -> Self {
        // A table that is large enough from the start never has to move into a larger one; what of it
        // is not used takes no memory.
        let capacity = if limits.fresh.is_zero() { 0 } else { limits.entries.min(LARGE) };
        let kept = HashMap::with_capacity_and_hasher(capacity, RandomState::default());
        Self { kept, books: Mutex::default(), limits }
    }

    /// Whether anything is ever kept.
    pub(crate) fn is_on(&self) -> bool {
        !self.limits.fresh.is_zero()
    }

    /// Reads what is kept, in place: no reference count is touched, so that readers of the same
    /// evaluation do not wait for each other. `now` is asked for only if there is something;
    /// `is_failing` only if that is stale, which is given where it says so.
    pub(crate) fn get_with<R>(
        &self,
        question: KeyRef<'_>,
        now: impl FnOnce() -> Duration,
        is_failing: impl FnOnce() -> bool,
        read: impl FnOnce(&Evaluation, Origin) -> R,
    ) -> Option<R> {
        let kept = self.kept.pin();
        let found = kept.get(&question)?;
        let (at, now) = (found.at?, now());
        let origin = self.limits.origin(now.saturating_sub(at))?;
        if matches!(origin, Origin::Stale { .. }) && !is_failing() {
            return None;
        }
        // Looked at before it is written: readers of a hot key share its cache line.
        if !found.is_used.load(Relaxed) {
            found.is_used.store(true, Relaxed);
        }
        Some(read(&found.evaluation, origin))
    }

    /// Keeps an evaluation from the network, in place of an earlier one.
    pub(crate) fn insert(&self, mut key: Key, mut evaluation: Evaluation, now: Duration) {
        if !self.is_on() {
            return;
        }
        if ledger::whole(&key, &evaluation) > self.limits.bytes / LARGEST_PART {
            return self.outdate(&key);
        }
        let books = &mut *self.books();
        books.ledger.enter(&mut key, &mut evaluation);
        let value = CacheEntry { evaluation, at: Some(now), is_used: AtomicBool::new(false) };
        let earlier =
            self.kept.pin().insert(key.clone(), value).map(|kept| kept.evaluation.clone());
        if let Some(earlier) = &earlier {
            books.forget(&key, earlier);
        }
        let is_new = earlier.is_none();
        let is_full = |books: &Books| {
            books.row.len() + usize::from(is_new) > self.limits.entries
                || books.ledger.bytes() > self.limits.bytes
        };
        while is_full(books) && !books.row.is_empty() {
            self.evict(books);
        }
        if is_new {
            books.row.push_back(key);
        }
        self.reclaim(books);
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        let books = &mut *self.books();
        *books = Books::default();
        // The map looks through its whole table, and a refused key has this called again and again.
        if self.kept.is_empty() {
            return;
        }
        let guard = self.kept.guard();
        self.kept.clear(&guard);
        guard.flush();
    }

    /// What is kept of this is not the last answer any more. It stays in its place, for the key has one
    /// in the row.
    fn outdate(&self, key: &Key) {
        let outdated = |kept: &CacheEntry| CacheEntry {
            evaluation: kept.evaluation.clone(),
            at: None,
            is_used: AtomicBool::new(false),
        };
        let kept = self.kept.pin();
        // By its own key, for the map takes the one that it is given: this one's user is another copy.
        if let Some((own, _)) = kept.get_key_value(key) {
            kept.update(own.clone(), outdated);
        }
    }

    fn evict(&self, books: &mut Books) {
        let kept = self.kept.pin();
        for looks in 1.. {
            let Some(key) = books.row.pop_front() else { return };
            let is_last = looks == LOOKS;
            let goes = |_: &_, kept: &CacheEntry| !kept.is_used.swap(false, Relaxed) || is_last;
            match kept.remove_if(&key, goes) {
                Ok(Some((key, gone))) => return books.forget(key, &gone.evaluation),
                Ok(None) => return,
                Err(_) => books.row.push_back(key),
            }
        }
    }

    /// What has gone may be read by others until they are done, and so the map gives its memory back
    /// later: some dozens of entries at a time, which may be large ones.
    fn reclaim(&self, books: &mut Books) {
        if books.gone > self.limits.bytes / GONE_PART {
            books.gone = 0;
            self.kept.guard().flush();
        }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    /// This has gone from the map.
    fn forget(&mut self, key: &Key, evaluation: &Evaluation) {
        let before = self.ledger.bytes();
        self.ledger.leave(key, evaluation);
        self.gone += before - self.ledger.bytes();
    }
}

impl Limits {
    /// What an evaluation of this age may be given as; none if it is too old.
    fn origin(&self, age: Duration) -> Option<Origin> {
        // More than 49 days do not fit, and no limit is longer.
        let age_ms = u32::try_from(age.as_millis()).unwrap_or(u32::MAX);
        if age < self.fresh {
            Some(Origin::Cache { age_ms })
        } else if age < self.fresh + self.stale {
            Some(Origin::Stale { age_ms })
        } else {
            None
        }
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("kept", &self.kept.len()).finish_non_exhaustive()
    }
}

impl Key {
    fn as_question(&self) -> KeyRef<'_> {
        let Self { user, exposure, kind, name } = self;
        KeyRef { user, exposure: *exposure, kind: *kind, name }
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_question().hash(state);
    }
}

impl Hash for KeyRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.user.hash(state);
        state.write_u8(self.kind as u8 * 2 + u8::from(self.exposure));
        self.name.hash(state);
    }
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.exposure == key.exposure
            && self.kind == key.kind
            && *self.name == *key.name
            && *self.user == key.user
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap as Model, HashSet};

    use proptest::prelude::*;

    use super::*;
    use crate::model::evaluation::{ConfigEvaluation, GateEvaluation};

    const LIMITS: Limits = Limits {
        entries: 8,
        bytes: MIB,
        fresh: Duration::from_secs(10),
        stale: Duration::from_secs(20),
    };
    const MIB: usize = 1 << 20;

    fn start() -> Duration {
        Duration::from_secs(60)
    }

    fn key(n: usize) -> Key {
        Key {
            user: User::new(format!("u-{}", n / 4)).unwrap(),
            exposure: n.is_multiple_of(2),
            kind: if n % 4 < 2 { CallKind::CheckGate } else { CallKind::GetConfig },
            name: format!("name-{}", n % 3).into(),
        }
    }

    fn evaluation(value: bool) -> Evaluation {
        GateEvaluation::new("gate", value).into()
    }

    fn get_with(
        cache: &Cache,
        key: &Key,
        now: Duration,
        is_failing: bool,
    ) -> Option<(bool, Origin)> {
        cache.get_with(
            key.as_question(),
            || now,
            || is_failing,
            |evaluation, origin| (*evaluation == self::evaluation(true), origin),
        )
    }

    /// The row has each key that is kept, once, and the ledger weighs what is kept.
    fn is_consistent(cache: &Cache) -> bool {
        let (books, kept) = (cache.books(), cache.kept.pin());
        let mut ledger = Ledger::default();
        for (key, kept) in &kept {
            ledger.enter(&mut key.clone(), &mut kept.evaluation.clone());
        }
        books.row.len() == kept.len()
            && books.row.iter().all(|key| kept.contains_key(key))
            && books.ledger.bytes() == ledger.bytes()
    }

    /// One of ten configs, with one of a few values of this size.
    fn config(n: usize, size: usize) -> (Key, Evaluation) {
        let key =
            Key { kind: CallKind::GetConfig, name: format!("config-{n}").into(), ..key(4 * n) };
        let text = format!(r#"{{"n": {}, "text": "{}"}}"#, n % 3, "x".repeat(size));
        (key, ConfigEvaluation::from_json("config", &text).unwrap().into())
    }

    #[test]
    fn what_weighs_more_than_a_part_of_the_budget_is_not_kept_nor_is_what_it_outdates() {
        let (cache, now) = (Cache::new(LIMITS), start());
        let (key, small) = config(0, 10);
        cache.insert(key.clone(), small, now);
        assert!(get_with(&cache, &key, now, true).is_some());

        cache.insert(key.clone(), config(0, MIB / LARGEST_PART).1, now);
        assert_eq!(get_with(&cache, &key, now, true), None);
        assert!(is_consistent(&cache));

        cache.insert(key.clone(), config(0, MIB / LARGEST_PART - 1_000).1, now);
        assert!(get_with(&cache, &key, now, true).is_some());
        assert!(is_consistent(&cache));
    }

    #[test]
    fn room_is_made_by_weight_and_no_more_of_it_than_is_needed() {
        let cache = Cache::new(Limits { entries: 1_000, bytes: MIB, ..LIMITS });
        for n in 0..1_000 {
            let (key, _) = config(n, 0);
            let text = format!(r#"{{"n": {n}, "text": "{}"}}"#, "x".repeat(6_000));
            cache.insert(
                key,
                ConfigEvaluation::from_json("config", &text).unwrap().into(),
                start(),
            );
            if n > 200 {
                let bytes = cache.books().ledger.bytes();
                assert!((MIB - MIB / LARGEST_PART..=MIB).contains(&bytes), "{bytes}");
            }
        }
        assert!(is_consistent(&cache));
    }

    #[test]
    fn equal_users_and_values_are_held_and_weighed_once() {
        let cache = Cache::new(Limits { entries: 1_000, ..LIMITS });
        let weight = |n, size| {
            let before = cache.books().ledger.bytes();
            let (mut key, evaluation) = config(n, size);
            key.user = User::new(format!("u-{}", n % 2)).unwrap();
            cache.insert(key, evaluation, start());
            cache.books().ledger.bytes() - before
        };
        assert!((0..6).map(|n| weight(n, 4_000)).sum::<usize>() < 3 * 5_000);
        let seventh = weight(6, 4_000);
        assert!(
            (1..1_000).contains(&seventh),
            "it has its user and its value from others: {seventh}"
        );
        let kept = cache.kept.pin();
        let texts: HashSet<_> =
            kept.values().map(|kept| kept.evaluation.value().unwrap().get().as_ptr()).collect();
        let users: HashSet<_> = kept.keys().map(|key| key.user.json().as_ptr()).collect();
        assert_eq!((texts.len(), users.len()), (3, 2));
    }

    #[test]
    fn what_is_out_of_date_shares_its_user_as_before() {
        let (cache, now) = (Cache::new(Limits { entries: 1_000, ..LIMITS }), start());
        for size in [10, MIB / LARGEST_PART] {
            for n in 0..20 {
                let (mut key, evaluation) = config(n, size);
                // As each call has a user of its own.
                key.user = User::new("u").unwrap();
                cache.insert(key, evaluation, now);
            }
        }
        let kept = cache.kept.pin();
        assert!(kept.len() == 20 && kept.values().all(|kept| kept.at.is_none()));
        let users: HashSet<_> = kept.keys().map(|key| key.user.json().as_ptr()).collect();
        assert_eq!(users.len(), 1);
    }

    #[test]
    fn an_evaluation_is_fresh_then_stale_then_gone() {
        let (cache, now, key) = (Cache::new(LIMITS), start(), key(0));
        cache.insert(key.clone(), evaluation(true), now);
        let after = |ms, is_failing| {
            let found = get_with(&cache, &key, now + Duration::from_millis(ms), is_failing);
            found.map(|(_, origin)| origin)
        };

        assert_eq!(after(0, false), Some(Origin::Cache { age_ms: 0 }));
        assert_eq!(after(9_999, true), Some(Origin::Cache { age_ms: 9_999 }));
        assert_eq!(after(10_000, false), None, "Statsig is well: it is asked");
        assert_eq!(after(10_000, true), Some(Origin::Stale { age_ms: 10_000 }));
        assert_eq!(after(29_999, true), Some(Origin::Stale { age_ms: 29_999 }));
        assert_eq!(after(30_000, true), None);
    }

    #[test]
    fn nothing_is_kept_with_a_time_to_live_of_zero() {
        let cache = Cache::new(Limits { fresh: Duration::ZERO, ..LIMITS });
        cache.insert(key(0), evaluation(true), start());
        assert_eq!(get_with(&cache, &key(0), start(), true), None);
    }

    #[test]
    fn what_is_read_stays_where_there_is_no_more_room() {
        let (cache, now) = (Cache::new(LIMITS), start());
        for n in 0..1_000 {
            cache.insert(key(n), evaluation(true), now);
            assert!(
                get_with(&cache, &key(0), now, false).is_some(),
                "read all the time, gone at {n}"
            );
        }
        assert_eq!(cache.kept.len(), LIMITS.entries);
    }

    #[test]
    fn room_is_made_though_everything_is_read() {
        let cache = Cache::new(Limits { entries: 100, ..LIMITS });
        for n in 0..1_000 {
            cache.insert(key(n), evaluation(true), start());
            for read in 0..=n {
                get_with(&cache, &key(read), start(), false);
            }
        }
        assert_eq!(cache.kept.len(), 100);
    }

    proptest! {
        /// With room enough it is a map: what is kept under one key answers for no other.
        #[test]
        fn promise_2_an_evaluation_answers_only_for_its_own_user_mode_kind_and_name(
            steps in prop::collection::vec((0usize..40, any::<bool>(), any::<bool>()), 0..200),
        ) {
            let (cache, now) = (Cache::new(Limits { entries: 40, ..LIMITS }), start());
            let mut model: Model<Key, bool> = Model::new();
            for (n, is_written, value) in steps {
                if is_written {
                    cache.insert(key(n), evaluation(value), now);
                    model.insert(key(n), value);
                }
                let found = get_with(&cache, &key(n), now, false).map(|(value, _)| value);
                prop_assert_eq!(found, model.get(&key(n)).copied());
            }
            cache.clear();
            for key in model.keys() {
                prop_assert!(get_with(&cache, key, now, true).is_none());
            }
        }

    }

    proptest! {
        // Each is hundreds of steps.
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// However large the answers, what is kept weighs no more than it may.
        #[test]
        fn promise_4_what_is_kept_never_weighs_more_than_the_budget(
            budget in 150_000usize..300_000,
            steps in prop::collection::vec((0usize..400, 0usize..2_000, any::<bool>()), 300..600),
        ) {
            let cache = Cache::new(Limits { entries: 1_000, bytes: budget, ..LIMITS });
            for (n, size, is_read) in steps {
                let (key, evaluation) = config(n, size);
                let is_kept = ledger::whole(&key, &evaluation) <= budget / LARGEST_PART;
                cache.insert(key.clone(), evaluation, start());
                prop_assert!(cache.books().ledger.bytes() <= budget);
                if is_read && !is_kept {
                    prop_assert!(get_with(&cache, &key, start(), false).is_none());
                }
            }
            prop_assert!(is_consistent(&cache));
        }
    }

    proptest! {
        /// However little room there is, no more is kept, and the row has each key once.
        #[test]
        fn promise_4_there_is_never_more_kept_than_there_is_room(
            entries in 1usize..10,
            steps in prop::collection::vec((0usize..40, any::<bool>()), 0..200),
        ) {
            let (cache, now) = (Cache::new(Limits { entries, ..LIMITS }), start());
            for (n, is_written) in steps {
                if is_written {
                    cache.insert(key(n), evaluation(true), now);
                    prop_assert!(get_with(&cache, &key(n), now, false).is_some());
                } else {
                    get_with(&cache, &key(n), now, false);
                }
                prop_assert!(cache.kept.len() <= entries);
                prop_assert!(is_consistent(&cache));
            }
        }
    }
}

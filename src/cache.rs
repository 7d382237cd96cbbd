//! Evaluations kept for a while: written by the `BatchActor`, which sees every answer, and read by
//! all threads, each caller on its own. Pure but for the map's atomics: `now` is passed in.

use std::{
    collections::VecDeque,
    fmt,
    hash::{Hash, Hasher},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use foldhash::fast::RandomState;
use papaya::{Equivalent, HashMap};

use crate::{
    call::CallKind,
    evaluation::{Evaluation, Origin},
    user::User,
};

/// The evaluations kept, by the whole user, exposure mode, kind and name.
///
/// Where there is no more room it makes some as CLOCK does: the keys stand in a row, and the first
/// that was not read since it was looked at last gives way.
pub(crate) struct Cache {
    kept: HashMap<Key, Kept, RandomState>,
    /// Every key that is kept, once. Only the writer takes the lock.
    row: Mutex<VecDeque<Key>>,
    limits: Limits,
}

/// How many evaluations are kept, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) entries: usize,
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
pub(crate) struct Question<'a> {
    pub(crate) user: &'a User,
    pub(crate) exposure: bool,
    pub(crate) kind: CallKind,
    pub(crate) name: &'a str,
}

#[derive(Debug)]
struct Kept {
    evaluation: Evaluation,
    at: Instant,
    /// Read since its key was looked at last.
    is_used: AtomicBool,
}

/// So many keys at most are looked at for one that gives way: a writer is never kept long, even
/// where every one of them was read.
const LOOKS: usize = 16;

/// More than this is made room for when it comes.
const LARGE: usize = 1_000_000;

impl Cache {
    pub(crate) fn new(limits: Limits) -> Self {
        // A table that is large enough from the start never has to move into a larger one; what of it
        // is not used takes no memory.
        let capacity = if limits.fresh.is_zero() { 0 } else { limits.entries.min(LARGE) };
        let kept = HashMap::with_capacity_and_hasher(capacity, RandomState::default());
        Self { kept, row: Mutex::default(), limits }
    }

    /// Whether anything is ever kept.
    pub(crate) fn is_on(&self) -> bool {
        !self.limits.fresh.is_zero()
    }

    /// Reads what is kept, in place: no reference count is touched, so that readers of the same
    /// evaluation do not wait for each other. `now` is asked for only if there is something;
    /// `is_failing` only if that is stale, which is given where it says so.
    pub(crate) fn recall<R>(
        &self,
        question: Question<'_>,
        now: impl FnOnce() -> Instant,
        is_failing: impl FnOnce(Instant) -> bool,
        read: impl FnOnce(&Evaluation, Origin) -> R,
    ) -> Option<R> {
        let kept = self.kept.pin();
        let found = kept.get(&question)?;
        let now = now();
        let origin = self.limits.origin(now.saturating_duration_since(found.at))?;
        if matches!(origin, Origin::Stale { .. }) && !is_failing(now) {
            return None;
        }
        // Looked at before it is written: readers of a hot key share its cache line.
        if !found.is_used.load(Relaxed) {
            found.is_used.store(true, Relaxed);
        }
        Some(read(&found.evaluation, origin))
    }

    /// Keeps an evaluation from the network, in place of an earlier one.
    pub(crate) fn keep(&self, key: Key, evaluation: Evaluation, now: Instant) {
        if !self.is_on() {
            return;
        }
        let value = Kept { evaluation, at: now, is_used: AtomicBool::new(false) };
        if self.kept.pin().insert(key.clone(), value).is_some() {
            return;
        }
        let mut row = self.row.lock().unwrap_or_else(PoisonError::into_inner);
        while row.len() >= self.limits.entries {
            self.make_room(&mut row);
        }
        row.push_back(key);
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        self.row.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.kept.pin().clear();
    }

    fn make_room(&self, row: &mut VecDeque<Key>) {
        let kept = self.kept.pin();
        for looks in 1.. {
            let Some(key) = row.pop_front() else { return };
            let is_last = looks == LOOKS;
            let goes = |_: &_, kept: &Kept| !kept.is_used.swap(false, Relaxed) || is_last;
            match kept.remove_if(&key, goes) {
                Ok(_) => return,
                Err(_) => row.push_back(key),
            }
        }
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
    fn as_question(&self) -> Question<'_> {
        let Self { user, exposure, kind, name } = self;
        Question { user, exposure: *exposure, kind: *kind, name }
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_question().hash(state);
    }
}

impl Hash for Question<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.user.hash(state);
        state.write_u8(self.kind as u8 * 2 + u8::from(self.exposure));
        self.name.hash(state);
    }
}

impl Equivalent<Key> for Question<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.exposure == key.exposure
            && self.kind == key.kind
            && *self.name == *key.name
            && *self.user == key.user
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap as Model;

    use proptest::prelude::*;

    use super::*;
    use crate::evaluation::GateEvaluation;

    const LIMITS: Limits =
        Limits { entries: 8, fresh: Duration::from_secs(10), stale: Duration::from_secs(20) };

    #[allow(clippy::disallowed_methods)]
    fn start() -> Instant {
        Instant::now()
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

    fn recall(cache: &Cache, key: &Key, now: Instant, is_failing: bool) -> Option<(bool, Origin)> {
        cache.recall(
            key.as_question(),
            || now,
            |_| is_failing,
            |evaluation, origin| (*evaluation == self::evaluation(true), origin),
        )
    }

    #[test]
    fn an_evaluation_is_fresh_then_stale_then_gone() {
        let (cache, now, key) = (Cache::new(LIMITS), start(), key(0));
        cache.keep(key.clone(), evaluation(true), now);
        let after = |ms, is_failing| {
            let found = recall(&cache, &key, now + Duration::from_millis(ms), is_failing);
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
        cache.keep(key(0), evaluation(true), start());
        assert_eq!(recall(&cache, &key(0), start(), true), None);
    }

    #[test]
    fn what_is_read_stays_where_there_is_no_more_room() {
        let (cache, now) = (Cache::new(LIMITS), start());
        for n in 0..1_000 {
            cache.keep(key(n), evaluation(true), now);
            assert!(
                recall(&cache, &key(0), now, false).is_some(),
                "read all the time, gone at {n}"
            );
        }
        assert_eq!(cache.kept.len(), LIMITS.entries);
    }

    #[test]
    fn room_is_made_though_everything_is_read() {
        let cache = Cache::new(Limits { entries: 100, ..LIMITS });
        for n in 0..1_000 {
            cache.keep(key(n), evaluation(true), start());
            for read in 0..=n {
                recall(&cache, &key(read), start(), false);
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
                    cache.keep(key(n), evaluation(value), now);
                    model.insert(key(n), value);
                }
                let found = recall(&cache, &key(n), now, false).map(|(value, _)| value);
                prop_assert_eq!(found, model.get(&key(n)).copied());
            }
            cache.clear();
            for key in model.keys() {
                prop_assert!(recall(&cache, key, now, true).is_none());
            }
        }

        /// However little room there is, no more is kept, and the row has each key once.
        #[test]
        fn promise_4_there_is_never_more_kept_than_there_is_room(
            entries in 1usize..10,
            steps in prop::collection::vec((0usize..40, any::<bool>()), 0..200),
        ) {
            let (cache, now) = (Cache::new(Limits { entries, ..LIMITS }), start());
            for (n, is_written) in steps {
                if is_written {
                    cache.keep(key(n), evaluation(true), now);
                    prop_assert!(recall(&cache, &key(n), now, false).is_some());
                } else {
                    recall(&cache, &key(n), now, false);
                }
                prop_assert!(cache.kept.len() <= entries);
                let row = cache.row.lock().unwrap();
                prop_assert_eq!(row.len(), cache.kept.len());
                prop_assert!(row.iter().all(|key| cache.kept.pin().contains_key(key)));
            }
        }
    }
}

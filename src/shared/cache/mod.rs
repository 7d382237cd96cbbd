//! The cache of evaluations. The `BatchActor` writes it; callers read it on their own threads.
//!
//! Pure, except for the map's atomics: `now`, the time since a fixed moment, is passed in.

mod footprint;
#[cfg(test)]
mod tests;

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
use papaya::{Equivalent, Guard, HashMap, HashMapRef, LocalGuard};

use self::footprint::Footprint;
use crate::model::{
    call_kind::CallKind,
    evaluation::{Evaluation, Origin},
    user::User,
};

/// The cached evaluations, by the whole user, exposure mode, kind and name.
///
/// When full, the cache evicts by CLOCK: the first key not read since the last scan.
pub(crate) struct Cache {
    entries: HashMap<Key, CacheEntry, RandomState>,
    eviction: Mutex<Eviction>,
    limits: Limits,
}

/// The state that decides the next eviction. Only the writer takes its lock.
#[derive(Default)]
struct Eviction {
    /// Every key of the map, once, in the order of the next scan.
    keys: VecDeque<Key>,
    footprint: Footprint,
    /// The approximate bytes of entries that were removed from the map but may still be read.
    retired: usize,
}

/// The limits of the cache: the number of evaluations, their bytes and their age.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) entries: usize,
    pub(crate) bytes: usize,
    /// How long an evaluation is fresh.
    pub(crate) fresh: Duration,
    /// How much longer a stale evaluation may answer while Statsig fails.
    pub(crate) stale: Duration,
}

/// The key of an evaluation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) user: User,
    pub(crate) exposure: bool,
    pub(crate) kind: CallKind,
    pub(crate) name: Arc<str>,
}

/// A borrowed [`Key`], for lookups.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyRef<'a> {
    pub(crate) user: &'a User,
    pub(crate) exposure: bool,
    pub(crate) kind: CallKind,
    pub(crate) name: &'a str,
}

#[derive(Debug)]
pub(crate) struct CacheEntry {
    evaluation: Evaluation,
    /// The time of insertion. `None` if the entry is outdated: a later answer was too large to
    /// insert.
    inserted_at: Option<Duration>,
    /// Whether the entry was read since the last scan of its key.
    is_used: AtomicBool,
}

/// Reads the cache. The entries that it returns stay in memory until the reader is dropped.
pub(crate) struct Reader<'c> {
    entries: HashMapRef<'c, Key, CacheEntry, RandomState, LocalGuard<'c>>,
}

/// The maximum number of keys that one eviction scans, so that a writer is fast even if every key
/// was read.
const MAX_SCAN: usize = 16;

/// The maximum number of entries for which the table is allocated at the start.
const PREALLOCATED: usize = 1_000_000;

/// An entry of more than this part of the budget is not inserted: it would evict too many others.
const LARGEST_PART: usize = 128;

/// After retiring this part of the budget, the writer asks the map to free memory. On its own the map
/// frees by number of entries, not by size.
const RETIRED_PART: usize = 16;

impl Cache {
    pub(crate) fn new(limits: Limits) -> Self {
        // A table that never grows is never copied; its unused pages take no memory.
        let capacity = if limits.fresh.is_zero() { 0 } else { limits.entries.min(PREALLOCATED) };
        let entries = HashMap::with_capacity_and_hasher(capacity, RandomState::default());
        Self { entries, eviction: Mutex::default(), limits }
    }

    /// Returns whether the cache is enabled.
    pub(crate) fn is_on(&self) -> bool {
        !self.limits.fresh.is_zero()
    }

    #[inline]
    pub(crate) fn reader(&self) -> Reader<'_> {
        Reader { entries: self.entries.pin() }
    }

    /// Returns an entry's origin at this time, or `None` if the entry is outdated or too old.
    #[inline]
    pub(crate) fn origin(&self, entry: &CacheEntry, now: Duration) -> Option<Origin> {
        let age = now.saturating_sub(entry.inserted_at?);
        // More than 49 days do not fit, and no limit is longer.
        let age_ms = u32::try_from(age.as_millis()).unwrap_or(u32::MAX);
        if age < self.limits.fresh {
            Some(Origin::Cache { age_ms })
        } else if age < self.limits.fresh + self.limits.stale {
            Some(Origin::Stale { age_ms })
        } else {
            None
        }
    }

    /// Inserts an evaluation from the network, in place of an earlier one.
    pub(crate) fn insert(&self, mut key: Key, mut evaluation: Evaluation, now: Duration) {
        if !self.is_on() {
            return;
        }
        if footprint::unshared(&key, &evaluation) > self.limits.bytes / LARGEST_PART {
            return self.outdate(&key);
        }
        let eviction = &mut *self.eviction();
        eviction.footprint.add(&mut key, &mut evaluation);
        let entry =
            CacheEntry { evaluation, inserted_at: Some(now), is_used: AtomicBool::new(false) };
        let entries = self.entries.pin();
        let replaced = entries.insert(key.clone(), entry);
        let is_new = replaced.is_none();
        if let Some(replaced) = replaced {
            eviction.retire(&key, &replaced.evaluation);
        }
        let is_full = |eviction: &Eviction| {
            eviction.keys.len() + usize::from(is_new) > self.limits.entries
                || eviction.footprint.bytes() > self.limits.bytes
        };
        while is_full(eviction) && !eviction.keys.is_empty() {
            self.evict(eviction);
        }
        if is_new {
            eviction.keys.push_back(key);
        }
        self.reclaim(eviction);
    }

    pub(crate) fn clear(&self) {
        let eviction = &mut *self.eviction();
        *eviction = Eviction::default();
        // `HashMap::clear` scans its whole table, and a refused key clears the cache repeatedly.
        if self.entries.is_empty() {
            return;
        }
        let guard = self.entries.guard();
        self.entries.clear(&guard);
        guard.flush();
    }

    /// Marks the entry of a key as outdated. The entry stays, because its key is in the scan order.
    fn outdate(&self, key: &Key) {
        let outdated = |entry: &CacheEntry| CacheEntry {
            evaluation: entry.evaluation.clone(),
            inserted_at: None,
            is_used: AtomicBool::new(false),
        };
        let entries = self.entries.pin();
        // `update` replaces the map's key, which shares its user with others, with the key passed
        // in.
        if let Some((own, _)) = entries.get_key_value(key) {
            entries.update(own.clone(), outdated);
        }
    }

    fn evict(&self, eviction: &mut Eviction) {
        let entries = self.entries.pin();
        for scanned in 1.. {
            let Some(key) = eviction.keys.pop_front() else { return };
            let is_last = scanned == MAX_SCAN;
            let is_evicted =
                |_: &_, entry: &CacheEntry| !entry.is_used.swap(false, Relaxed) || is_last;
            match entries.remove_if(&key, is_evicted) {
                Ok(Some((key, evicted))) => return eviction.retire(key, &evicted.evaluation),
                Ok(None) => return,
                Err(_) => eviction.keys.push_back(key),
            }
        }
    }

    /// Frees retired entries. The map itself keeps a few dozen of them, which may be large.
    fn reclaim(&self, eviction: &mut Eviction) {
        if eviction.retired > self.limits.bytes / RETIRED_PART {
            eviction.retired = 0;
            self.entries.guard().flush();
        }
    }

    fn eviction(&self) -> MutexGuard<'_, Eviction> {
        self.eviction.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reader<'_> {
    /// Returns the entry of a key, however old it is. No reference count is touched, so readers of one
    /// entry do not contend.
    #[inline]
    pub(crate) fn get(&self, key: KeyRef<'_>) -> Option<&CacheEntry> {
        self.entries.get(&key)
    }
}

impl CacheEntry {
    /// Returns the evaluation, and notes for the next scan that it was read.
    #[inline]
    pub(crate) fn read(&self) -> &Evaluation {
        // A load before the store: readers of a hot key share its cache line.
        if !self.is_used.load(Relaxed) {
            self.is_used.store(true, Relaxed);
        }
        &self.evaluation
    }
}

impl Eviction {
    /// Accounts for an entry that was removed from the map.
    fn retire(&mut self, key: &Key, evaluation: &Evaluation) {
        let before = self.footprint.bytes();
        self.footprint.remove(key, evaluation);
        self.retired += before - self.footprint.bytes();
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("entries", &self.entries.len()).finish_non_exhaustive()
    }
}

impl Key {
    fn as_ref(&self) -> KeyRef<'_> {
        let Self { user, exposure, kind, name } = self;
        KeyRef { user, exposure: *exposure, kind: *kind, name }
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_ref().hash(state);
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

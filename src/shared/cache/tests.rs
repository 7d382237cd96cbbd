//! Tests of the cache's contents, ages and footprint.

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

/// Reads as a caller does: a stale evaluation only while Statsig fails.
fn get(cache: &Cache, key: &Key, now: Duration, is_failing: bool) -> Option<(bool, Origin)> {
    let reader = cache.reader();
    let entry = reader.get(key.as_ref())?;
    let origin = cache.origin(entry, now)?;
    let is_readable = is_failing || !origin.is_stale();
    is_readable.then(|| (*entry.read() == evaluation(true), origin))
}

/// Returns whether the scan order has each key of the map once, and the footprint is that of the
/// map.
fn is_consistent(cache: &Cache) -> bool {
    let (eviction, entries) = (cache.eviction(), cache.entries.pin());
    let mut footprint = Footprint::default();
    for (key, entry) in &entries {
        footprint.add(&mut key.clone(), &mut entry.evaluation.clone());
    }
    eviction.keys.len() == entries.len()
        && eviction.keys.iter().all(|key| entries.contains_key(key))
        && eviction.footprint.bytes() == footprint.bytes()
}

/// Returns the key and evaluation of the nth config, with one of three values of this size.
fn config(n: usize, size: usize) -> (Key, Evaluation) {
    let key = Key { kind: CallKind::GetConfig, name: format!("config-{n}").into(), ..key(4 * n) };
    let text = format!(r#"{{"n": {}, "text": "{}"}}"#, n % 3, "x".repeat(size));
    (key, ConfigEvaluation::from_json("config", &text).unwrap().into())
}

#[test]
fn oversized_evaluation_is_not_cached_and_evicts_the_old_one() {
    let (cache, now) = (Cache::new(LIMITS), start());
    let (key, small) = config(0, 10);
    cache.insert(key.clone(), small, now);
    assert!(get(&cache, &key, now, true).is_some());

    cache.insert(key.clone(), config(0, MIB / LARGEST_PART).1, now);
    assert_eq!(get(&cache, &key, now, true), None);
    assert!(is_consistent(&cache));

    cache.insert(key.clone(), config(0, MIB / LARGEST_PART - 1_000).1, now);
    assert!(get(&cache, &key, now, true).is_some());
    assert!(is_consistent(&cache));
}

#[test]
fn room_is_made_by_weight_and_no_more_of_it_than_is_needed() {
    let cache = Cache::new(Limits { entries: 1_000, bytes: MIB, ..LIMITS });
    for n in 0..1_000 {
        let (key, _) = config(n, 0);
        let text = format!(r#"{{"n": {n}, "text": "{}"}}"#, "x".repeat(6_000));
        cache.insert(key, ConfigEvaluation::from_json("config", &text).unwrap().into(), start());
        if n > 200 {
            let bytes = cache.eviction().footprint.bytes();
            assert!((MIB - MIB / LARGEST_PART..=MIB).contains(&bytes), "{bytes}");
        }
    }
    assert!(is_consistent(&cache));
}

#[test]
fn equal_users_and_values_are_held_and_weighed_once() {
    let cache = Cache::new(Limits { entries: 1_000, ..LIMITS });
    let weight = |n, size| {
        let before = cache.eviction().footprint.bytes();
        let (mut key, evaluation) = config(n, size);
        key.user = User::new(format!("u-{}", n % 2)).unwrap();
        cache.insert(key, evaluation, start());
        cache.eviction().footprint.bytes() - before
    };
    assert!((0..6).map(|n| weight(n, 4_000)).sum::<usize>() < 3 * 5_000);
    let seventh = weight(6, 4_000);
    assert!((1..1_000).contains(&seventh), "the user and the value are shared: {seventh}");
    let entries = cache.entries.pin();
    let texts: HashSet<_> =
        entries.values().map(|entry| entry.evaluation.value().unwrap().get().as_ptr()).collect();
    let users: HashSet<_> = entries.keys().map(|key| key.user.json().as_ptr()).collect();
    assert_eq!((texts.len(), users.len()), (3, 2));
}

#[test]
fn outdated_entry_still_shares_its_user() {
    let (cache, now) = (Cache::new(Limits { entries: 1_000, ..LIMITS }), start());
    for size in [10, MIB / LARGEST_PART] {
        for n in 0..20 {
            let (mut key, evaluation) = config(n, size);
            // Each call has its own user.
            key.user = User::new("u").unwrap();
            cache.insert(key, evaluation, now);
        }
    }
    let entries = cache.entries.pin();
    assert!(entries.len() == 20 && entries.values().all(|entry| entry.inserted_at.is_none()));
    let users: HashSet<_> = entries.keys().map(|key| key.user.json().as_ptr()).collect();
    assert_eq!(users.len(), 1);
}

#[test]
fn evaluation_is_fresh_then_stale_then_gone() {
    let (cache, now, key) = (Cache::new(LIMITS), start(), key(0));
    cache.insert(key.clone(), evaluation(true), now);
    let after = |ms, is_failing| {
        let found = get(&cache, &key, now + Duration::from_millis(ms), is_failing);
        found.map(|(_, origin)| origin)
    };

    assert_eq!(after(0, false), Some(Origin::Cache { age_ms: 0 }));
    assert_eq!(after(9_999, true), Some(Origin::Cache { age_ms: 9_999 }));
    assert_eq!(after(10_000, false), None, "Statsig answers: no stale evaluation");
    assert_eq!(after(10_000, true), Some(Origin::Stale { age_ms: 10_000 }));
    assert_eq!(after(29_999, true), Some(Origin::Stale { age_ms: 29_999 }));
    assert_eq!(after(30_000, true), None);
}

#[test]
fn zero_ttl_caches_nothing() {
    let cache = Cache::new(Limits { fresh: Duration::ZERO, ..LIMITS });
    cache.insert(key(0), evaluation(true), start());
    assert_eq!(get(&cache, &key(0), start(), true), None);
}

#[test]
fn entries_read_lately_survive_eviction() {
    let (cache, now) = (Cache::new(LIMITS), start());
    for n in 0..1_000 {
        cache.insert(key(n), evaluation(true), now);
        assert!(get(&cache, &key(0), now, false).is_some(), "read all the time, evicted at {n}");
    }
    assert_eq!(cache.entries.len(), LIMITS.entries);
}

#[test]
fn room_is_made_though_everything_is_read() {
    let cache = Cache::new(Limits { entries: 100, ..LIMITS });
    for n in 0..1_000 {
        cache.insert(key(n), evaluation(true), start());
        for read in 0..=n {
            get(&cache, &key(read), start(), false);
        }
    }
    assert_eq!(cache.entries.len(), 100);
}

proptest! {
    /// A cache that is large enough is a map: the entry of one key never answers for another.
    #[test]
    fn promise_2_entry_matches_only_its_user_mode_kind_and_name(
        steps in prop::collection::vec((0usize..40, any::<bool>(), any::<bool>()), 0..200),
    ) {
        let (cache, now) = (Cache::new(Limits { entries: 40, ..LIMITS }), start());
        let mut model: Model<Key, bool> = Model::new();
        for (n, is_written, value) in steps {
            if is_written {
                cache.insert(key(n), evaluation(value), now);
                model.insert(key(n), value);
            }
            let found = get(&cache, &key(n), now, false).map(|(value, _)| value);
            prop_assert_eq!(found, model.get(&key(n)).copied());
        }
        cache.clear();
        for key in model.keys() {
            prop_assert!(get(&cache, key, now, true).is_none());
        }
    }

}

proptest! {
    // Each case has hundreds of steps.
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// The footprint stays within the budget for answers of any size.
    #[test]
    fn promise_4_cache_never_weighs_more_than_its_budget(
        budget in 150_000usize..300_000,
        steps in prop::collection::vec((0usize..400, 0usize..2_000, any::<bool>()), 300..600),
    ) {
        let cache = Cache::new(Limits { entries: 1_000, bytes: budget, ..LIMITS });
        for (n, size, is_read) in steps {
            let (key, evaluation) = config(n, size);
            let is_inserted = footprint::unshared(&key, &evaluation) <= budget / LARGEST_PART;
            cache.insert(key.clone(), evaluation, start());
            prop_assert!(cache.eviction().footprint.bytes() <= budget);
            if is_read && !is_inserted {
                prop_assert!(get(&cache, &key, start(), false).is_none());
            }
        }
        prop_assert!(is_consistent(&cache));
    }
}

proptest! {
    /// A cache of any size never exceeds its entries, and the scan order has each key once.
    #[test]
    fn promise_4_there_is_never_more_kept_than_there_is_room(
        entries in 1usize..10,
        steps in prop::collection::vec((0usize..40, any::<bool>()), 0..200),
    ) {
        let (cache, now) = (Cache::new(Limits { entries, ..LIMITS }), start());
        for (n, is_written) in steps {
            if is_written {
                cache.insert(key(n), evaluation(true), now);
                prop_assert!(get(&cache, &key(n), now, false).is_some());
            } else {
                get(&cache, &key(n), now, false);
            }
            prop_assert!(cache.entries.len() <= entries);
            prop_assert!(is_consistent(&cache));
        }
    }
}

//! Stores values by key and by id. Ids are small and never reused. A stored key is not hashed again
//! when its value is removed or the index grows.

use std::hash::{BuildHasher, Hash};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use slotmap::{Key, SlotMap};

#[derive(Debug)]
pub(super) struct Interner<Id: Key, K, V> {
    entries: SlotMap<Id, Entry<K, V>>,
    index: HashTable<Id>,
    hasher: RandomState,
}

#[derive(Debug)]
struct Entry<K, V> {
    hash: u64,
    key: K,
    value: V,
}

impl<Id: Key, K: Eq + Hash, V> Interner<Id, K, V> {
    pub(super) fn new() -> Self {
        let hasher = RandomState::default();
        Self { entries: SlotMap::with_key(), index: HashTable::new(), hasher }
    }

    /// Returns the id of the value with this key. Inserts a new value if there is none.
    pub(super) fn intern(&mut self, key: K, new: impl FnOnce() -> V) -> Id {
        let Self { entries, index, hasher } = self;
        let hash = hasher.hash_one(&key);
        let has_key = |id: &Id| entries.get(*id).is_some_and(|entry| entry.key == key);
        if let Some(id) = index.find(hash, has_key) {
            return *id;
        }
        let id = entries.insert(Entry { hash, key, value: new() });
        let hash_of = |id: &Id| entries.get(*id).map_or(0, |entry| entry.hash);
        index.insert_unique(hash, id, hash_of);
        id
    }

    /// Adds a new value under the same key, which now finds the new value. The superseded value
    /// stays reachable by its id until it is removed. Returns `None` if the value has been
    /// superseded already.
    pub(super) fn supersede(&mut self, id: Id, value: V) -> Option<Id>
    where
        K: Clone,
    {
        let Self { entries, index, .. } = self;
        let Entry { hash, key, .. } = entries.get(id)?;
        let (hash, key) = (*hash, key.clone());
        let found = index.find_mut(hash, |other| *other == id)?;
        *found = entries.insert(Entry { hash, key, value });
        Some(*found)
    }

    pub(super) fn get(&self, id: Id) -> Option<(&K, &V)> {
        self.entries.get(id).map(|entry| (&entry.key, &entry.value))
    }

    pub(super) fn get_mut(&mut self, id: Id) -> Option<(&K, &mut V)> {
        self.entries.get_mut(id).map(|entry| (&entry.key, &mut entry.value))
    }

    pub(super) fn remove(&mut self, id: Id) -> Option<(K, V)> {
        let Entry { hash, key, value } = self.entries.remove(id)?;
        if let Ok(entry) = self.index.find_entry(hash, |other| *other == id) {
            entry.remove();
        }
        Some((key, value))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Id, &K, &V)> {
        self.entries.iter().map(|(id, entry)| (id, &entry.key, &entry.value))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (Id, &K, &mut V)> {
        self.entries.iter_mut().map(|(id, entry)| (id, &entry.key, &mut entry.value))
    }
}

#[cfg(test)]
mod tests {
    use slotmap::DefaultKey;

    use super::*;

    #[test]
    fn ids_are_stable_and_never_reused() {
        let mut interner: Interner<DefaultKey, String, u32> = Interner::new();
        let ids: Vec<_> = (0..1_000).map(|n| interner.intern(format!("key {n}"), || n)).collect();
        for (n, id) in ids.iter().enumerate() {
            assert_eq!(
                interner.intern(format!("key {n}"), || unreachable!("the key is interned")),
                *id
            );
        }

        let removed = ids[500];
        assert_eq!(interner.remove(removed), Some(("key 500".to_owned(), 500)));

        assert_eq!(interner.get(removed), None);
        assert_eq!(interner.remove(removed), None);
        assert_eq!(interner.index.len(), 999, "the index has no trace of it");
        let again = interner.intern("key 500".to_owned(), || 0);
        assert_ne!(again, removed);
        assert_eq!(interner.get(again), Some((&"key 500".to_owned(), &0)));
        assert_eq!(interner.iter().count(), 1_000);
    }

    #[test]
    fn superseded_entry_is_found_by_id_and_removes_only_itself() {
        let mut interner: Interner<DefaultKey, &str, u32> = Interner::new();
        let old = interner.intern("key", || 1);

        let new = interner.supersede(old, 2).unwrap();

        assert_eq!(interner.intern("key", || 3), new);
        assert_eq!(interner.get(old), Some((&"key", &1)));
        assert_eq!(interner.supersede(old, 4), None, "superseded already");
        assert_eq!(interner.remove(old), Some(("key", 1)));
        assert_eq!(interner.intern("key", || 5), new);
        assert_eq!(interner.remove(new), Some(("key", 2)));
        assert!(interner.index.is_empty() && interner.entries.is_empty());
    }
}

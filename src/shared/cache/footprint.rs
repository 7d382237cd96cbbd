//! The memory footprint of the cache, in bytes, with shared parts counted once. Pure.

use std::{borrow::Borrow, hash::Hash};

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::Key;
use crate::model::{
    evaluation::{ConfigValue, Evaluation},
    user::User,
};

/// Counts the bytes of all entries, and lets equal users and equal values share one copy.
///
/// Each request brings its own `User`, and each answer its own text, even if they are equal. With
/// one copy of each, the count is exact. If each entry counted its shared parts in full, the cache
/// would evict entries while there is room.
#[derive(Debug, Default)]
pub(super) struct Footprint {
    /// The number of entries that share each copy.
    users: HashMap<User, usize, RandomState>,
    values: HashMap<ByText, usize, RandomState>,
    bytes: usize,
}

/// A config's value, compared by its text: equal values that are written differently stay different.
#[derive(Clone, Debug)]
struct ByText(ConfigValue);

/// The bytes of an entry without its name, user and value: the parts of fixed size, in the map and
/// in the scan order, and the overhead of tables and allocator.
const ENTRY: usize = 2 * size_of::<Key>() + size_of::<Evaluation>() + 208;

/// The overhead of a user or a value, in addition to its text.
const SHARED: usize = 128;

impl Footprint {
    /// Returns the bytes of all entries.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds an entry. Replaces its user and value with the copies that other entries share.
    pub(super) fn add(&mut self, key: &mut Key, evaluation: &mut Evaluation) {
        self.bytes += own(key, evaluation);
        match share(&mut self.users, &key.user) {
            Some(user) => key.user = user,
            None => {
                self.bytes += of_user(&key.user);
                self.users.insert(key.user.clone(), 1);
            }
        }
        let Some(value) = evaluation.value() else { return };
        match share(&mut self.values, value.get()) {
            Some(ByText(value)) => *evaluation = evaluation.with_value(value),
            None => {
                self.bytes += of_value(value);
                self.values.insert(ByText(value.clone()), 1);
            }
        }
    }

    /// Removes an entry.
    pub(super) fn remove(&mut self, key: &Key, evaluation: &Evaluation) {
        self.bytes -= own(key, evaluation);
        if unshare(&mut self.users, &key.user) {
            self.bytes -= of_user(&key.user);
        }
        if let Some(value) = evaluation.value()
            && unshare(&mut self.values, value.get())
        {
            self.bytes -= of_value(value);
        }
    }
}

/// Returns the bytes of an entry that shares nothing.
pub(super) fn unshared(key: &Key, evaluation: &Evaluation) -> usize {
    own(key, evaluation) + of_user(&key.user) + evaluation.value().map_or(0, of_value)
}

fn own(key: &Key, evaluation: &Evaluation) -> usize {
    ENTRY + key.name.len() + evaluation.ids_len()
}

fn of_user(user: &User) -> usize {
    SHARED + user.json().len()
}

fn of_value(value: &ConfigValue) -> usize {
    SHARED + value.get().len()
}

/// Returns the shared copy, if there is one, and counts one more entry for it.
fn share<K, Q>(copies: &mut HashMap<K, usize, RandomState>, key: &Q) -> Option<K>
where
    K: Borrow<Q> + Clone + Eq + Hash,
    Q: Eq + Hash + ?Sized,
{
    let (copy, entries) = copies.get_key_value_mut(key)?;
    *entries += 1;
    Some(copy.clone())
}

/// Counts one entry less for a copy. After the last entry, removes the copy and returns `true`.
fn unshare<K, Q>(copies: &mut HashMap<K, usize, RandomState>, key: &Q) -> bool
where
    K: Borrow<Q> + Eq + Hash,
    Q: Eq + Hash + ?Sized,
{
    let Some(entries) = copies.get_mut(key) else { return false };
    *entries -= 1;
    *entries == 0 && copies.remove(key).is_some()
}

impl Borrow<str> for ByText {
    fn borrow(&self) -> &str {
        self.0.get()
    }
}

impl PartialEq for ByText {
    fn eq(&self, other: &Self) -> bool {
        self.0.get() == other.0.get()
    }
}

impl Eq for ByText {}

impl Hash for ByText {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.get().hash(state);
    }
}

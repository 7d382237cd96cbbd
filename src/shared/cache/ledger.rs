//! What the kept evaluations weigh together, in bytes, with what they share counted once. Pure.

use std::{borrow::Borrow, hash::Hash};

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::Key;
use crate::model::{
    evaluation::{ConfigValue, Evaluation},
    user::User,
};

/// Counts the bytes of all entries, and has equal users and equal values share one copy.
///
/// Each request brings a `User` of its own, and each answer a text of its own, however often they are
/// equal. With one copy the count is exact: if each entry weighed the whole of what it shares, entries
/// would be evicted though there is room.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    users: HashMap<User, usize, RandomState>,
    values: HashMap<ByText, usize, RandomState>,
    bytes: usize,
}

/// A value compared by its text: an equal value that is written differently is handed on differently.
#[derive(Clone, Debug)]
struct ByText(ConfigValue);

/// What an entry takes beside its name, its user and its value: the parts of fixed size, which stand in
/// the map and in the row, and what tables and the allocator add.
const ENTRY: usize = 2 * size_of::<Key>() + size_of::<Evaluation>() + 208;

/// The same of a user and of a value, beside their texts.
const SHARED: usize = 128;

impl Ledger {
    /// The weight of all entries.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// An entry comes. It gets the copy of its user and of its value that others have already.
    pub(super) fn enter(&mut self, key: &mut Key, evaluation: &mut Evaluation) {
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

    /// An entry has gone.
    pub(super) fn leave(&mut self, key: &Key, evaluation: &Evaluation) {
        self.bytes -= own(key, evaluation);
        if was_last(&mut self.users, &key.user) {
            self.bytes -= of_user(&key.user);
        }
        if let Some(value) = evaluation.value()
            && was_last(&mut self.values, value.get())
        {
            self.bytes -= of_value(value);
        }
    }
}

/// What an entry weighs that shares nothing.
pub(super) fn whole(key: &Key, evaluation: &Evaluation) -> usize {
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

/// The copy that is there, for one entry more.
fn share<K, Q>(copies: &mut HashMap<K, usize, RandomState>, key: &Q) -> Option<K>
where
    K: Borrow<Q> + Clone + Eq + Hash,
    Q: Eq + Hash + ?Sized,
{
    let (copy, entries) = copies.get_key_value_mut(key)?;
    *entries += 1;
    Some(copy.clone())
}

/// One entry fewer has the copy; whether it was the last.
fn was_last<K, Q>(copies: &mut HashMap<K, usize, RandomState>, key: &Q) -> bool
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

//! The keys of callers with access, compared in constant time.

use std::sync::{Arc, PoisonError, RwLock};

use subtle::{Choice, ConstantTimeEq};

/// A list of keys. Clones share the list, even after `replace`. Not `Debug`, because keys are
/// secret.
#[derive(Clone, Default)]
pub(crate) struct Keys(Arc<RwLock<Vec<Key>>>);

/// A key, padded with zeros. Keys are visible ASCII, so padding does not make different keys equal.
#[derive(Clone)]
struct Key([u8; MAX_LENGTH]);

/// The length of the longest key, in bytes.
const MAX_LENGTH: usize = 256;

const RULE: &str = "must be visible ASCII characters, 256 at most";

impl Keys {
    /// Parses keys separated by commas.
    pub(crate) fn from_list(text: &str) -> Result<Self, String> {
        let keys = text.split(',').map(str::trim).enumerate();
        let keys = keys.map(|(at, key)| Key::new(key).ok_or_else(|| (at + 1).to_string()));
        let keys: Result<_, _> = keys.collect();
        keys.map(Self::new).map_err(|at| format!("key {at} {RULE}"))
    }

    /// Parses one key per line. Skips empty lines and comments.
    pub(crate) fn from_lines(text: &str) -> Result<Self, String> {
        let lines = text.lines().map(str::trim).enumerate();
        let keys = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let keys = keys.map(|(at, key)| Key::new(key).ok_or(at + 1));
        let keys: Vec<_> =
            keys.collect::<Result<_, _>>().map_err(|at| format!("line {at}: a key {RULE}"))?;
        if keys.is_empty() {
            Err("expected at least one key, found none".to_owned())
        } else {
            Ok(Self::new(keys))
        }
    }

    fn new(keys: Vec<Key>) -> Self {
        Self(Arc::new(RwLock::new(keys)))
    }

    pub(crate) fn len(&self) -> usize {
        self.read(Vec::len)
    }

    pub(crate) fn extend(&mut self, others: Self) {
        let others = others.read(Vec::clone);
        self.0.write().unwrap_or_else(PoisonError::into_inner).extend(others);
    }

    /// Replaces the keys in every clone.
    pub(crate) fn replace(&self, others: Self) {
        let others = others.read(Vec::clone);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = others;
    }

    /// Whether the key is listed. Compares every key in full, so the time taken does not reveal
    /// which key matches, or how much of one.
    pub(crate) fn contains(&self, key: &str) -> bool {
        let Some(key) = Key::new(key) else { return false };
        self.read(|keys| {
            let equal = keys.iter().map(|listed| listed.0.ct_eq(&key.0));
            equal.fold(Choice::from(0), |any, equal| any | equal).into()
        })
    }

    fn read<T>(&self, read: impl FnOnce(&Vec<Key>) -> T) -> T {
        read(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Key {
    fn new(text: &str) -> Option<Self> {
        let is_key = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        let mut padded = [0; MAX_LENGTH];
        padded.get_mut(..text.len()).filter(|_| is_key)?.copy_from_slice(text.as_bytes());
        Some(Self(padded))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_matches_only_as_a_whole() {
        let keys = Keys::from_list("caller-one, caller-two").unwrap();
        assert!(keys.contains("caller-one") && keys.contains("caller-two"));

        let longest = "k".repeat(MAX_LENGTH);
        assert!(Keys::from_list(&longest).unwrap().contains(&longest));

        for near in ["", "caller-on", "caller-one ", "caller-one\0", "caller-one,", "caller-oneo"] {
            assert!(!keys.contains(near), "{near:?}");
        }
        assert!(!keys.contains(&"k".repeat(MAX_LENGTH + 1)));
        assert!(!Keys::default().contains("caller-one") && !Keys::default().contains(""));
    }

    #[test]
    fn keys_that_are_replaced_are_so_for_each_who_has_them() {
        let keys = Keys::from_list("caller-one").unwrap();
        let same = keys.clone();

        keys.replace(Keys::from_list("caller-two,caller-three").unwrap());

        assert!(same.contains("caller-two") && !same.contains("caller-one"));
        assert_eq!(same.len(), 2);
    }

    #[test]
    fn key_file_may_have_comments_and_empty_lines() {
        let keys =
            Keys::from_lines("# ours\r\n\r\ncaller-one\r\n  caller-two  \n#caller-three").unwrap();

        assert!(keys.contains("caller-one") && keys.contains("caller-two"));
        assert!(!keys.contains("caller-three") && !keys.contains("#caller-three"));
    }

    #[test]
    fn invalid_key_is_refused_by_place_and_not_shown() {
        let long = "k".repeat(MAX_LENGTH + 1);
        for (text, place) in
            [("", "key 1 "), ("fine,", "key 2 "), ("fine,two words", "key 2 "), (&long, "key 1 ")]
        {
            let said = Keys::from_list(text).map(drop).unwrap_err();
            assert!(said.starts_with(place) && !said.contains("two"), "{said}");
        }
        let said = Keys::from_lines("fine\n\nclé").map(drop).unwrap_err();
        assert_eq!(said, format!("line 3: a key {RULE}"));
        assert_eq!(
            Keys::from_lines("# none\n").map(drop).unwrap_err(),
            "expected at least one key, found none"
        );
    }
}

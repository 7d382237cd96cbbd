//! The API key, which may change while the component runs.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering::SeqCst},
};

use secrecy::{ExposeSecret, SecretString};

/// The newest key, and the number of its changes.
#[derive(Debug)]
pub(crate) struct ApiKey {
    newest: Mutex<SecretString>,
    changes: AtomicU64,
}

impl ApiKey {
    pub(crate) fn new(key: &str) -> Self {
        Self { newest: Mutex::new(SecretString::from(key)), changes: AtomicU64::new(0) }
    }

    /// Changes the key. Returns `false` if it is the same.
    pub(crate) fn change(&self, key: &str) -> bool {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if newest.expose_secret() == key {
            return false;
        }
        *newest = SecretString::from(key);
        self.changes.fetch_add(1, SeqCst);
        true
    }

    /// Returns whether the text contains the newest key, as it is or escaped as in JSON.
    pub(crate) fn is_in(&self, text: &str) -> bool {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let key = newest.expose_secret();
        let escaped = serde_json::Value::from(key).to_string();
        text.contains(key) || text.contains(escaped.trim_matches('"'))
    }

    /// Returns the number of changes of the key.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(SeqCst)
    }

    /// Returns the newest key if it has changed since this number of changes, and updates the
    /// number.
    pub(crate) fn newer_than(&self, changes: &mut u64) -> Option<SecretString> {
        if *changes == self.changes() {
            return None;
        }
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        *changes = self.changes();
        Some(newest.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_key_is_seen_once_by_each_reader() {
        let key = ApiKey::new("one");
        let mut seen = key.changes();
        assert!(!key.change("one"));
        assert!(key.newer_than(&mut seen).is_none());

        assert!(key.change("two") && key.change("three"));
        let newest = key.newer_than(&mut seen).unwrap();
        assert_eq!(newest.expose_secret(), "three");
        assert!(key.newer_than(&mut seen).is_none());
    }

    #[test]
    fn key_is_found_in_a_text_also_where_it_is_escaped() {
        let key = ApiKey::new(r#"a"\b"#);
        assert!(key.is_in(r#"-a"\b-"#) && key.is_in(r#"{"key": "a\"\\b"}"#) && !key.is_in("a"));
    }

    #[test]
    fn promise_7_debug_output_shows_no_key() {
        let key = ApiKey::new("hunter2");
        key.change("hunter3");
        assert!(!format!("{key:?}").contains("hunter"));
    }
}

//! Fallbacks: defaults in place of answers. Each is logged, counted and reported to a hook.

use std::{
    fmt::Display,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::model::{call_kind::CallKind, error::Error, text::beginning};

/// A default that was used in place of an answer.
/// [`ConfigBuilder::on_fallback`](crate::ConfigBuilder::on_fallback) reports each.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Fallback {
    /// The operation: a check of a gate or a read of a config.
    pub kind: CallKind,
    /// The name of the gate or config; at most its first 100 bytes.
    pub name: Arc<str>,
    /// The config's key, if the app read one; at most its first 200 bytes.
    pub key: Option<Arc<str>>,
    /// Why there was no answer.
    pub error: Error,
}

impl Fallback {
    /// Shortens the name and the key: the fallback may wait in a queue for a hook.
    pub(crate) fn new(kind: CallKind, name: Arc<str>, key: Option<Arc<str>>, error: Error) -> Self {
        const NAME: usize = 100;
        const KEY: usize = 200;
        Self { kind, name: cut(name, NAME), key: key.map(|key| cut(key, KEY)), error }
    }

    /// Logs the fallback: as a warning with the number of fallbacks since the last warning, or at DEBUG if
    /// it is too early for a warning.
    pub(crate) fn log(&self, fallbacks: Option<u64>) {
        const NAME: usize = 100;
        const ERROR: usize = 500;
        let Self { kind, name, key, error } = self;
        let operation = kind.operation();
        // Short text fields, which are escaped: names may come from requests, and the error repeats
        // them.
        let name = || short(name, NAME);
        let key = || key.as_ref().map(|key| short(key, NAME));
        let error = || short(error, ERROR);
        match fallbacks {
            Some(fallbacks) => tracing::warn!(
                fallbacks,
                operation,
                name = name(),
                key = key(),
                error = error(),
                "a default replaced an answer"
            ),
            None => tracing::debug!(
                operation,
                name = name(),
                key = key(),
                error = error(),
                "a default replaced an answer"
            ),
        }
    }
}

fn cut(text: Arc<str>, longest: usize) -> Arc<str> {
    if text.len() <= longest { text } else { beginning(&text, longest).into() }
}

/// Returns the beginning of a value's text.
fn short(value: &impl Display, longest: usize) -> String {
    beginning(&value.to_string(), longest).to_owned()
}

/// Allows one warning a second, so that an outage does not fill the log.
#[derive(Debug, Default)]
pub(crate) struct LogThrottle(Mutex<SinceLast>);

/// The events since the last warning.
#[derive(Debug, Default)]
struct SinceLast {
    warned_at: Option<Instant>,
    events: u64,
}

const PAUSE: Duration = Duration::from_secs(1);

impl LogThrottle {
    /// Counts an event. Returns the number of events since the last warning if a warning is allowed now.
    pub(crate) fn note(&self, now: Instant) -> Option<u64> {
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        since.events += 1;
        if since.warned_at.is_some_and(|at| now.saturating_duration_since(at) < PAUSE) {
            return None;
        }
        since.warned_at = Some(now);
        Some(std::mem::take(&mut since.events))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queued_hook_event_cuts_long_names_and_keys() {
        let long: Arc<str> = "é".repeat(100_000).into();
        let (kind, key) = (CallKind::GetConfig, Some(Arc::clone(&long)));
        let fallback = Fallback::new(kind, long, key, Error::ShuttingDown);
        assert_eq!(&*fallback.name, "é".repeat(50));
        assert_eq!(fallback.key.as_deref(), Some(&*"é".repeat(100)));
    }

    #[test]
    fn first_fallback_in_a_second_warns_and_counts_the_rest() {
        let warnings = LogThrottle::default();
        #[allow(clippy::disallowed_methods)]
        let start = Instant::now();
        let at = |ms| warnings.note(start + Duration::from_millis(ms));

        assert_eq!(at(0), Some(1));
        assert_eq!(at(1), None);
        assert_eq!(at(999), None);
        assert_eq!(at(1_000), Some(3));
        assert_eq!(at(5_000), Some(1));
    }
}

//! Defaults that stand in for answers: made visible each time, for nobody else sees that they are
//! none.

use std::{
    fmt::Display,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::model::{call_kind::CallKind, error::Error, evaluation::beginning};

/// A default that stood in for an answer, as
/// [`ConfigBuilder::on_fallback`](crate::ConfigBuilder::on_fallback) is told of it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Fallback {
    /// What was asked for, a gate or a config.
    pub kind: CallKind,
    /// The gate's or config's name, or the beginning of one that is too long to be a name.
    pub name: Arc<str>,
    /// The config's key, if one was asked for; of a long one the first 200 bytes.
    pub key: Option<Arc<str>>,
    /// Why there was no answer.
    pub error: Error,
}

impl Fallback {
    /// It may wait for a hook, so it keeps no more of a name or a key than tells which it was.
    pub(crate) fn new(kind: CallKind, name: Arc<str>, key: Option<Arc<str>>, error: Error) -> Self {
        const NAME: usize = 100;
        const KEY: usize = 200;
        Self { kind, name: begin(name, NAME), key: key.map(|key| begin(key, KEY)), error }
    }

    /// As a warning if it is time for one, which counts those there were since the last.
    pub(crate) fn log(&self, fallbacks: Option<u64>) {
        const NAME: usize = 100;
        const ERROR: usize = 500;
        let Self { kind, name, key, error } = self;
        let operation = kind.operation();
        // Fields of text, which is escaped, and short: names may come from anywhere, and the error
        // repeats them.
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
                "a default stands in for an answer"
            ),
            None => tracing::debug!(
                operation,
                name = name(),
                key = key(),
                error = error(),
                "a default stands in for an answer"
            ),
        }
    }
}

fn begin(text: Arc<str>, longest: usize) -> Arc<str> {
    if text.len() <= longest { text } else { beginning(&text, longest).into() }
}

/// The beginning of what it shows.
fn short(what: &impl Display, longest: usize) -> String {
    what.to_string().chars().take(longest).collect()
}

/// Lets one event a second be a warning: an outage would fill the log with nothing else.
#[derive(Debug, Default)]
pub(crate) struct LogThrottle(Mutex<Since>);

#[derive(Debug, Default)]
struct Since {
    last: Option<Instant>,
    events: u64,
}

const PAUSE: Duration = Duration::from_secs(1);

impl LogThrottle {
    /// Counts an event; gives the number of them since the last warning if it is time for one.
    pub(crate) fn note(&self, now: Instant) -> Option<u64> {
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        since.events += 1;
        if since.last.is_some_and(|last| now.saturating_duration_since(last) < PAUSE) {
            return None;
        }
        since.last = Some(now);
        Some(std::mem::take(&mut since.events))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_a_hook_keeps_no_long_name_and_no_long_key() {
        let long: Arc<str> = "é".repeat(100_000).into();
        let (kind, key) = (CallKind::GetConfig, Some(Arc::clone(&long)));
        let fallback = Fallback::new(kind, long, key, Error::ShuttingDown);
        assert_eq!(&*fallback.name, "é".repeat(50));
        assert_eq!(fallback.key.as_deref(), Some(&*"é".repeat(100)));
    }

    #[test]
    fn the_first_in_a_second_is_a_warning_which_counts_those_that_were_none() {
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

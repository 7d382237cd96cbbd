//! The last errors of requests, for the page. Pure.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use serde::{Serialize, Serializer};

/// The most distinct errors to keep. An outage repeats a few of them.
const MAX_ERRORS: usize = 20;

/// The longest message, in characters. Some messages quote a client or a server.
const MAX_LENGTH: usize = 300;

/// The last errors, the latest first. Equal errors are one entry.
#[derive(Debug, Default)]
pub(crate) struct RecentErrors(VecDeque<Entry>);

#[derive(Debug)]
struct Entry {
    kind: &'static str,
    message: String,
    times: u64,
    last: Instant,
}

/// An entry, at one moment.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct ErrorEntry<'a> {
    kind: &'a str,
    message: &'a str,
    /// How often the error has occurred since its entry was made.
    times: u64,
    /// The time since the error last occurred.
    #[serde(rename = "ago_ms", serialize_with = "milliseconds")]
    ago: Duration,
}

impl RecentErrors {
    /// Records that a request got this error.
    pub(crate) fn record(&mut self, kind: &'static str, message: &str, now: Instant) {
        let message: String = message.chars().take(MAX_LENGTH).collect();
        let equal = |entry: &Entry| entry.kind == kind && entry.message == message;
        let known = self.0.iter().position(equal).and_then(|at| self.0.remove(at));
        let times = known.map_or(0, |entry| entry.times) + 1;
        self.0.push_front(Entry { kind, message, times, last: now });
        self.0.truncate(MAX_ERRORS);
    }

    /// Returns the entries, the latest first.
    pub(crate) fn at(&self, now: Instant) -> Vec<ErrorEntry<'_>> {
        let entries = self.0.iter().map(|entry| ErrorEntry {
            kind: entry.kind,
            message: &entry.message,
            times: entry.times,
            ago: now.saturating_duration_since(entry.last),
        });
        entries.collect()
    }
}

fn milliseconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use actix_statsig::{CallKind, Error};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[allow(clippy::disallowed_methods)]
    fn start() -> Instant {
        Instant::now()
    }

    fn record(recent: &mut RecentErrors, error: &Error, now: Instant) {
        recent.record(error.kind().as_str(), &error.to_string(), now);
    }

    fn times(recent: &RecentErrors, now: Instant) -> Vec<(&str, u64)> {
        recent.at(now).into_iter().map(|seen| (seen.kind, seen.times)).collect()
    }

    #[test]
    fn equal_errors_are_one_entry_also_where_others_came_between() {
        let (start, mut recent) = (start(), RecentErrors::default());
        let overloaded = Error::overloaded(7);

        record(&mut recent, &overloaded, start);
        record(&mut recent, &Error::ShuttingDown, start + SECOND);
        record(&mut recent, &overloaded, start + 3 * SECOND);
        record(&mut recent, &Error::overloaded(8), start + 4 * SECOND);

        let now = start + 5 * SECOND;
        assert_eq!(
            times(&recent, now),
            [("overloaded", 1), ("overloaded", 2), ("shutting_down", 1)]
        );
        let seen = serde_json::to_value(recent.at(now)).unwrap();
        let message = "overloaded: more than 7 names would be pending (`max_pending`)";
        let expected = serde_json::json!(
            {"kind": "overloaded", "message": message, "times": 2, "ago_ms": 2000}
        );
        assert_eq!(seen[1], expected);
    }

    #[test]
    fn only_so_many_are_kept_and_no_message_is_long() {
        let (now, mut recent) = (start(), RecentErrors::default());
        let refused = |status| Error::refused(CallKind::GetConfig, status, "é".repeat(400));

        for status in 400..450 {
            record(&mut recent, &refused(status), now);
        }

        let seen = recent.at(now);
        assert_eq!(seen.len(), MAX_ERRORS);
        assert!(seen[0].message.contains("449"), "{}", seen[0].message);
        assert!(seen.iter().all(|seen| seen.message.chars().count() == MAX_LENGTH));
    }
}

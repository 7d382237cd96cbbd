//! The last errors that requests were answered with, for the page. Pure.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use actix_statsig::Error;
use serde::{Serialize, Serializer};

/// So many different errors are kept, the latest first: an outage repeats a few, time and again.
const KEPT: usize = 20;

/// The longest message that is kept, in characters: some quote what a client or a server said.
const LONGEST: usize = 300;

/// The last errors, equal ones as one.
#[derive(Debug, Default)]
pub(crate) struct RecentErrors(VecDeque<Entry>);

#[derive(Debug)]
struct Entry {
    kind: &'static str,
    message: String,
    times: u64,
    last: Instant,
}

/// One of them, as it was at some moment.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Seen<'a> {
    kind: &'a str,
    message: &'a str,
    /// How often it occurred since it was first kept.
    times: u64,
    /// How long ago it occurred last.
    #[serde(rename = "ago_ms", serialize_with = "milliseconds")]
    ago: Duration,
}

impl RecentErrors {
    /// A request has been answered with this.
    pub(crate) fn note(&mut self, error: &Error, now: Instant) {
        let kind = error.kind().as_str();
        let message: String = error.to_string().chars().take(LONGEST).collect();
        let equal = |entry: &Entry| entry.kind == kind && entry.message == message;
        let known = self.0.iter().position(equal).and_then(|at| self.0.remove(at));
        let times = known.map_or(0, |entry| entry.times) + 1;
        self.0.push_front(Entry { kind, message, times, last: now });
        self.0.truncate(KEPT);
    }

    /// What is kept, the latest first.
    pub(crate) fn at(&self, now: Instant) -> Vec<Seen<'_>> {
        let seen = self.0.iter().map(|entry| Seen {
            kind: entry.kind,
            message: &entry.message,
            times: entry.times,
            ago: now.saturating_duration_since(entry.last),
        });
        seen.collect()
    }
}

fn milliseconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use actix_statsig::CallKind;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[allow(clippy::disallowed_methods)]
    fn start() -> Instant {
        Instant::now()
    }

    fn times(recent: &RecentErrors, now: Instant) -> Vec<(&str, u64)> {
        recent.at(now).into_iter().map(|seen| (seen.kind, seen.times)).collect()
    }

    #[test]
    fn equal_errors_are_one_entry_also_where_others_came_between() {
        let (start, mut recent) = (start(), RecentErrors::default());
        let overloaded = Error::overloaded(7);

        recent.note(&overloaded, start);
        recent.note(&Error::ShuttingDown, start + SECOND);
        recent.note(&overloaded, start + 3 * SECOND);
        recent.note(&Error::overloaded(8), start + 4 * SECOND);

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
            recent.note(&refused(status), now);
        }

        let seen = recent.at(now);
        assert_eq!(seen.len(), KEPT);
        assert!(seen[0].message.contains("449"), "{}", seen[0].message);
        assert!(seen.iter().all(|seen| seen.message.chars().count() == LONGEST));
    }
}

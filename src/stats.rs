//! Counters, and the snapshot of them that the app sees.

use std::{
    array,
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use serde::Serialize;

use crate::error::{Error, KINDS};

/// What the component has done so far, as [`Statsig::stats`](crate::Statsig::stats) saw it.
///
/// At a quiet moment `requests` is the sum of `answered`, all `errors` and `abandoned`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// Requests received, those that were refused included.
    pub requests: u64,
    /// Names those requests asked for, duplicates included.
    pub names: u64,
    /// Calls handed to the transport; retries of a call are not counted again.
    pub calls: u64,
    /// Requests answered with evaluations.
    pub answered: u64,
    /// Requests answered with an error, by [`Error::kind`]; kinds that never occurred are left out.
    pub errors: BTreeMap<&'static str, u64>,
    /// Requests whose callers left before the answer.
    pub abandoned: u64,
    /// Distinct names waiting for the next flush, now.
    pub buffered: u64,
    /// Calls the transport has taken and not yet answered, now.
    pub in_flight: u64,
    /// Restarts of the `BatchActor` and the `TransportActor` by their supervisors.
    pub restarts: u64,
}

/// The counters behind [`Stats`], written by the actors and, for what it refuses, by the handle.
#[derive(Debug)]
pub(crate) struct Counters {
    pub(crate) requests: AtomicU64,
    pub(crate) names: AtomicU64,
    pub(crate) calls: AtomicU64,
    pub(crate) answered: AtomicU64,
    pub(crate) abandoned: AtomicU64,
    pub(crate) buffered: AtomicU64,
    pub(crate) in_flight: AtomicU64,
    pub(crate) restarts: AtomicU64,
    errors: [AtomicU64; KINDS.len()],
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            requests: AtomicU64::default(),
            names: AtomicU64::default(),
            calls: AtomicU64::default(),
            answered: AtomicU64::default(),
            abandoned: AtomicU64::default(),
            buffered: AtomicU64::default(),
            in_flight: AtomicU64::default(),
            restarts: AtomicU64::default(),
            errors: array::from_fn(|_| AtomicU64::default()),
        }
    }
}

impl Counters {
    pub(crate) fn received(&self, names: usize) {
        self.requests.fetch_add(1, Relaxed);
        self.names.fetch_add(names as u64, Relaxed);
    }

    pub(crate) fn answered<T>(&self, result: &Result<T, Error>) {
        self.count_of(result).fetch_add(1, Relaxed);
    }

    pub(crate) fn abandoned(&self) {
        self.abandoned.fetch_add(1, Relaxed);
    }

    /// What was counted as answered found nobody.
    pub(crate) fn abandoned_instead<T>(&self, result: &Result<T, Error>) {
        self.count_of(result).fetch_sub(1, Relaxed);
        self.abandoned();
    }

    fn count_of<T>(&self, result: &Result<T, Error>) -> &AtomicU64 {
        match result {
            Ok(_) => &self.answered,
            Err(error) => &self.errors[error.index()],
        }
    }

    pub(crate) fn snapshot(&self) -> Stats {
        let counts = self.errors.iter().map(|count| count.load(Relaxed));
        Stats {
            requests: self.requests.load(Relaxed),
            names: self.names.load(Relaxed),
            calls: self.calls.load(Relaxed),
            answered: self.answered.load(Relaxed),
            errors: KINDS.into_iter().zip(counts).filter(|(_, count)| *count > 0).collect(),
            abandoned: self.abandoned.load(Relaxed),
            buffered: self.buffered.load(Relaxed),
            in_flight: self.in_flight.load(Relaxed),
            restarts: self.restarts.load(Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_counts_answers_and_each_kind_of_error() {
        let counters = Counters::default();
        counters.received(2);
        counters.received(1);
        counters.answered(&Ok(()));
        counters.answered::<()>(&Err(Error::ShuttingDown));

        let stats = counters.snapshot();

        assert_eq!((stats.requests, stats.names, stats.answered), (2, 3, 1));
        assert_eq!(stats.errors, BTreeMap::from([("shutting_down", 1)]));
    }
}

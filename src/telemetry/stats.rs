//! Counters, and their snapshot for the app.

use std::{
    array,
    collections::BTreeMap,
    sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed},
    time::Instant,
};

use serde::Serialize;

use super::{
    latency::{Latencies, Latency},
    striped_counter::StripedCounter,
};
use crate::model::{
    error::{Error, ErrorKind},
    evaluation::{Evaluation, Origin},
};

/// A snapshot of what the component has done so far, from [`Statsig::stats`](crate::Statsig::stats).
///
/// At a quiet moment `requests` is the sum of `answered`, all `errors` and `abandoned`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// Requests received, including refused ones.
    pub requests: u64,
    /// Names in those requests, duplicates included.
    pub names: u64,
    /// Names answered from the cache.
    pub cached: u64,
    /// Cached names answered with a stale evaluation, because Statsig failed.
    pub stale: u64,
    /// Names that joined a call in flight.
    pub joined: u64,
    /// Calls handed to the transport; retries of a call are not counted again.
    pub calls: u64,
    /// Of these, calls refused without an attempt: by the open circuit breaker, or during a
    /// `Retry-After`.
    pub refused_calls: u64,
    /// Attempts beyond the first of a call, including those after a reused connection broke, and calls
    /// for a part of the names of a refused call.
    pub retries: u64,
    /// Requests answered with evaluations.
    pub answered: u64,
    /// Names answered with evaluations, stale ones included. `answered_names - stale -
    /// answered_calls` is the number of calls saved, compared with one call for each name.
    pub answered_names: u64,
    /// Calls that were answered with evaluations.
    pub answered_calls: u64,
    /// Requests answered with an error, by [`Error::kind`]; kinds that never occurred are left out.
    pub errors: BTreeMap<ErrorKind, u64>,
    /// Defaults used in place of answers, by the [`Error::kind`] of the error; kinds that never occurred
    /// are left out.
    pub fallbacks: BTreeMap<ErrorKind, u64>,
    /// Events dropped because the hooks could not keep up.
    pub hooks_missed: u64,
    /// Requests whose callers left before the answer.
    pub abandoned: u64,
    /// Distinct names waiting for the next flush, now.
    pub buffered: u64,
    /// Calls without an outcome yet, now.
    pub in_flight: u64,
    /// Restarts of the `BatchActor` and the `TransportActor` after a panic or another fault of their
    /// own.
    pub restarts: u64,
    /// The state of the circuit breaker, now.
    pub breaker: BreakerState,
    /// Whether the last call failed: by an outage or a refusal of the key, not by a refusal of its user
    /// or names. An answered probe of the circuit breaker resets it too.
    ///
    /// A failed call does not count if only its user is affected: the user's previous call failed
    /// too, and other users have been answered since.
    pub last_call_failed: bool,
    /// Whether a shutdown has begun, or the server has received its signal to shut down
    /// (`web::serve`).
    pub is_leaving: bool,
    /// Recent waits of calls before their first attempt: in the queue, for a probe of the circuit
    /// breaker, or until a `Retry-After` has passed. Calls without an attempt count too.
    pub queueing: Latency,
    /// Recent durations of calls, from the `BatchActor` to their outcome: queueing, attempts and the
    /// pauses between them. Calls refused without an attempt are not included.
    pub call: Latency,
}

impl Stats {
    /// Returns `true` if Statsig is likely to answer now: the circuit breaker is closed, the last call has
    /// not failed, and no shutdown has begun.
    ///
    /// Only a call can show that Statsig is back. If readiness decides whether the app gets traffic, call
    /// [`probe`](crate::Statsig::probe) while the component is not ready.
    pub fn is_ready(&self) -> bool {
        self.breaker == BreakerState::Closed && !self.last_call_failed && !self.is_leaving
    }
}

/// The state of the circuit breaker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BreakerState {
    /// Calls are sent.
    #[default]
    Closed,
    /// The last calls failed in a row. New calls wait for the next probe, for at most two seconds.
    Open,
    /// A probe is in flight and decides the next state.
    HalfOpen,
}

/// The counters behind [`Stats`]. The actors write them; the handle counts hits and refusals.
#[derive(Debug)]
pub(crate) struct Counters {
    pub(crate) requests: AtomicU64,
    pub(crate) names: AtomicU64,
    pub(crate) cached: AtomicU64,
    pub(crate) stale: AtomicU64,
    pub(crate) joined: AtomicU64,
    pub(crate) calls: AtomicU64,
    pub(crate) refused_calls: AtomicU64,
    pub(crate) retries: AtomicU64,
    pub(crate) answered: AtomicU64,
    answered_names: AtomicU64,
    answered_calls: AtomicU64,
    pub(crate) abandoned: AtomicU64,
    pub(crate) buffered: AtomicU64,
    pub(crate) in_flight: AtomicU64,
    pub(crate) restarts: AtomicU64,
    pub(crate) queueing: Latencies,
    pub(crate) call: Latencies,
    /// Requests answered by the handle from the cache. The snapshot adds them to `requests`, `names`,
    /// `cached`, `answered` and `answered_names`.
    pub(crate) hits: StripedCounter,
    breaker: AtomicU8,
    last_call_failed: AtomicBool,
    errors: ByKind,
    fallbacks: ByKind,
}

/// A count for each kind of error.
type ByKind = [AtomicU64; ErrorKind::ALL.len()];

impl Default for Counters {
    fn default() -> Self {
        Self {
            requests: AtomicU64::default(),
            names: AtomicU64::default(),
            cached: AtomicU64::default(),
            stale: AtomicU64::default(),
            joined: AtomicU64::default(),
            hits: StripedCounter::default(),
            calls: AtomicU64::default(),
            refused_calls: AtomicU64::default(),
            retries: AtomicU64::default(),
            answered: AtomicU64::default(),
            answered_names: AtomicU64::default(),
            answered_calls: AtomicU64::default(),
            abandoned: AtomicU64::default(),
            buffered: AtomicU64::default(),
            in_flight: AtomicU64::default(),
            restarts: AtomicU64::default(),
            queueing: Latencies::default(),
            call: Latencies::default(),
            breaker: AtomicU8::default(),
            last_call_failed: AtomicBool::default(),
            errors: array::from_fn(|_| AtomicU64::default()),
            fallbacks: array::from_fn(|_| AtomicU64::default()),
        }
    }
}

impl Counters {
    pub(crate) fn received(&self, names: usize) {
        self.requests.fetch_add(1, Relaxed);
        self.names.fetch_add(names as u64, Relaxed);
    }

    /// Counts a request that the handle answered from the cache.
    pub(crate) fn hit(&self, names: usize, stale: usize) {
        self.hits.add(names);
        if stale > 0 {
            self.stale.fetch_add(stale as u64, Relaxed);
        }
    }

    /// Counts the names of an answer, and those that came from the cache.
    pub(crate) fn answered_with(&self, evaluations: &[Evaluation]) {
        self.answered_names.fetch_add(evaluations.len() as u64, Relaxed);
        let origins = evaluations.iter().map(Evaluation::origin);
        let hits = origins.filter(|origin| *origin != Origin::Network);
        let (cached, stale) = hits.fold((0, 0), |(cached, stale), origin| {
            (cached + 1, stale + u64::from(origin.is_stale()))
        });
        if cached > 0 {
            self.cached.fetch_add(cached, Relaxed);
            self.stale.fetch_add(stale, Relaxed);
        }
    }

    pub(crate) fn answered<T>(&self, result: &Result<T, Error>) {
        self.count_of(result).fetch_add(1, Relaxed);
    }

    pub(crate) fn abandoned(&self) {
        self.abandoned.fetch_add(1, Relaxed);
    }

    /// Takes back an answer whose caller has left, and counts it as abandoned.
    pub(crate) fn abandoned_instead<T>(&self, result: &Result<T, Error>) {
        self.count_of(result).fetch_sub(1, Relaxed);
        self.abandoned();
    }

    pub(crate) fn fell_back(&self, error: &Error) {
        self.fallbacks[error.kind() as usize].fetch_add(1, Relaxed);
    }

    /// Counts the end of a call. Returns whether the call failed, and whether this differs from the
    /// last call. A failure that affects one user alone changes nothing.
    pub(crate) fn call_ended<T>(
        &self,
        outcome: &Result<T, Error>,
        is_ones_own: bool,
    ) -> (bool, bool) {
        if outcome.is_ok() {
            self.answered_calls.fetch_add(1, Relaxed);
        }
        let failed = outcome.as_ref().is_err_and(Error::is_failure);
        if is_ones_own {
            return (failed, false);
        }
        (failed, self.last_call_failed.swap(failed, Relaxed) != failed)
    }

    /// Notes that Statsig answered a probe. Returns `true` if the last call had failed.
    pub(crate) fn is_answering(&self) -> bool {
        self.last_call_failed.swap(false, Relaxed)
    }

    /// Sets the breaker's state. Returns the previous state.
    pub(crate) fn breaker_is(&self, state: BreakerState) -> BreakerState {
        BreakerState::ALL[usize::from(self.breaker.swap(state as u8, Relaxed))]
    }

    fn count_of<T>(&self, result: &Result<T, Error>) -> &AtomicU64 {
        match result {
            Ok(_) => &self.answered,
            Err(error) => &self.errors[error.kind() as usize],
        }
    }

    pub(crate) fn snapshot(&self, now: Instant) -> Stats {
        let (hits, hit_names) = self.hits.sum();
        Stats {
            requests: self.requests.load(Relaxed) + hits,
            names: self.names.load(Relaxed) + hit_names,
            cached: self.cached.load(Relaxed) + hit_names,
            stale: self.stale.load(Relaxed),
            joined: self.joined.load(Relaxed),
            calls: self.calls.load(Relaxed),
            refused_calls: self.refused_calls.load(Relaxed),
            retries: self.retries.load(Relaxed),
            answered: self.answered.load(Relaxed) + hits,
            answered_names: self.answered_names.load(Relaxed) + hit_names,
            answered_calls: self.answered_calls.load(Relaxed),
            errors: by_kind(&self.errors),
            fallbacks: by_kind(&self.fallbacks),
            hooks_missed: 0,
            is_leaving: false,
            abandoned: self.abandoned.load(Relaxed),
            buffered: self.buffered.load(Relaxed),
            in_flight: self.in_flight.load(Relaxed),
            restarts: self.restarts.load(Relaxed),
            breaker: BreakerState::ALL[usize::from(self.breaker.load(Relaxed))],
            last_call_failed: self.last_call_failed.load(Relaxed),
            queueing: self.queueing.read(now),
            call: self.call.read(now),
        }
    }
}

fn by_kind(counts: &ByKind) -> BTreeMap<ErrorKind, u64> {
    let counts = counts.iter().map(|count| count.load(Relaxed));
    ErrorKind::ALL.into_iter().zip(counts).filter(|(_, count)| *count > 0).collect()
}

impl BreakerState {
    const ALL: [Self; 3] = [Self::Closed, Self::Open, Self::HalfOpen];
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::evaluation::GateEvaluation;

    fn snapshot(counters: &Counters) -> Stats {
        #[allow(clippy::disallowed_methods)]
        counters.snapshot(Instant::now())
    }

    #[test]
    fn snapshot_counts_answers_and_each_kind_of_error() {
        let counters = Counters::default();
        counters.received(2);
        counters.received(1);
        counters.answered(&Ok(()));
        counters.answered::<()>(&Err(Error::ShuttingDown));

        let stats = snapshot(&counters);

        assert_eq!((stats.requests, stats.names, stats.answered), (2, 3, 1));
        assert_eq!(stats.errors, BTreeMap::from([(ErrorKind::ShuttingDown, 1)]));
    }

    #[test]
    fn savings_count_answered_names_not_asked_ones() {
        let counters = Counters::default();
        let limit = Duration::from_secs(1);
        counters.received(3);
        counters.answered::<()>(&Err(Error::Overloaded { limit: 1 }));
        counters.call_ended::<()>(&Err(Error::AttemptTimeout { limit }), false);
        let answered = |counters: &Counters| {
            let stats = snapshot(counters);
            (stats.answered_names, stats.answered_calls)
        };
        assert_eq!(answered(&counters), (0, 0));

        let gate = Evaluation::Gate(GateEvaluation::new("beta", true));
        counters.call_ended(&Ok(()), false);
        counters.answered_with(&[gate.clone(), gate.clone(), gate]);
        counters.hit(2, 0);
        assert_eq!(answered(&counters), (5, 1));
    }

    #[test]
    fn ready_unless_breaker_open_or_last_call_failed() {
        let counters = Counters::default();
        let is_ready = || snapshot(&counters).is_ready();
        let (path, excerpt) = ("/v1/check_gate", String::new());
        assert!(is_ready());

        let timeout = Error::AttemptTimeout { limit: Duration::from_secs(1) };
        for error in [timeout, Error::Unauthorized { path, status: 401 }] {
            counters.call_ended::<()>(&Err(error), false);
            assert!(!is_ready());
            counters.call_ended(&Ok(()), false);
            assert!(is_ready());
        }
        counters.call_ended::<()>(&Err(Error::Refused { path, status: 400, excerpt }), false);
        assert!(is_ready(), "a refusal is an answer");

        counters.breaker_is(BreakerState::HalfOpen);
        assert!(!is_ready());
    }
}

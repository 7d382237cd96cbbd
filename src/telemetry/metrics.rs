//! The component's metrics, through the facade of the crate `metrics` (feature `metrics`).
//!
//! The recorder that the app installs gets these metrics. Labels never contain the name of a gate or a
//! user.
//!
//! | counter | what it counts |
//! |---|---|
//! | `statsig_requests_total` | requests received |
//! | `statsig_names_total` | names in those requests |
//! | `statsig_cached_names_total` | names answered from the cache |
//! | `statsig_stale_names_total` | cached names answered with a stale evaluation, because Statsig failed |
//! | `statsig_joined_names_total` | names that joined a call in flight |
//! | `statsig_calls_total` | calls handed to the transport |
//! | `statsig_refused_calls_total` | of these, calls refused without an attempt |
//! | `statsig_retries_total` | attempts beyond the first of a call |
//! | `statsig_answered_requests_total` | requests answered with evaluations |
//! | `statsig_answered_names_total` | names answered with evaluations |
//! | `statsig_answered_calls_total` | calls answered with evaluations |
//! | `statsig_failed_requests_total{kind}` | requests answered with an error, by [`Error::kind`] |
//! | `statsig_abandoned_requests_total` | requests whose callers left before the answer |
//! | `statsig_fallbacks_total{kind}` | defaults used in place of answers, by [`Error::kind`] |
//! | `statsig_missed_hook_events_total` | events dropped because the hooks could not keep up |
//! | `statsig_restarts_total` | restarts of the actors after a fault of their own |
//!
//! Each `kind` is published from the start, with 0 if it has not occurred.
//!
//! | gauge | what it shows |
//! |---|---|
//! | `statsig_buffered_names` | distinct names that wait for the next flush |
//! | `statsig_in_flight_calls` | calls without an outcome yet |
//! | `statsig_breaker{state}` | 1 for the circuit breaker's state, `closed`, `open` or `half_open` |
//! | `statsig_ready` | 1 if [`Stats::is_ready`] |
//!
//! | histogram | unit | what it measures |
//! |---|---|---|
//! | `statsig_call_duration_seconds{operation, outcome}` | seconds | a call in the transport: its wait in the queue, its attempts and the pauses between them |
//! | `statsig_attempt_duration_seconds{operation, outcome}` | seconds | one HTTP attempt of a call; the circuit breaker's probes are not counted |
//! | `statsig_queue_duration_seconds{operation}` | seconds | a call's wait before its first attempt: in the queue, for a probe of the circuit breaker, or until a `Retry-After` has passed; calls without an attempt count too |
//! | `statsig_call_names{operation}` | names | the names in a call |
//!
//! `operation` is `check_gate` or `get_config`; `outcome` is `ok` or an [`Error::kind`]. Several
//! components of one process add up.
//!
//! Histograms are recorded at once. Counters and gauges are counted by the component itself, so
//! that an answer from the cache stays cheap. Call [`Statsig::publish_metrics`] to publish them
//! just before each scrape, or [`Statsig::publish_metrics_every`] to publish them every few
//! seconds. Install the recorder before the component starts: anything published without a recorder
//! is lost. The recorder of `metrics-exporter-prometheus` turns histograms into summaries unless
//! you set buckets (`PrometheusBuilder::set_buckets`).
//!
//! [`Statsig::publish_metrics`]: crate::Statsig::publish_metrics
//! [`Statsig::publish_metrics_every`]: crate::Statsig::publish_metrics_every

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use metrics::{
    Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};

use super::stats::{BreakerState, Stats};
use crate::model::{
    call_kind::CallKind,
    error::{Error, ErrorKind, outcome},
};

type ByKind = BTreeMap<ErrorKind, u64>;

/// The statistics that have been published so far.
#[derive(Debug, Default)]
pub(crate) struct Published(Mutex<Option<Stats>>);

impl Published {
    /// Publishes the changes of counters and gauges since the last publication, because other
    /// components of the process add to the same metrics. The lock covers the read, so statistics
    /// are published in order.
    pub(crate) fn publish(&self, read: impl FnOnce() -> Stats) {
        let mut published = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = read();
        let before = published.take();
        if before.is_none() {
            describe();
        }
        show(before.as_ref(), Some(&now));
        let before = before.unwrap_or_default();
        count(&before, &now);
        *published = Some(highest(before, now));
    }
}

impl Drop for Published {
    /// Resets the gauges: a component that has ended has nothing buffered and is not ready.
    fn drop(&mut self) {
        let published = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        show(published.as_ref(), None);
    }
}

fn count(before: &Stats, now: &Stats) {
    for (counter, before, now) in [
        (counter!("statsig_requests_total"), before.requests, now.requests),
        (counter!("statsig_names_total"), before.names, now.names),
        (counter!("statsig_cached_names_total"), before.cached, now.cached),
        (counter!("statsig_stale_names_total"), before.stale, now.stale),
        (counter!("statsig_joined_names_total"), before.joined, now.joined),
        (counter!("statsig_calls_total"), before.calls, now.calls),
        (counter!("statsig_refused_calls_total"), before.refused_calls, now.refused_calls),
        (counter!("statsig_retries_total"), before.retries, now.retries),
        (counter!("statsig_answered_requests_total"), before.answered, now.answered),
        (counter!("statsig_answered_names_total"), before.answered_names, now.answered_names),
        (counter!("statsig_answered_calls_total"), before.answered_calls, now.answered_calls),
        (counter!("statsig_abandoned_requests_total"), before.abandoned, now.abandoned),
        (counter!("statsig_missed_hook_events_total"), before.hooks_missed, now.hooks_missed),
        (counter!("statsig_restarts_total"), before.restarts, now.restarts),
    ] {
        counter.increment(now.saturating_sub(before));
    }
    // Publishes each kind from the start: Prometheus sees no increase in a counter whose first
    // value is 5.
    for kind in ErrorKind::ALL {
        let errors = more(&before.errors, &now.errors, kind);
        counter!("statsig_failed_requests_total", "kind" => kind.as_str()).increment(errors);
        let fallbacks = more(&before.fallbacks, &now.fallbacks, kind);
        counter!("statsig_fallbacks_total", "kind" => kind.as_str()).increment(fallbacks);
    }
}

fn more(before: &ByKind, now: &ByKind, kind: ErrorKind) -> u64 {
    let of = |counts: &ByKind| counts.get(&kind).copied().unwrap_or_default();
    of(now).saturating_sub(of(before))
}

/// Returns the statistics that are published after `now`. Some counts can decrease, because an
/// answer whose caller has left is taken back.
fn highest(before: Stats, now: Stats) -> Stats {
    let Stats { answered, mut errors, .. } = before;
    for (kind, count) in &now.errors {
        let highest = errors.entry(*kind).or_default();
        *highest = (*highest).max(*count);
    }
    Stats { answered: answered.max(now.answered), errors, ..now }
}

fn show(before: Option<&Stats>, now: Option<&Stats>) {
    let change = |value: fn(&Stats) -> f64| now.map_or(0.0, value) - before.map_or(0.0, value);
    for (gauge, change) in [
        (gauge!("statsig_buffered_names"), change(|stats| stats.buffered as f64)),
        (gauge!("statsig_in_flight_calls"), change(|stats| stats.in_flight as f64)),
        (gauge!("statsig_ready"), change(|stats| f64::from(stats.is_ready()))),
        (
            gauge!("statsig_breaker", "state" => "closed"),
            change(|stats| f64::from(stats.breaker == BreakerState::Closed)),
        ),
        (
            gauge!("statsig_breaker", "state" => "open"),
            change(|stats| f64::from(stats.breaker == BreakerState::Open)),
        ),
        (
            gauge!("statsig_breaker", "state" => "half_open"),
            change(|stats| f64::from(stats.breaker == BreakerState::HalfOpen)),
        ),
    ] {
        gauge.increment(change);
    }
}

/// Records that a call is handed to a transport.
pub(crate) fn call_began(kind: CallKind, names: usize) {
    histogram!("statsig_call_names", "operation" => kind.operation()).record(names as f64);
}

/// Records the wait of a call before its first attempt, or before it ended without one.
pub(crate) fn call_waited(kind: CallKind, waited: Duration) {
    histogram!("statsig_queue_duration_seconds", "operation" => kind.operation()).record(waited);
}

/// Records the end of an attempt.
pub(crate) fn attempt_ended<T>(kind: CallKind, took: Duration, result: Result<T, &Error>) {
    histogram!(
        "statsig_attempt_duration_seconds",
        "operation" => kind.operation(), "outcome" => outcome(result)
    )
    .record(took);
}

/// Records the end of a call.
pub(crate) fn call_ended<T>(kind: CallKind, took: Duration, result: Result<T, &Error>) {
    histogram!(
        "statsig_call_duration_seconds",
        "operation" => kind.operation(), "outcome" => outcome(result)
    )
    .record(took);
}

fn describe() {
    for (name, unit, text) in [
        ("statsig_requests_total", Unit::Count, "requests received"),
        ("statsig_names_total", Unit::Count, "names in requests"),
        ("statsig_cached_names_total", Unit::Count, "names answered from the cache"),
        ("statsig_stale_names_total", Unit::Count, "names answered with a stale evaluation"),
        ("statsig_joined_names_total", Unit::Count, "names that joined a call in flight"),
        ("statsig_calls_total", Unit::Count, "calls handed to the transport"),
        ("statsig_refused_calls_total", Unit::Count, "calls refused without an attempt"),
        ("statsig_retries_total", Unit::Count, "attempts beyond the first of a call"),
        ("statsig_answered_requests_total", Unit::Count, "requests answered with evaluations"),
        ("statsig_answered_names_total", Unit::Count, "names answered with evaluations"),
        ("statsig_answered_calls_total", Unit::Count, "calls answered with evaluations"),
        ("statsig_failed_requests_total", Unit::Count, "requests answered with an error"),
        ("statsig_abandoned_requests_total", Unit::Count, "requests whose callers left"),
        ("statsig_fallbacks_total", Unit::Count, "defaults used in place of answers"),
        (
            "statsig_missed_hook_events_total",
            Unit::Count,
            "events dropped because the hooks could not keep up",
        ),
        ("statsig_restarts_total", Unit::Count, "restarts of the actors"),
    ] {
        describe_counter!(name, unit, text);
    }
    for (name, text) in [
        ("statsig_buffered_names", "distinct names that wait for the next flush"),
        ("statsig_in_flight_calls", "calls without an outcome yet"),
        ("statsig_breaker", "the circuit breaker's state"),
        ("statsig_ready", "whether the breaker is closed and the last call has not failed"),
    ] {
        describe_gauge!(name, Unit::Count, text);
    }
    for (name, unit, text) in [
        ("statsig_call_duration_seconds", Unit::Seconds, "a call in the transport"),
        ("statsig_attempt_duration_seconds", Unit::Seconds, "one HTTP attempt"),
        ("statsig_queue_duration_seconds", Unit::Seconds, "a call's wait before its first attempt"),
        ("statsig_call_names", Unit::Count, "names in a call"),
    ] {
        describe_histogram!(name, unit, text);
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    fn stats(answered: u64, timeouts: u64) -> Stats {
        let errors = [(ErrorKind::Timeout, timeouts)].into_iter().filter(|(_, count)| *count > 0);
        Stats { answered, errors: errors.collect(), ..Stats::default() }
    }

    #[test]
    fn value_taken_back_and_added_again_counts_once() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let published = Published::default();
        metrics::with_local_recorder(&recorder, || {
            for (answered, timeouts) in [(1, 1), (0, 0), (1, 1), (0, 0), (2, 3)] {
                published.publish(|| stats(answered, timeouts));
            }
        });
        let text = recorder.handle().render();
        for line in [
            "statsig_answered_requests_total 2",
            "statsig_failed_requests_total{kind=\"timeout\"} 3",
        ] {
            assert!(text.lines().any(|of| of == line), "{line}: {text}");
        }
    }
}

//! What the component sends to the recorder of the `metrics` facade, read as Prometheus reads it.
#![cfg(all(feature = "metrics", feature = "test-util"))]

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use actix_rt::System;
use actix_statsig::{
    ErrorKind, Statsig,
    test_util::{Fault, LocalStatsig, Rules},
};
use futures_util::future::join_all;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use prometheus_parse::{Sample, Scrape, Value};

use crate::support::{Script, config, user, virtual_time};

const MINUTE: Duration = Duration::from_secs(60);

/// A recorder for this thread, which gets all metrics of a component started here.
fn recorder() -> PrometheusRecorder {
    let seconds = &[0.001, 0.01, 0.1, 1.0, 10.0, 100.0];
    PrometheusBuilder::new().set_buckets(seconds).expect("buckets").build_recorder()
}

fn text(recorder: &PrometheusRecorder) -> String {
    recorder.handle().render()
}

fn samples(recorder: &PrometheusRecorder) -> Vec<Sample> {
    let text = text(recorder);
    // The parser skips what it cannot read.
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        assert_eq!(parse(line).len(), 1, "{line}");
    }
    parse(&text)
}

fn parse(text: &str) -> Vec<Sample> {
    let lines = text.lines().map(|line| Ok(line.to_owned()));
    Scrape::parse(lines).expect("text that Prometheus can read").samples
}

/// The value of a series, named as Prometheus shows it.
fn value(recorder: &PrometheusRecorder, series: &str) -> Option<f64> {
    let samples = samples(recorder);
    let sample = samples.iter().find(|sample| {
        let labels = sample.labels.iter().map(|(name, value)| format!("{name}={value:?}"));
        let mut labels: Vec<_> = labels.collect();
        labels.sort();
        let of =
            if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        format!("{}{of}", sample.metric) == series
    })?;
    match &sample.value {
        Value::Counter(value) | Value::Gauge(value) | Value::Untyped(value) => Some(*value),
        Value::Histogram(buckets) => buckets.last().map(|bucket| bucket.count),
        Value::Summary(_) => None,
    }
}

/// Asserts that the scrape has every documented metric, with the documented labels, and no other.
fn assert_documented(recorder: &PrometheusRecorder) {
    let documented = documented();
    let mut seen = BTreeSet::new();
    for sample in samples(recorder) {
        let base = sample.metric.trim_end_matches("_sum").trim_end_matches("_count");
        let metric = documented.get(base).unwrap_or_else(|| panic!("{base}"));
        let labels: BTreeSet<_> = sample.labels.keys().map(String::as_str).collect();
        assert_eq!(labels, metric.labels, "{base}");
        seen.insert(base.to_owned());
    }
    assert!(documented.keys().all(|name| seen.contains(*name)), "{seen:?}");
    let text = text(recorder);
    for (name, metric) in documented {
        assert!(text.contains(&format!("# HELP {name} ")), "{name}");
        assert!(text.contains(&format!("# TYPE {name} {}\n", metric.kind)), "{name}");
    }
}

#[test]
fn scrape_has_exactly_the_documented_metrics() {
    let recorder = recorder();
    let _guard = metrics::set_default_local_recorder(&recorder);
    System::new().block_on(async {
        // Given a server that fails one call temporarily and another permanently
        let server = LocalStatsig::start(Rules::new().gate("beta", true)).unwrap();
        let config = config().base_url(server.url()).cache_ttl(Duration::from_secs(600));
        let statsig = Statsig::start_in_current_arbiter(config.build().unwrap()).unwrap();

        // When requests are made
        server.inject(Fault::status(503));
        statsig.check_gates(&user("u-1"), ["beta", "gamma"]).await.unwrap();
        statsig.get_config(&user("u-1"), "homepage").await.unwrap();
        let (statsig, again) = (&statsig, &user("u-1"));
        join_all((0..10).map(|_| statsig.check_gate(again, "beta"))).await;
        server.inject(Fault::status(401));
        assert!(statsig.check_gate_or(&user("somebody"), "gamma", true).await);
        statsig.publish_metrics();

        // Then the scrape has the right values
        for (series, expected) in [
            ("statsig_requests_total", 13.0),
            ("statsig_names_total", 14.0),
            ("statsig_cached_names_total", 10.0),
            ("statsig_stale_names_total", 0.0),
            ("statsig_joined_names_total", 0.0),
            ("statsig_calls_total", 3.0),
            ("statsig_refused_calls_total", 0.0),
            ("statsig_retries_total", 1.0),
            ("statsig_answered_requests_total", 12.0),
            (r#"statsig_failed_requests_total{kind="unauthorized"}"#, 1.0),
            (r#"statsig_fallbacks_total{kind="unauthorized"}"#, 1.0),
            ("statsig_abandoned_requests_total", 0.0),
            ("statsig_missed_hook_events_total", 0.0),
            ("statsig_restarts_total", 0.0),
            ("statsig_buffered_names", 0.0),
            ("statsig_in_flight_calls", 0.0),
            ("statsig_ready", 0.0),
            (r#"statsig_breaker{state="closed"}"#, 1.0),
            (r#"statsig_breaker{state="open"}"#, 0.0),
            (r#"statsig_breaker{state="half_open"}"#, 0.0),
            (r#"statsig_call_names{operation="check_gate"}"#, 2.0),
            (r#"statsig_queue_duration_seconds{operation="get_config"}"#, 1.0),
            (r#"statsig_call_duration_seconds{operation="check_gate",outcome="ok"}"#, 1.0),
            (
                r#"statsig_call_duration_seconds{operation="check_gate",outcome="unauthorized"}"#,
                1.0,
            ),
            (r#"statsig_call_duration_seconds{operation="get_config",outcome="ok"}"#, 1.0),
            (r#"statsig_attempt_duration_seconds{operation="check_gate",outcome="ok"}"#, 1.0),
            (
                r#"statsig_attempt_duration_seconds{operation="check_gate",outcome="unavailable"}"#,
                1.0,
            ),
        ] {
            assert_eq!(value(&recorder, series), Some(expected), "{series}");
        }

        // And the scrape has every documented metric, with these labels, and no other
        assert_documented(&recorder);
        let text = text(&recorder);
        for private in ["u-1", "somebody", "beta", "gamma", "homepage", "secret"] {
            assert!(!text.contains(private), "{private}");
        }
    });
}

/// A row of the tables in the module's docs.
struct Documented {
    kind: &'static str,
    labels: BTreeSet<&'static str>,
}

/// The tables in the module's docs, by metric name.
fn documented() -> BTreeMap<&'static str, Documented> {
    let mut kind = "";
    let mut metrics = BTreeMap::new();
    for line in include_str!("../../src/telemetry/metrics.rs").lines() {
        let Some(cell) = line.strip_prefix("//! | ").and_then(|row| row.split(" |").next()) else {
            continue;
        };
        let Some(series) = cell.strip_prefix('`') else {
            kind = cell;
            continue;
        };
        let (name, labels) = series
            .trim_end_matches(['`', '}'])
            .split_once('{')
            .unwrap_or((series.trim_end_matches('`'), ""));
        let labels = labels.split(", ").filter(|label| !label.is_empty()).collect();
        metrics.insert(name, Documented { kind, labels });
    }
    metrics
}

#[test]
fn durations_are_in_seconds_and_names_are_counted() {
    let recorder = recorder();
    let _guard = metrics::set_default_local_recorder(&recorder);
    System::new().block_on(async {
        // Given a server that never answers, an attempt timeout of 0.1 s, and a limit of one call
        // in flight
        let server = LocalStatsig::start(Rules::new()).unwrap();
        server.inject(Fault::hang().always());
        let config = config().base_url(server.url()).max_in_flight(1).retry_attempts(1);
        let config = config.timeout(MINUTE).attempt_timeout(Duration::from_millis(100));
        let statsig = Statsig::start_in_current_arbiter(config.build().unwrap()).unwrap();

        // When two requests are made at once
        let ask = |id: &'static str| {
            let statsig = statsig.clone();
            async move { statsig.check_gates(&user(id), ["beta", "gamma"]).await.unwrap_err() }
        };
        join_all(["u-1", "u-2"].map(ask)).await;

        // Then the sums are tenths of a second; in milliseconds they would be hundreds
        let sum = |series: &str| value(&recorder, series).unwrap_or_else(|| panic!("{series}"));
        for metric in ["statsig_call_duration_seconds", "statsig_attempt_duration_seconds"] {
            let labels = r#"operation="check_gate",outcome="attempt_timeout""#;
            let sum = sum(&format!("{metric}_sum{{{labels}}}"));
            assert!((0.2..100.0).contains(&sum), "{metric}: {sum}");
        }
        let waited = sum(r#"statsig_queue_duration_seconds_sum{operation="check_gate"}"#);
        assert!(waited > 0.0 && waited < 50.0, "{waited}");
        assert_eq!(sum(r#"statsig_call_names_sum{operation="check_gate"}"#), 4.0);
    });
}

#[test]
fn waits_of_calls_without_a_place_are_measured() {
    let recorder = recorder();
    let _guard = metrics::set_default_local_recorder(&recorder);
    System::new().block_on(async {
        let server = LocalStatsig::start(Rules::new()).unwrap();
        let config = config().base_url(server.url()).max_in_flight(1).retry_attempts(1);

        // Given three calls, the first of which is alone in flight until its deadline
        let patient = config.clone().timeout(Duration::from_millis(200)).attempt_timeout(MINUTE);
        let statsig = Statsig::start_in_current_arbiter(patient.build().unwrap()).unwrap();
        server.inject(Fault::hang());
        statsig.get_configs(&user("u-1"), ["one", "two", "three"]).await.unwrap_err();
        statsig.shutdown(MINUTE).await;

        // Then each wait is counted
        let waits = r#"statsig_queue_duration_seconds{operation="get_config"}"#;
        assert_eq!((statsig.stats().queueing.count, value(&recorder, waits)), (3, Some(3.0)));

        // Given twenty calls, the first ten of which open the circuit breaker
        let statsig = Statsig::start_in_current_arbiter(config.build().unwrap()).unwrap();
        server.inject(Fault::status(503).always());
        let statsig = &statsig;
        let ask = |n: u32| async move { statsig.check_gate(&user(n), "beta").await.unwrap_err() };
        let errors = join_all((0..20).map(ask)).await;
        assert_eq!(
            errors.iter().filter(|error| error.kind() == ErrorKind::CircuitOpen).count(),
            10
        );

        // Then the refused calls have waited as well
        let waits = r#"statsig_queue_duration_seconds{operation="check_gate"}"#;
        assert_eq!((statsig.stats().queueing.count, value(&recorder, waits)), (20, Some(20.0)));

        // And only calls with attempts have a duration
        let stats = statsig.stats();
        assert_eq!((stats.calls, stats.refused_calls, stats.call.count), (20, 10, 10));
    });
}

#[test]
fn failure_counters_exist_before_the_first_failure() {
    let recorder = recorder();
    let _guard = metrics::set_default_local_recorder(&recorder);
    virtual_time(async {
        let statsig = Script::answering().start(config());
        statsig.publish_metrics();

        for metric in ["statsig_failed_requests_total", "statsig_fallbacks_total"] {
            for kind in ["timeout", "circuit_open", "unauthorized", "invalid_name", "overloaded"] {
                let series = format!("{metric}{{kind={kind:?}}}");
                assert_eq!(value(&recorder, &series), Some(0.0), "{series}");
            }
        }
    });
}

#[test]
fn published_counters_add_up_over_components() {
    let recorder = recorder();
    let _guard = metrics::set_default_local_recorder(&recorder);
    virtual_time(async {
        // Given two components
        let (one, other) = (Script::answering(), Script::answering());
        let (one, other) = (one.start(config()), other.start(config()));
        one.check_gate(&user("u-1"), "beta").await.unwrap();
        other.check_gates(&user("u-1"), ["beta", "gamma"]).await.unwrap();

        // When they publish, more than once
        for statsig in [&one, &other, &one] {
            statsig.publish_metrics();
        }
        one.check_gate(&user("u-2"), "beta").await.unwrap();
        one.publish_metrics();

        // Then the sums are right
        assert_eq!(value(&recorder, "statsig_names_total"), Some(4.0));
        assert_eq!(value(&recorder, "statsig_ready"), Some(2.0));

        // And when one has ended, its gauges are no longer counted
        other.shutdown(Duration::ZERO).await;
        drop(other);
        assert_eq!(value(&recorder, "statsig_ready"), Some(1.0));
        assert_eq!(value(&recorder, "statsig_names_total"), Some(4.0));
    });
}

#[test]
fn concurrent_publishing_counts_once() {
    let recorder = &recorder();
    let nowhere = config().base_url("http://127.0.0.1:9").build().unwrap();
    let statsig = Statsig::start(nowhere).unwrap();
    let refuse = || {
        let system = System::new();
        for _ in 0..2_000 {
            system.block_on(statsig.check_gate(&user("u-1"), "a/b")).unwrap_err();
        }
    };
    let publish = || {
        for _ in 0..2_000 {
            metrics::with_local_recorder(recorder, || statsig.publish_metrics());
        }
    };

    std::thread::scope(|scope| {
        scope.spawn(refuse);
        scope.spawn(publish);
        scope.spawn(publish);
    });
    metrics::with_local_recorder(recorder, || statsig.publish_metrics());

    assert_eq!(value(recorder, "statsig_requests_total"), Some(2_000.0));
}

#[test]
fn periodic_publishing_ends_with_the_component() {
    let recorder = recorder();
    let _guard = metrics::set_default_local_recorder(&recorder);
    virtual_time(async {
        let statsig = Script::answering().start(config());
        let publishing = actix_rt::spawn(statsig.publish_metrics_every(Duration::from_secs(5)));
        let asked = || value(&recorder, "statsig_requests_total");

        for expected in [1.0, 2.0] {
            statsig.check_gate(&user("u-1"), "beta").await.unwrap();
            actix_rt::time::sleep(Duration::from_secs(6)).await;
            assert_eq!(asked(), Some(expected));
        }

        statsig.check_gate(&user("u-1"), "beta").await.unwrap();
        drop(statsig);
        publishing.await.unwrap();
        assert_eq!(asked(), Some(3.0));
    });
}

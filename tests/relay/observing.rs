//! What those who run the relay see of it: ids, logs, metrics, readiness.

use std::time::Duration;

use actix_statsig::test_util::{Fault, LocalStatsig, Rules};
use awc::http::{StatusCode, header::CONTENT_TYPE};
use prometheus_parse::{HistogramCount, Scrape, Value as Figure};
use serde_json::{Value, json};

use crate::{
    gate,
    program::{Ended, KEY, Relay, limited, read},
    support::upstream::{Mood, Upstream},
};

const NO_RETRY: [&str; 4] = ["--cache-ttl", "0", "--retry-attempts", "1"];

async fn before(upstream: &LocalStatsig, options: &[&str]) -> Relay {
    let url = upstream.url();
    let options = [&["--upstream", &url], &NO_RETRY[..], options].concat();
    Relay::start_with(&options, &[("STATSIG_API_KEY", KEY)]).await
}

async fn stop(mut relay: Relay) -> Ended {
    relay.signal("TERM");
    relay.ended().await
}

async fn ask(relay: &Relay, body: &Value, id: Option<&str>) -> (Option<String>, Value) {
    let request = relay.client.post(relay.url("/v1/check_gate"));
    let request =
        id.into_iter().fold(request, |request, id| request.insert_header(("x-request-id", id)));
    let response = limited(request.send_json(body)).await.unwrap();
    let id = response.headers().get("x-request-id");
    let id = id.map(|id| id.to_str().unwrap().to_owned());
    (id, read(response).await.1)
}

#[actix_rt::test]
async fn request_id_is_kept_or_made_and_repeated_in_errors() {
    let upstream = Upstream::start(Mood::Answer);
    let relay = Relay::start(&upstream, &[]).await;
    let (good, bad) = (gate("u", 1), json!({"gateName": "beta"}));

    assert_eq!(ask(&relay, &good, Some("order-17/b")).await.0.unwrap(), "order-17/b");
    let (id, answer) = ask(&relay, &bad, Some("order-17/b")).await;
    assert_eq!(
        (id.unwrap().as_str(), &answer["error"]["request_id"]),
        ("order-17/b", &json!("order-17/b"))
    );

    for odd in [None, Some("two words"), Some("a\"b"), Some(&*"x".repeat(200))] {
        let made = ask(&relay, &good, odd).await.0.unwrap();
        assert!(made.len() == 32 && made.bytes().all(|byte| byte.is_ascii_hexdigit()), "{made}");
        let (id, answer) = ask(&relay, &bad, odd).await;
        assert_ne!(id.as_ref(), Some(&made));
        assert_eq!(answer["error"]["request_id"], json!(id));
    }
    // What is not served has one as well.
    let (_, answer) = relay.get("/nowhere").await;
    assert!(answer["error"]["request_id"].is_string(), "{answer}");
}

#[actix_rt::test]
async fn request_is_one_debug_line_without_its_user() {
    // It does not have the user in its rule ids, which a call's line has.
    let upstream = LocalStatsig::start(Rules::sample()).unwrap();
    let relay = before(&upstream, &["--log", "debug", "--log-format", "json"]).await;
    let body = json!({"gateName": "beta", "user": {"userID": "jane", "email": "jane@example.org"}});
    ask(&relay, &body, Some("r-1")).await;
    let misspelt = json!({"gateName": "beta!jane", "user": {"userID": "jane"}});
    ask(&relay, &misspelt, Some("r-2")).await;
    let ended = stop(relay).await;

    let lines: Vec<Value> =
        ended.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (id, status, error) in [("r-1", 200, None), ("r-2", 400, Some("invalid_name"))] {
        let is_its =
            |line: &&Value| line["spans"][0]["request_id"] == id && line["status"].is_u64();
        let its: Vec<_> = lines.iter().filter(is_its).collect();
        let [line] = its[..] else { panic!("{its:?}") };
        assert_eq!(
            (&line["level"], &line["method"], &line["path"]),
            (&json!("DEBUG"), &json!("POST"), &json!("/v1/check_gate"))
        );
        assert_eq!((&line["status"], line["error"].as_str()), (&json!(status), error));
        assert!(line["duration_us"].is_u64(), "{line}");
    }
    assert!(!ended.stderr.contains("jane"), "{}", ended.stderr);
}

#[actix_rt::test]
async fn normal_work_logs_nothing_and_failures_warn_with_ids() {
    let upstream = LocalStatsig::start(Rules::sample()).unwrap();
    let relay = before(&upstream, &[]).await;
    ask(&relay, &gate("u", 1), Some("r-fine")).await;
    ask(&relay, &json!({}), Some("r-bad")).await;
    upstream.inject(Fault::status(503));
    ask(&relay, &gate("u", 2), Some("r-failed")).await;
    let ended = stop(relay).await;

    let served: Vec<_> =
        ended.stderr.lines().take_while(|line| !line.contains("draining")).collect();
    let [outage, warning] = served[..] else { panic!("{}", ended.stderr) };
    assert!(outage.contains(" WARN ") && outage.contains("calls to Statsig fail"), "{outage}");
    for part in [" WARN ", "r-failed", "/v1/check_gate", "502", "unavailable", "answered 503"] {
        assert!(warning.contains(part), "{part}: {warning}");
    }
}

#[actix_rt::test]
async fn misspelt_variable_is_a_warning_without_its_value() {
    let variables = [("STATSIG_FLUSH_INTERVAL_MS", "5-hunter2")];
    let ended = stop(Relay::start_with(&[], &variables).await).await;

    let is_about_it = |line: &&str| line.contains("STATSIG_FLUSH_INTERVAL_MS");
    let warnings: Vec<_> = ended.stderr.lines().filter(is_about_it).collect();
    let [warning] = warnings[..] else { panic!("{}", ended.stderr) };
    assert!(warning.contains(" WARN ") && !ended.stderr.contains("hunter2"), "{warning}");
}

#[actix_rt::test]
async fn refused_key_is_one_error_line_and_the_relay_goes_on() {
    let upstream = LocalStatsig::start(Rules::sample()).unwrap();
    upstream.require_key("another key");
    let relay = before(&upstream, &[]).await;
    for number in 0..3 {
        let (status, answer) = relay.post("/v1/check_gate", &gate("u", number)).await;
        assert_eq!((status.as_u16(), &answer["error"]["kind"]), (502, &json!("unauthorized")));
    }
    assert_eq!(relay.get("/healthz").await.0, StatusCode::OK);
    assert_eq!(relay.get("/readyz").await.0, StatusCode::SERVICE_UNAVAILABLE);
    let ended = stop(relay).await;

    assert_eq!(ended.code, Some(0));
    let errors: Vec<_> = ended.stderr.lines().filter(|line| line.contains(" ERROR ")).collect();
    let [error] = errors[..] else { panic!("{}", ended.stderr) };
    assert!(error.contains("Statsig refuses the API key"), "{error}");
    assert!(!ended.stderr.contains(KEY), "{}", ended.stderr);
}

#[actix_rt::test]
async fn prometheus_can_read_what_was_asked_and_how_long_it_took() {
    let upstream = Upstream::start(Mood::Answer);
    let relay = Relay::start(&upstream, &[]).await;
    for number in 0..7 {
        relay.post("/v1/check_gate", &gate("u", number)).await;
    }
    relay.post("/v1/get_config", &json!({})).await;
    relay.get("/no/such/path").await;

    relay.comes_to_show("answered", &json!(7)).await;
    let metrics = scrape(&relay).await;
    let requests = |path: &str, status: &str| {
        figure(&metrics, "statsig_relay_requests_total", &[("path", path), ("status", status)])
    };
    assert_eq!(requests("/v1/check_gate", "200"), Some(Figure::Counter(7.0)));
    assert_eq!(requests("/v1/get_config", "400"), Some(Figure::Counter(1.0)));
    assert_eq!(requests("other", "404"), Some(Figure::Counter(1.0)));
    let path = [("path", "/v1/check_gate")];
    let took = figure(&metrics, "statsig_relay_request_duration_seconds", &path);
    let Some(Figure::Histogram(buckets)) = took else { panic!("{took:?}") };
    let HistogramCount { less_than, count } = buckets.last().unwrap();
    assert_eq!((*less_than, *count), (f64::INFINITY, 7.0));
    assert!(buckets.len() > 10 && buckets.is_sorted_by_key(|bucket| bucket.count), "{buckets:?}");

    let two = json!({"gateNames": ["gate-0", "beta"], "user": {"userID": "v"}});
    relay.post("/v1/check_gate", &two).await;
    relay.comes_to_show("answered", &json!(8)).await;
    let later = scrape(&relay).await;
    let requests = [("path", "/v1/check_gate"), ("status", "200")];
    let requests = figure(&later, "statsig_relay_requests_total", &requests);
    assert_eq!(requests, Some(Figure::Counter(8.0)));
    // The component's own, by what was asked in between.
    for (name, before, after) in [
        ("statsig_requests_total", 7.0, 8.0),
        ("statsig_names_total", 7.0, 9.0),
        ("statsig_calls_total", 7.0, 8.0),
        ("statsig_answered_requests_total", 7.0, 8.0),
    ] {
        assert_eq!(figure(&metrics, name, &[]), Some(Figure::Counter(before)), "{name}");
        assert_eq!(figure(&later, name, &[]), Some(Figure::Counter(after)), "{name}");
    }
    assert_eq!(figure(&later, "statsig_ready", &[]), Some(Figure::Gauge(1.0)));
    for name in
        ["statsig_call_duration_seconds", "statsig_attempt_duration_seconds", "statsig_call_names"]
    {
        let Some(Figure::Histogram(buckets)) = figure(&later, name, &[]) else { panic!("{name}") };
        assert_eq!(buckets.last().unwrap().count, 8.0, "{name}");
    }
}

#[actix_rt::test]
async fn stats_count_requests_calls_failures_and_pending() {
    let upstream = Upstream::start(Mood::Hold);
    let relay = Relay::start(&upstream, &["--max-pending", "3", "--timeout", "60s"]).await;
    let held = relay.post("/v1/check_gate", &gate("u", 1));
    let watch = async {
        relay.comes_to_show("in_flight", &json!(1)).await;
        let names: Vec<_> = (0..3).map(|i| format!("gate-{i}")).collect();
        let body = json!({"gateNames": names, "user": {"userID": "v"}});
        assert_eq!(relay.post("/v1/check_gate", &body).await.0.as_u16(), 429);
        relay.comes_to_show("requests", &json!(2)).await;
        let (_, on_its_way) = relay.get("/stats").await;
        upstream.release();
        on_its_way
    };
    let (_, on_its_way) = tokio::join!(held, watch);
    relay.comes_to_show("answered", &json!(1)).await;
    let (_, done) = relay.get("/stats").await;

    let overloaded = json!({"overloaded": 1});
    for (figure, before, after) in [
        ("requests", &json!(2), &json!(2)),
        ("names", &json!(4), &json!(4)),
        ("calls", &json!(1), &json!(1)),
        ("answered", &json!(0), &json!(1)),
        ("answered_names", &json!(0), &json!(1)),
        ("answered_calls", &json!(0), &json!(1)),
        ("errors", &overloaded, &overloaded),
        ("buffered", &json!(0), &json!(0)),
        ("in_flight", &json!(1), &json!(0)),
        ("restarts", &json!(0), &json!(0)),
    ] {
        assert_eq!((&on_its_way[figure], &done[figure]), (before, after), "{figure}");
    }
}

#[actix_rt::test]
async fn watch_shows_refused_bodies_waits_and_the_history_on_request() {
    let upstream = Upstream::start(Mood::Answer);
    let relay = Relay::start(&upstream, &[]).await;
    relay.post("/v1/check_gate", &gate("u", 1)).await;
    relay.post("/v1/check_gate", &json!({"user": {"userID": "u"}})).await;
    relay.post("/v1/get_config", &json!([])).await;

    let (_, figures) = relay.get("/watch").await;
    assert_eq!(figures["refused_bodies"], json!({"invalid_request": 2}));
    assert_eq!(figures["waits"]["count"], 1, "of those that were refused nobody waited");
    assert!(figures["waits"]["max_us"].as_u64() >= figures["stats"]["call"]["max_us"].as_u64());
    assert_eq!(figures["history"], Value::Null);

    let history = async {
        loop {
            let (_, figures) = relay.get("/watch?history").await;
            if let Some(sample) = figures["history"].as_array().unwrap().last() {
                return sample.clone();
            }
            actix_rt::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let sample = limited(history).await;
    assert_eq!(
        (&sample["names"], &sample["calls"], &sample["errors"]),
        (&json!(1), &json!(1), &json!(2))
    );
}

async fn scrape(relay: &Relay) -> Scrape {
    let mut response = limited(relay.client.get(relay.url("/metrics")).send()).await.unwrap();
    let content_type = response.headers().get(CONTENT_TYPE).unwrap();
    assert_eq!(content_type, "text/plain; version=0.0.4; charset=utf-8");
    let body = limited(response.body()).await.unwrap();
    let lines = str::from_utf8(&body).unwrap().lines().map(|line| Ok(line.to_owned()));
    Scrape::parse(lines).unwrap()
}

fn figure(metrics: &Scrape, name: &str, labels: &[(&str, &str)]) -> Option<Figure> {
    let has = |sample: &&prometheus_parse::Sample| {
        sample.metric == name
            && labels.iter().all(|(label, value)| sample.labels.get(label) == Some(value))
    };
    metrics.samples.iter().find(has).map(|sample| sample.value.clone())
}

#[actix_rt::test]
async fn readiness_returns_without_traffic_after_a_failure() {
    let upstream = LocalStatsig::start(Rules::sample()).unwrap();
    let relay = before(&upstream, &[]).await;
    assert_eq!(relay.get("/readyz").await, (StatusCode::OK, json!({"status": "ready"})));

    // A failed call is enough, while the breaker is closed still.
    upstream.inject(Fault::status(503));
    relay.post("/v1/check_gate", &gate("u", 1)).await;
    let (status, why) = relay.get("/readyz").await;
    let failed = json!({"status": "not_ready", "breaker": "closed", "last_call_failed": true});
    assert_eq!((status, why), (StatusCode::SERVICE_UNAVAILABLE, failed));
    becomes_ready(&relay).await;

    // It asked once, and caused no exposure.
    let calls = upstream.requests();
    let probes: Vec<_> = calls.iter().filter(|call| call.user["userID"] != "u").collect();
    let [probe] = probes[..] else { panic!("{} probes", probes.len()) };
    assert!(!probe.exposure);
}

#[actix_rt::test]
async fn readiness_returns_after_an_outage_opened_the_breaker() {
    let upstream = LocalStatsig::start(Rules::sample()).unwrap();
    let relay = before(&upstream, &[]).await;
    upstream.inject(Fault::status(503).always());
    for number in 0..10 {
        relay.post("/v1/check_gate", &gate("u", number)).await;
    }
    relay.comes_to_show("breaker", &json!("open")).await;

    let (status, why) = relay.get("/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    // It may probe in this moment.
    assert_ne!(why["breaker"], "closed");
    assert_eq!(relay.get("/healthz").await.0, StatusCode::OK);

    upstream.clear_faults();
    becomes_ready(&relay).await;
}

async fn becomes_ready(relay: &Relay) {
    limited(async { while relay.get("/readyz").await.0 != StatusCode::OK {} }).await;
}

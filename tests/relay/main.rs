//! The program `statsig-relay`: its HTTP API, its options, and its graceful shutdown.
#![cfg(feature = "relay")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod calm;
mod commands;
mod connections;
mod elsewhere;
mod limits;
#[cfg(target_os = "linux")]
mod memory;
mod observing;
mod options;
mod outputs;
mod program;
mod reloading;
#[path = "../support/mod.rs"]
mod support;
#[cfg(unix)]
mod unix;
mod values;

use std::{
    collections::HashSet,
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use actix_statsig::test_util::{LocalStatsig, Rule, Rules};
use awc::http::StatusCode;
use futures_util::{StreamExt, future::join_all, stream::FuturesUnordered};
use serde_json::{Value, json};

use crate::{
    program::{KEY, Relay, limited, read},
    support::upstream::{Mood, Upstream},
};

#[actix_rt::test]
async fn documented_bodies_get_the_documented_answers() {
    let upstream = Upstream::start(Mood::Answer);
    let relay = Relay::start(&upstream, &[]).await;

    let single = json!({
        "gateName": "new_user_onboarding",
        "user": {"userID": "user-123", "email": "user@example.com"}
    });
    let user = r#"{"email":"user@example.com","userID":"user-123"}"#;
    let gate = json!({
        "name": "new_user_onboarding", "value": true, "rule_id": user, "group_name": "gate"
    });
    assert_eq!(relay.post("/v1/check_gate", &single).await, (StatusCode::OK, gate));

    let multiple = json!({
        "gateNames": ["feature_a", "feature_b", "feature_a"],
        "user": {"userID": "user-123", "custom": {"tier": "premium"}}
    });
    let user = r#"{"custom":{"tier":"premium"},"userID":"user-123"}"#;
    let gate = |name| json!({"name": name, "value": true, "rule_id": user, "group_name": "gate"});
    let gates = json!({"feature_a": gate("feature_a"), "feature_b": gate("feature_b")});
    assert_eq!(relay.post("/v1/check_gate", &multiple).await, (StatusCode::OK, gates));

    let config = json!({"configName": "homepage_config", "user": {"userID": "user-123"}});
    let user = r#"{"userID":"user-123"}"#;
    let answer = json!({
        "name": "homepage_config", "value": {"for": user}, "group": user, "rule_id": user,
        "group_name": "config"
    });
    assert_eq!(relay.post("/v1/get_config", &config).await, (StatusCode::OK, answer));

    let list_of_one = json!({"gateNames": ["only"], "user": {"userID": "user-123"}});
    let (_, answer) = relay.post("/v1/check_gate", &list_of_one).await;
    assert_eq!(answer["only"]["name"], "only");
}

#[actix_rt::test]
async fn keyless_relay_answers_by_sample_rules_or_a_rules_file() {
    let mut relay = Relay::start_with(&[], &[]).await;
    let user = json!({"userID": "u-1"});
    let gate = json!({"gateName": "new_checkout", "user": user});
    let (_, answer) = relay.post("/v1/check_gate", &gate).await;
    assert_eq!((&answer["value"], &answer["rule_id"]), (&json!(true), &json!("half_of_all")));
    let config = json!({"configName": "homepage", "user": user});
    let (_, answer) = relay.post("/v1/get_config", &config).await;
    assert_eq!(answer["value"]["theme"], "dark");
    relay.signal("TERM");
    let ended = relay.ended().await;
    assert_eq!((ended.code, ended.stdout.lines().count()), (Some(0), 2));
    assert!(ended.stdout.contains("STATSIG_API_KEY is not set: "), "{}", ended.stdout);

    let file = format!("{}/rules.json", env!("CARGO_TARGET_TMPDIR"));
    std::fs::write(&file, r#"{"gates": {"mine": true}}"#).unwrap();
    let mut relay = Relay::start_with(&["--rules", &file], &[]).await;
    let (_, answer) =
        relay.post("/v1/check_gate", &json!({"gateName": "mine", "user": user})).await;
    assert_eq!(answer["value"], true);
    relay.signal("TERM");
    assert!(relay.ended().await.stdout.contains(&file));
}

#[actix_rt::test]
async fn body_is_read_as_json_and_extra_fields_are_ignored() {
    let upstream = Upstream::start(Mood::Answer);
    let relay = Relay::start(&upstream, &[]).await;
    let body = r#"{
        "gateName": "beta", "gateNames": null, "more": [],
        "user": {"userID": "u", "email": null, "plan": "pro"},
        "statsigMetadata": {"sdkType": "php", "exposureLoggingDisabled": null}
    }"#;

    for content_type in ["application/x-www-form-urlencoded", "text/plain; charset=latin1"] {
        let request = relay.client.post(relay.url("/v1/check_gate")).content_type(content_type);
        let request = request.insert_header(("statsig-api-key", "client-key"));
        let (status, answer) = read(request.send_body(body).await.unwrap()).await;
        assert_eq!(
            (status, &answer["rule_id"]),
            (StatusCode::OK, &json!(r#"{"plan":"pro","userID":"u"}"#))
        );
    }
}

#[actix_rt::test]
async fn bad_input_is_refused_with_what_is_wrong_and_where() {
    let upstream = Upstream::start(Mood::Answer);
    let relay = Relay::start(&upstream, &[]).await;
    let gate = "/v1/check_gate";
    for (path, body, kind, message) in [
        (gate, "{\n\"gateName\": nope}", "invalid_json", "line 2 column 14"),
        (gate, "", "invalid_json", "line 1 column 0"),
        (gate, "[]", "invalid_request", "must be an object"),
        (gate, r#"{"user":{"userID":"u"}}"#, "invalid_request", "gateName or gateNames"),
        (
            gate,
            r#"{"gateName":"aa","gateNames":["aa"],"user":{"userID":"u"}}"#,
            "invalid_request",
            "not both",
        ),
        (
            gate,
            r#"{"gateName":7,"user":{"userID":"u"}}"#,
            "invalid_request",
            "gateName must be a string",
        ),
        (
            gate,
            r#"{"gateName":"a","user":{"userID":"u"}}"#,
            "invalid_name",
            "gateName: name \"a\" must have 2",
        ),
        (
            gate,
            r#"{"gateNames":["aa","b/b"],"user":{"userID":"u"}}"#,
            "invalid_name",
            "gateNames: name \"b/b\"",
        ),
        (
            gate,
            r#"{"gateNames":[],"user":{"userID":"u"}}"#,
            "invalid_request",
            "gateNames must be a list",
        ),
        (
            gate,
            r#"{"gateNames":["aa",null],"user":{"userID":"u"}}"#,
            "invalid_request",
            "gateNames must be a list",
        ),
        (gate, r#"{"gateName":"aa"}"#, "invalid_request", "user is missing"),
        (gate, r#"{"gateName":"aa","user":"u"}"#, "invalid_user", "`user` must be an object"),
        (
            gate,
            r#"{"gateName":"aa","user":{"userId":"u"}}"#,
            "invalid_user",
            "`userId` must be spelt `userID`",
        ),
        (
            gate,
            r#"{"gateName":"aa","user":{"userID":"u","customIDs":{"a":{}}}}"#,
            "invalid_user",
            "`customIDs.a`",
        ),
        (
            gate,
            r#"{"gateName":"aa","user":{"userID":"u"},"statsigMetadata":1}"#,
            "invalid_request",
            "statsigMetadata",
        ),
        (
            "/v1/get_config",
            r#"{"user":{"userID":"u"}}"#,
            "invalid_request",
            "configName is missing",
        ),
        (
            "/v1/get_config",
            r#"{"configName":"","user":{"userID":"u"}}"#,
            "invalid_name",
            "configName: name \"\"",
        ),
    ] {
        let response = relay.client.post(relay.url(path)).send_body(body).await.unwrap();
        let (status, answer) = read(response).await;
        assert_eq!(
            (status, &answer["error"]["kind"]),
            (StatusCode::BAD_REQUEST, &json!(kind)),
            "{body}"
        );
        let said = answer["error"]["message"].as_str().unwrap();
        assert!(said.contains(message), "{body}: {said}");
    }
    let many: Vec<_> = (0..101).map(|i| format!("gate-{i}")).collect();
    let (status, _) = relay.post(gate, &json!({"gateNames": many, "user": {"userID": "u"}})).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(upstream.calls(), 0);
}

#[actix_rt::test]
async fn users_are_taken_by_their_text_and_as_they_come() {
    let upstream = Upstream::start(Mood::Answer);
    let caching = ["--upstream", &upstream.url, "--cache-ttl", "600s"];
    let relay = Relay::start_with(&caching, &[("STATSIG_API_KEY", KEY)]).await;
    let users = [
        r#"{"userID":"u","custom":{"n":100000000000000000001}}"#,
        r#"{"userID":"u","custom":{"n":100000000000000000002}}"#,
        r#"{"userID":100000000000000000001}"#,
        r#"{"userID":100000000000000000002}"#,
        r#"{"userID":"u","country":"T1","custom":{"a":null,"b":[1,null,{}]},"email":null}"#,
        r#"{"userID":"\ud800","statsigEnvironment":{"tier":"qa"}}"#,
    ];
    for (number, user) in users.into_iter().enumerate() {
        let body = format!(r#"{{"gateName":"aa","user":{user},"else":[1e400]}}"#);
        let response =
            relay.client.post(relay.url("/v1/check_gate")).send_body(body).await.unwrap();
        let (status, answer) = read(response).await;
        assert_eq!(status, StatusCode::OK, "{user}: {answer}");
        assert_eq!(upstream.calls(), number + 1, "{user} is a user of its own");
    }
}

#[actix_rt::test]
async fn environment_is_an_option() {
    let upstream = Upstream::start(Mood::Answer);
    let relay = Relay::start(&upstream, &["--environment", "staging"]).await;
    let body = json!({"gateName": "aa", "user": {"userID": "u"}});
    let (status, answer) = relay.post("/v1/check_gate", &body).await;
    let user = r#"{"statsigEnvironment":{"tier":"staging"},"userID":"u"}"#;
    assert_eq!((status, &answer["rule_id"]), (StatusCode::OK, &json!(user)));
}

#[actix_rt::test]
async fn unknown_path_or_method_is_answered_in_json() {
    let upstream = Upstream::start(Mood::Answer);
    let relay = Relay::start(&upstream, &[]).await;

    let wrong_method = relay.client.get(relay.url("/v1/check_gate")).send().await.unwrap();
    assert_eq!(wrong_method.headers().get("allow").unwrap(), "POST");
    let (status, answer) = read(wrong_method).await;
    assert_eq!((status.as_u16(), &answer["error"]["kind"]), (405, &json!("wrong_method")));

    let (status, answer) = relay.post("/v1/log_event", &json!({})).await;
    assert_eq!((status.as_u16(), &answer["error"]["kind"]), (404, &json!("not_found")));

    let (status, answer) = relay.post("/v1/check_gate", &json!("x".repeat(1024 * 1024))).await;
    assert_eq!((status.as_u16(), &answer["error"]["kind"]), (413, &json!("too_large")));

    assert_eq!(relay.get("/healthz").await.0, StatusCode::OK);
    let head = relay.client.head(relay.url("/healthz")).send().await.unwrap();
    assert_eq!(head.status(), StatusCode::OK);
}

#[actix_rt::test]
async fn extra_slashes_gzip_and_byte_order_marks_are_accepted() {
    let upstream = Upstream::start(Mood::Answer);
    let relay = Relay::start(&upstream, &["--max-body", "1000"]).await;
    let body = gate("u", 0);
    for path in ["//v1/check_gate", "/v1/check_gate/", "///v1//check_gate//"] {
        let (status, answer) = relay.post(path, &body).await;
        assert_eq!((status, &answer["value"]), (StatusCode::OK, &json!(true)), "{path} {answer}");
    }
    assert_eq!(relay.get("//healthz/").await.0, StatusCode::OK);

    let ask = async |encoding: &str, body: Vec<u8>| {
        let request = relay.client.post(relay.url("/v1/check_gate"));
        let request = request.insert_header(("content-encoding", encoding));
        let (status, answer) = read(limited(request.send_body(body)).await.unwrap()).await;
        (status.as_u16(), answer["error"]["kind"].as_str().map(str::to_owned))
    };
    let marked = format!("\u{feff}{body}").into_bytes();
    assert_eq!(ask("identity", marked.clone()).await, (200, None));
    assert_eq!(ask("gzip", gzip(&marked)).await, (200, None));
    assert_eq!(ask("gzip", marked).await, (400, Some("invalid_request".to_owned())));
    let bomb = gzip(&[b' '; 100_000]);
    assert!(bomb.len() < 1_000);
    assert_eq!(ask("gzip", bomb).await, (413, Some("too_large".to_owned())));
    for unknown in ["br", "gzip, br"] {
        let refused = (415, Some("unknown_encoding".to_owned()));
        assert_eq!(ask(unknown, body.to_string().into()).await, refused);
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[actix_rt::test]
async fn two_hundred_checks_for_one_user_are_a_handful_of_calls() {
    let upstream = Upstream::start(Mood::Hold);
    let relay = Relay::start(&upstream, &[]).await;

    let checks = (0..200).map(|i| relay.post("/v1/check_gate", &gate("u", i % 5)));
    let checks = join_all(checks.collect::<Vec<_>>());
    let release = async {
        relay.has_received(200).await;
        upstream.release();
    };
    let (answers, ()) = tokio::join!(checks, release);

    for (i, (status, answer)) in answers.into_iter().enumerate() {
        assert_eq!((status, &answer["name"]), (StatusCode::OK, &json!(format!("gate-{}", i % 5))));
    }
    relay.comes_to_show("answered", &json!(200)).await;
    let (_, stats) = relay.get("/stats").await;
    assert_eq!(stats["requests"], 200);
    assert!((1..=5).contains(&stats["calls"].as_u64().unwrap()), "{stats}");
    // On a busy machine, an attempt may time out before the release.
    let attempts = stats["calls"].as_u64().unwrap() + stats["retries"].as_u64().unwrap();
    assert_eq!(attempts, upstream.calls() as u64);
}

#[actix_rt::test]
async fn users_differing_in_one_field_get_their_own_answers() {
    const CONNECTIONS: usize = 500;
    const EACH: usize = 20;
    let users = users_who_differ_in_one_field(1000);
    let local = LocalStatsig::start(one_name_each(&users)).unwrap();
    local.set_latency(Duration::from_millis(3));
    local.require_key(KEY);
    let slow_machine = ["--upstream", &local.url(), "--timeout", "60s", "--attempt-timeout", "30s"];
    let relay = Relay::start_with(&slow_machine, &[("STATSIG_API_KEY", KEY)]).await;

    let ask = async |connection: usize| {
        for request in connection * EACH..(connection + 1) * EACH {
            // At any time, some requests are for the same user, and some for users that differ in
            // the same field.
            let user = request % users.len();
            check_own_name(&relay, &users[user], user, request).await;
        }
    };
    let mut asking: FuturesUnordered<_> = (0..CONNECTIONS).map(ask).collect();
    while limited(asking.next()).await.is_some() {}

    assert_eq!(local.refused(), 0);
    let sent: HashSet<_> = users.iter().collect();
    assert!(local.requests().iter().all(|call| sent.contains(&call.user)));
    relay.comes_to_show("answered", &json!(10_000)).await;
    assert_eq!(relay.get("/stats").await.1["requests"], 10_000);
}

#[actix_rt::test]
async fn sigterm_answers_calls_in_flight_and_exits_with_0() {
    let upstream = Upstream::start(Mood::Hold);
    let mut relay =
        Relay::start(&upstream, &["--timeout", "60s", "--attempt-timeout", "60s"]).await;
    let _never_used = TcpStream::connect(&relay.address).unwrap();
    let _kept_alive = relay.kept_alive();

    let users: Vec<_> = (0..50).map(|i| format!("user-{i}")).collect();
    let checks = users.iter().map(|user| relay.post("/v1/check_gate", &gate(user, 0)));
    let checks = join_all(checks.collect::<Vec<_>>());
    let leave = async {
        relay.has_received(50).await;
        relay.signal("TERM");
        relay.refuses_connections().await;
        upstream.release();
    };
    let (answers, ()) = tokio::join!(checks, leave);

    assert!(answers.iter().all(|(status, _)| *status == StatusCode::OK), "{answers:?}");
    assert_eq!(relay.ended().await.code, Some(0));
}

#[actix_rt::test]
async fn promise_6_relay_serves_and_is_not_ready_in_the_drain_delay() {
    let upstream = Upstream::start(Mood::Answer);
    let mut relay = Relay::start(&upstream, &["--drain-delay", "600s"]).await;
    assert_eq!(relay.get("/readyz").await.0, StatusCode::OK);

    relay.signal("TERM");
    limited(async { while relay.get("/readyz").await.0 == StatusCode::OK {} }).await;
    let (status, why) = relay.get("/readyz").await;
    assert_eq!((status.as_u16(), &why["status"]), (503, &json!("draining")));
    // The relay serves as before, also on new connections, for longer than a shutdown takes.
    let serves_on = async {
        loop {
            drop(relay.kept_alive());
            let (status, _) = relay.post("/v1/check_gate", &gate("late", 0)).await;
            assert_eq!(status, StatusCode::OK);
        }
    };
    assert!(actix_rt::time::timeout(Duration::from_secs(3), serves_on).await.is_err());

    // A further signal ends the delay, but one within a tenth of a second counts as the same
    // signal.
    let leaves = relay.refuses_connections();
    let impatient = async {
        loop {
            actix_rt::time::sleep(Duration::from_millis(500)).await;
            relay.signal("TERM");
        }
    };
    tokio::select! {
        () = leaves => {}
        () = impatient => {}
    }
    assert_eq!(relay.ended().await.code, Some(0));
}

#[actix_rt::test]
async fn after_the_drain_delay_it_ends() {
    let upstream = Upstream::start(Mood::Answer);
    let mut relay = Relay::start(&upstream, &["--drain-delay", "300ms"]).await;
    relay.signal("TERM");
    let ended = relay.ended().await;
    assert_eq!(ended.code, Some(0));
    let (delayed, drained) = (ended.stderr.find("still serving"), ended.stderr.find("draining"));
    assert!(delayed.is_some() && delayed < drained, "{}", ended.stderr);
}

#[actix_rt::test]
async fn sigterm_flushes_what_is_buffered_and_ctrl_c_does_the_same() {
    for signal in ["TERM", "INT"] {
        let upstream = Upstream::start(Mood::Answer);
        let slow = ["--flush-interval", "60s", "--timeout", "600s"];
        let mut relay = Relay::start(&upstream, &slow).await;

        let checks = (0..50).map(|i| relay.post("/v1/check_gate", &gate("u", i)));
        let checks = join_all(checks.collect::<Vec<_>>());
        let leave = async {
            relay.has_received(50).await;
            assert_eq!(upstream.calls(), 0);
            relay.signal(signal);
        };
        let (answers, ()) = limited(async { tokio::join!(checks, leave) }).await;

        assert!(answers.iter().all(|(status, _)| *status == StatusCode::OK), "{answers:?}");
        assert_eq!(relay.ended().await.code, Some(0));
    }
}

#[actix_rt::test]
async fn idle_relay_exits_at_once_despite_open_connections() {
    let upstream = Upstream::start(Mood::Answer);
    let mut relay = Relay::start(&upstream, &["--timeout", "600s"]).await;
    let _never_used = TcpStream::connect(&relay.address).unwrap();
    let _kept_alive = relay.kept_alive();

    relay.signal("TERM");

    // The server library would wait for open connections for the whole timeout of ten minutes.
    assert_eq!(relay.ended().await.code, Some(0));
}

#[actix_rt::test]
async fn upstream_faults_are_502_and_hangs_504() {
    for (mood, status, kind) in [
        (Mood::Refuse(503), 502, "unavailable"),
        (Mood::Refuse(401), 502, "unauthorized"),
        (Mood::Hold, 504, "timeout"),
    ] {
        let upstream = Upstream::start(mood);
        let options = ["--timeout", "300ms", "--attempt-timeout", "10s"];
        let relay = Relay::start(&upstream, &options).await;
        let (got, answer) = relay.post("/v1/check_gate", &gate("u", 0)).await;
        assert_eq!((got.as_u16(), &answer["error"]["kind"]), (status, &json!(kind)), "{answer}");
        relay.comes_to_show("errors", &json!({kind: 1})).await;
    }
}

#[actix_rt::test]
async fn overload_is_429_with_a_time_to_come_back() {
    let upstream = Upstream::start(Mood::Hold);
    let relay = Relay::start(&upstream, &["--max-pending", "1", "--timeout", "60s"]).await;

    let admitted = async {
        let (status, _) = relay.post("/v1/check_gate", &gate("u", 0)).await;
        assert_eq!(status, StatusCode::OK);
    };
    let refused = async {
        relay.has_received(1).await;
        let request = relay.client.post(relay.url("/v1/check_gate"));
        let response = request.send_json(&gate("u", 1)).await.unwrap();
        assert_eq!(response.headers().get("retry-after").unwrap(), "1");
        let (status, answer) = read(response).await;
        assert_eq!((status.as_u16(), &answer["error"]["kind"]), (429, &json!("overloaded")));
        upstream.release();
    };
    tokio::join!(admitted, refused);
}

#[actix_rt::test]
async fn body_beyond_a_configured_limit_is_refused() {
    let upstream = Upstream::start(Mood::Answer);
    let relay = Relay::start(&upstream, &["--max-body", "100"]).await;
    let body = |length: usize| {
        let empty = r#"{"gateName": "beta", "user": {"userID": ""}}"#;
        empty.replace("\"\"", &format!("\"{}\"", "u".repeat(length - empty.len())))
    };
    for (length, wanted) in [(100, 200), (101, 413)] {
        let request = relay.client.post(relay.url("/v1/check_gate"));
        let (status, answer) = read(request.send_body(body(length)).await.unwrap()).await;
        assert_eq!(status.as_u16(), wanted, "{answer}");
    }
}

#[actix_rt::test]
async fn connection_beyond_the_limit_waits_for_another_to_close() {
    let upstream = Upstream::start(Mood::Answer);
    let relay = Relay::start(&upstream, &["--workers", "1", "--max-connections", "2"]).await;
    let (first, mut second) = (relay.kept_alive(), relay.kept_alive());

    let mut third = TcpStream::connect(&relay.address).unwrap();
    let request = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    third.write_all(request).unwrap();
    // The relay still answers open connections.
    for _ in 0..10 {
        second.write_all(request).unwrap();
        assert!(second.read(&mut [0; 1024]).unwrap() > 0);
    }
    third.set_nonblocking(true).unwrap();
    let waits = third.read(&mut [0; 12]).unwrap_err();
    assert_eq!(waits.kind(), std::io::ErrorKind::WouldBlock);

    drop(first);
    third.set_nonblocking(false).unwrap();
    let mut answer = [0; 12];
    third.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
}

#[actix_rt::test]
async fn client_chooses_exposure_logging_over_the_operator() {
    for (options, default) in [(&[][..], true), (&["--exposure-logging", "off"], false)] {
        let upstream = Upstream::start(Mood::Answer);
        let relay = Relay::start(&upstream, options).await;
        for (metadata, logged) in [
            (json!({}), default),
            (json!({"exposureLoggingDisabled": true}), false),
            (json!({"exposureLoggingDisabled": false}), true),
        ] {
            for (path, field) in [("/v1/check_gate", "gateName"), ("/v1/get_config", "configName")]
            {
                let body =
                    json!({field: "aa", "user": {"userID": "u"}, "statsigMetadata": metadata});
                assert_eq!(relay.post(path, &body).await.0, StatusCode::OK);
                assert_eq!(upstream.last_logged_exposures(), logged, "{options:?} {body}");
            }
        }
    }
}

#[actix_rt::test]
async fn key_goes_to_the_upstream_alone() {
    let upstream = Upstream::start(Mood::Answer);
    let variables = [
        ("STATSIG_API_KEY", KEY),
        ("RUST_LOG", "trace"),
        ("STATSIG_RELAY_KEYS", "caller-hunter4,caller-hunter5"),
    ];
    let mut relay = Relay::start_with(&["--upstream", &upstream.url], &variables).await;

    let body =
        json!({"gateName": "aa", "user": {"userID": "u", "privateAttributes": {"a": "hunter3"}}});
    for (header, value) in [
        ("statsig-api-key", KEY),
        ("statsig-api-key", "caller-hunter4"),
        ("authorization", "Bearer caller-hunter5"),
    ] {
        let request = relay.client.post(relay.url("/v1/check_gate"));
        let request = request.insert_header((header, value));
        let (status, answer) = read(request.send_json(&body).await.unwrap()).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    }
    relay.signal("TERM");
    let ended = relay.ended().await;

    assert!(ended.stderr.contains("TRACE"), "{}", ended.stderr);
    let told = format!("{}{}", ended.stdout, ended.stderr);
    for secret in ["hunter2", "hunter3", "hunter4", "hunter5"] {
        let line = told.lines().find(|line| line.contains(secret));
        assert_eq!(line, None);
    }
}

#[actix_rt::test]
async fn invalid_options_print_one_line_and_exit_with_2() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let bad_rules = format!("{}/bad-rules.json", env!("CARGO_TARGET_TMPDIR"));
    std::fs::write(&bad_rules, "{\n\"gate\": {}}").unwrap();
    let no_keys = format!("{}/no-keys.txt", env!("CARGO_TARGET_TMPDIR"));
    std::fs::write(&no_keys, "# none yet\n").unwrap();
    let keys = format!("{}/one-key.txt", env!("CARGO_TARGET_TMPDIR"));
    std::fs::write(&keys, "caller\n").unwrap();
    let bad_root = format!("{}/bad-root.pem", env!("CARGO_TARGET_TMPDIR"));
    let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    std::fs::write(&bad_root, pem).unwrap();
    let key = ("STATSIG_API_KEY", KEY);
    for (options, variables, name) in [
        (&["--batch-size", "101"][..], &[key][..], "--batch-size"),
        (&["--timeout", "soon"], &[key], "--timeout"),
        (&["--nonsense"], &[key], "--nonsense"),
        (&["--api-key", "secret"], &[], "--api-key"),
        (&[], &[key, ("STATSIG_MAX_PENDING", "many")], "STATSIG_MAX_PENDING"),
        (&["--listen", &taken], &[key], "--listen"),
        (&["--listen", "nowhere"], &[key], "--listen"),
        (&["--rules", "rules.json"], &[key], "--rules"),
        (&["--rules", "/nonexistent.json"], &[], "--rules: rules file /nonexistent.json: No such"),
        (&["--rules", &bad_rules], &[], "bad-rules.json, line 2, column"),
        (&["--upstream", "http://127.0.0.1:1"], &[], "STATSIG_API_KEY"),
        (&[], &[("STATSIG_API_KEY", "")], "STATSIG_API_KEY"),
        (&[], &[("STATSIG_API_KEY", "two words")], "STATSIG_API_KEY cannot be [redacted]"),
        (&["--api-key-file", "/nonexistent"], &[], "--api-key-file"),
        (&["--api-key-file", &bad_rules], &[], "--api-key-file cannot be [redacted]"),
        (&["--api-key-file", &bad_rules], &[key], "STATSIG_API_KEY and --api-key-file"),
        (&["--keys-file", "/nonexistent"], &[key], "--keys-file"),
        (&["--keys-file", &no_keys], &[key], "--keys-file"),
        (&[], &[key, ("STATSIG_RELAY_KEYS", "")], "STATSIG_RELAY_KEYS"),
        (
            &["--allow-anyone"],
            &[key, ("STATSIG_RELAY_KEYS", "caller")],
            "--allow-anyone and STATSIG_RELAY_KEYS cannot be combined",
        ),
        (
            &["--keys-file", &keys],
            &[key, ("STATSIG_RELAY_ALLOW_ANYONE", "yes")],
            "STATSIG_RELAY_ALLOW_ANYONE and --keys-file cannot be combined",
        ),
        (&["--trust-loopback", "off"], &[key], "--trust-loopback cannot be \"off\""),
        (
            &["--allow-anyone"],
            &[key, ("STATSIG_RELAY_TRUST_LOOPBACK", "off")],
            "STATSIG_RELAY_TRUST_LOOPBACK cannot be \"off\"",
        ),
        (&[], &[key, ("STATSIG_RELAY_ALLOW_ANYONE", "all")], "STATSIG_RELAY_ALLOW_ANYONE"),
        (&["--max-in-flight", "18446744073709551615"], &[key], "--max-in-flight cannot be"),
        (&["--workers", "0"], &[key], "--workers"),
        (&["--workers", "513"], &[key], "--workers"),
        (&["--max-body", "1MB"], &[key], "--max-body"),
        (&["--max-incoming", "0"], &[key], "--max-incoming"),
        (&["--keep-alive", "soon"], &[key], "--keep-alive"),
        (&[], &[key, ("STATSIG_RELAY_CLIENT_TIMEOUT", "0s")], "STATSIG_RELAY_CLIENT_TIMEOUT"),
        (&["--client-timeout", "86401s"], &[key], "--client-timeout"),
        (&["--listen", "unix:"], &[key], "--listen"),
        (&["--listen", "unix:/nonexistent/socket"], &[key], "--listen"),
        (&["--socket-mode", "0800"], &[key], "--socket-mode"),
        (&["--socket-mode", "1777"], &[key], "--socket-mode"),
        (
            &["--workers", "3", "--max-connections", "2"],
            &[key],
            "--max-connections cannot be \"2\": must be no less than --workers, 3",
        ),
        (
            &["--workers", "3"],
            &[key, ("STATSIG_RELAY_MAX_CONNECTIONS", "2")],
            "STATSIG_RELAY_MAX_CONNECTIONS cannot be \"2\": must be no less than --workers, 3",
        ),
        (
            &["--max-connections", "2"],
            &[key, ("STATSIG_RELAY_WORKERS", "3")],
            "--max-connections cannot be \"2\": must be no less than STATSIG_RELAY_WORKERS, 3",
        ),
        (&["--extra-root-certificates", &bad_root], &[key], "--extra-root-certificates cannot be"),
        (
            &[],
            &[key, ("STATSIG_EXTRA_ROOT_CERTIFICATES", &bad_root)],
            "STATSIG_EXTRA_ROOT_CERTIFICATES cannot be",
        ),
        (&["--drain-delay", "soon"], &[key], "--drain-delay"),
        (&[], &[key, ("STATSIG_RELAY_DRAIN_DELAY", "-1s")], "STATSIG_RELAY_DRAIN_DELAY"),
        (&["--log", "a=b=c"], &[key], "--log"),
        (&[], &[key, ("STATSIG_RELAY_LOG", "a=b=c")], "STATSIG_RELAY_LOG"),
        (&[], &[key, ("RUST_LOG", "a=b=c")], "RUST_LOG"),
        (&["--log-format", "xml"], &[key], "--log-format"),
    ] {
        let ended = Relay::spawn(options, variables).ended().await;
        assert_eq!(ended.code, Some(2), "{options:?} {}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "{options:?} {}", ended.stderr);
        assert!(ended.stderr.contains(name), "{options:?} {}", ended.stderr);
        assert!(!ended.stdout.contains("listening"), "{options:?} {}", ended.stdout);
    }
}

#[actix_rt::test]
async fn few_connections_are_enough_for_a_machine_with_more_cores() {
    let relay = Relay::start_with(&["--max-connections", "1"], &[]).await;
    assert_eq!(relay.get("/healthz").await.0, StatusCode::OK);
}

fn gate(user: &str, gate: usize) -> Value {
    json!({"gateName": format!("gate-{gate}"), "user": {"userID": user}})
}

/// Rules with a gate and a config for each user, which only that user passes and has.
fn one_name_each(users: &[Value]) -> Rules {
    users.iter().enumerate().fold(Rules::new(), |rules, (number, user)| {
        let name = format!("name-{number}");
        let gate = only_for(user, Rule::new(true));
        let own = json!({"for": number}).as_object().cloned().unwrap();
        rules.gate(&name, gate).config(&name, only_for(user, Rule::new(own)))
    })
}

fn only_for<T>(user: &Value, rule: Rule<T>) -> Rule<T> {
    user.as_object().unwrap().iter().fold(rule, |rule, (field, value)| match value {
        Value::Object(inside) => inside
            .iter()
            .fold(rule, |rule, (key, value)| rule.when(format!("{field}.{key}"), value.clone())),
        value => rule.when(field, value.clone()),
    })
}

/// Requests a user's own name in one of the three possible ways.
async fn check_own_name(relay: &Relay, user: &Value, number: usize, way: usize) {
    let [own, other] = [number, number + 1].map(|number| format!("name-{number}"));
    let (path, body) = match way % 3 {
        0 => ("/v1/get_config", json!({"configName": own, "user": user})),
        1 => ("/v1/check_gate", json!({"gateName": own, "user": user})),
        _ => ("/v1/check_gate", json!({"gateNames": [own, other], "user": user})),
    };
    let (status, answer) = relay.post(path, &body).await;
    let (answers, wanted) = match way % 3 {
        0 => (vec![&answer], vec![(&own, json!({"for": number}))]),
        1 => (vec![&answer], vec![(&own, json!(true))]),
        _ => (
            vec![&answer[&own], &answer[&other]],
            vec![(&own, json!(true)), (&other, json!(false))],
        ),
    };
    assert_eq!(status, StatusCode::OK, "{answer}");
    for (answer, (name, value)) in answers.into_iter().zip(wanted) {
        assert_eq!((&answer["name"], &answer["value"]), (&json!(name), &value), "{user}");
    }
}

/// Users that differ in one field of the API document's `StatsigUser`; neighbours differ in the
/// same field.
fn users_who_differ_in_one_field(count: usize) -> Vec<Value> {
    let each = count.div_ceil(FIELDS);
    let user = |i: usize| {
        let mut user = json!({"userID": "u"});
        let (field, value) = one_field(i / each, i % each);
        user[field] = value;
        user
    };
    let users: Vec<_> = (0..count).map(user).collect();
    assert_eq!(users.iter().map(Value::to_string).collect::<HashSet<_>>().len(), count);
    users
}

const FIELDS: usize = 14;

fn one_field(field: usize, i: usize) -> (&'static str, Value) {
    let country = || [b'A' + (i / 26) as u8, b'A' + (i % 26) as u8].map(char::from);
    let tier = || ["production", "staging", "development"][i % 3];
    match field {
        0 => ("userID", json!(format!("u-{i}"))),
        1 => ("email", json!(format!("{i}@example.com"))),
        2 => ("ip", json!(format!("10.0.0.{i}"))),
        3 => ("userAgent", json!(format!("agent/{i}"))),
        4 => ("country", json!(String::from_iter(country()))),
        5 => ("locale", json!(format!("en_{i}"))),
        6 => ("appVersion", json!(format!("1.{i}"))),
        7 => ("custom", json!({"plan": i})),
        8 => ("custom", json!({"plan": i.to_string()})),
        9 => ("custom", json!({"plan": [i.to_string()]})),
        10 => ("custom", json!({"plan": i.is_multiple_of(2), "age": i / 2})),
        11 => ("privateAttributes", json!({"plan": i})),
        12 => ("customIDs", json!({"plan": i.to_string()})),
        _ => ("statsigEnvironment", json!({"tier": tier(), "region": i / 3})),
    }
}

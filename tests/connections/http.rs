//! The transport over real sockets, against a server that follows the API document and one that
//! does not. No test here asserts a duration.
#![cfg(feature = "test-util")]

use std::{sync::Arc, time::Duration};

use actix_statsig::{
    CheckGates, ConnectFault, Error, ErrorKind, GetConfigs, Statsig, Tier, User,
    test_util::{Fault, LocalStatsig, Rule, Rules, panic_at},
};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{config, patient, start, user};

fn rules() -> Rules {
    Rules::new()
        .gate("open", true)
        .gate("shut", false)
        .gate("dutch", Rule::new(true).when("country", "NL").named("r-1", "The Dutch"))
        .config("homepage", json!({"theme": "dark", "columns": 3}))
}

fn server() -> LocalStatsig {
    LocalStatsig::start(rules()).expect("a free port")
}

#[actix_rt::test]
async fn gates_and_configs_are_answered_as_the_server_decides() {
    let server = server();
    let statsig = start(&server, patient());
    let dutch = User::builder().user_id("u-1").country("NL").build().unwrap();

    let gates =
        statsig.gate_evaluations(&dutch, ["open", "dutch", "shut", "unknown"]).await.unwrap();
    let elsewhere = statsig.check_gate(&user("u-2"), "dutch").await.unwrap();
    let homepage = statsig.get_config(&dutch, "homepage").await.unwrap();

    let values: Vec<_> = gates.iter().map(|gate| gate.value()).collect();
    assert_eq!(values, [true, true, false, false]);
    assert_eq!((gates[1].rule_id(), gates[1].group_name()), (Some("r-1"), Some("The Dutch")));
    assert_eq!((gates[2].rule_id(), gates[2].group_name()), (None, None));
    assert!(!elsewhere);
    assert_eq!(homepage.get::<u8>("columns").unwrap(), 3);
    assert_eq!((server.calls(), server.refused()), (3, 0));
}

#[actix_rt::test]
async fn requests_conform_to_the_api_document() {
    let server = server();
    server.require_key("secret-key");
    let statsig = start(&server, patient());
    let who = User::builder()
        .user_id("u-1")
        .email("a@b.c")
        .ip("10.0.0.1")
        .user_agent("curl")
        .country("NL")
        .locale("nl_NL")
        .app_version("1.2.3")
        .custom("plan", "pro")
        .custom("tags", ["a", "b"])
        .private_attribute("salary", 1.5)
        .custom_id("companyID", "c-1")
        .environment(Tier::Staging)
        .build()
        .unwrap();

    statsig.gate_evaluations(&who, (0..150).map(|n| format!("gate {n}"))).await.unwrap();
    statsig.ask(GetConfigs::new(who, ["homepage"]).without_exposure()).await.unwrap();

    assert_eq!(server.refused(), 0);
    let requests = server.requests();
    let mut sizes: Vec<_> = requests.iter().map(|request| request.names.len()).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [1, 50, 100]);
    for request in &requests {
        assert_eq!(request.header("content-type"), Some("application/json"));
        assert_eq!(request.header("statsig-api-key"), Some("secret-key"));
        assert_eq!(request.user["statsigEnvironment"]["tier"], "staging");
        assert_eq!(request.exposure, request.path == "/v1/check_gate");
    }
}

#[actix_rt::test]
async fn promise_2_users_differing_in_one_field_are_never_mixed() {
    let fields = ["email", "ip", "userAgent", "locale", "appVersion", "custom", "customIDs"];
    let user = |field: &str, n: usize| -> User {
        let value = match field {
            "custom" => json!({"n": n}),
            "customIDs" => json!({"n": n.to_string()}),
            _ => json!(n.to_string()),
        };
        User::from_json(json!({"userID": "u", field: value})).unwrap()
    };
    let rules = fields.iter().fold(Rules::new(), |rules, field| {
        (0..20).fold(rules, |rules, n| {
            let (attribute, value) = match *field {
                "custom" => ("custom.n".to_owned(), json!(n)),
                "customIDs" => ("customIDs.n".to_owned(), json!(n.to_string())),
                field => (field.to_owned(), json!(n.to_string())),
            };
            rules.gate(format!("{field} {n}"), Rule::new(true).when(attribute, value))
        })
    });
    let server = LocalStatsig::start(rules).unwrap();
    let statsig = &start(&server, patient());

    let asked = fields.iter().flat_map(|field| (0..20).map(move |n| (*field, n)));
    let checks = asked.map(|(field, n)| async move {
        let names = (0..20).map(|other| format!("{field} {other}"));
        let open = statsig.check_gates(&user(field, n), names).await.unwrap();
        (open, (0..20).map(|other| other == n).collect::<Vec<_>>())
    });

    for (open, expected) in join_all(checks).await {
        assert_eq!(open, expected);
    }
    assert_eq!((server.calls(), server.refused()), (140, 0));
}

#[actix_rt::test]
async fn failures_that_time_may_mend_are_retried_and_others_are_not() {
    let server = server();
    let statsig = start(&server, patient().retry_attempts(3));
    for (n, (fault, attempts)) in [
        (Fault::status(500), 2),
        (Fault::status(503).times(2), 3),
        (Fault::status(429).retry_after("0"), 2),
        (Fault::status(429).retry_after("Sun, 06 Nov 1994 08:49:37 GMT"), 2),
        (Fault::status(408), 2),
        (Fault::status(404), 2),
        (Fault::status(302), 2),
        (Fault::reset(), 2),
        (Fault::close(), 2),
        (Fault::reset_mid_body(), 2),
        (Fault::truncated(), 2),
    ]
    .into_iter()
    .enumerate()
    {
        server.clear();
        let shown = format!("{fault:?}");
        server.inject(fault);
        let open = statsig.check_gate(&user(n), "open").await;
        assert!(matches!(open, Ok(true)), "{shown}: {open:?}");
        assert_eq!(server.calls(), attempts, "{shown}");
    }
    for status in [400, 401, 403, 409, 413] {
        server.clear();
        server.inject(Fault::status(status));
        let error = statsig.check_gate(&user(status), "open").await.unwrap_err();
        let expected = if matches!(status, 401 | 403) { "unauthorized" } else { "refused" };
        assert_eq!(error.kind().as_str(), expected, "{error}");
        assert_eq!(server.calls(), 1, "{status}");
    }
}

#[actix_rt::test]
async fn status_counts_even_if_its_body_never_comes() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let statsig =
        Statsig::start_in_current_arbiter(patient().base_url(url).build().unwrap()).unwrap();
    let served = actix_rt::spawn(async move {
        let (mut connection, _) = listener.accept().await.unwrap();
        let mut request = [0; 4096];
        assert_ne!(connection.read(&mut request).await.unwrap(), 0);
        let head = b"HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json\r\n\
                     Content-Length: 100\r\n\r\n";
        connection.write_all(head).await.unwrap();
        connection
    });

    let error = statsig.check_gate(&user("u-1"), "open").await.unwrap_err();

    assert!(matches!(error, Error::Unauthorized { status: 401, .. }), "{error}");
    drop(served.await.unwrap());
}

#[actix_rt::test]
async fn promise_4_there_are_never_more_attempts_than_allowed() {
    let server = server();
    let statsig = start(&server, patient().retry_attempts(2));
    for fault in [Fault::status(503), Fault::reset(), Fault::reset_mid_body(), Fault::truncated()] {
        server.clear();
        server.inject(fault.always());
        let error = statsig.check_gate(&user("u-1"), "open").await.unwrap_err();
        assert!(error.is_retryable(), "{error}");
        // One more for a connection that died on reuse, if the previous fault left one.
        assert!((2..=3).contains(&server.calls()), "{} calls", server.calls());
        server.clear_faults();
    }
}

#[actix_rt::test]
async fn connection_that_died_on_reuse_costs_no_attempt() {
    let server = server();
    let statsig = start(&server, patient().retry_attempts(1));
    assert!(statsig.check_gate(&user("u-1"), "open").await.unwrap());

    server.inject(Fault::close());
    let open = statsig.check_gate(&user("u-2"), "open").await;

    assert!(matches!(open, Ok(true)), "{open:?}");
    assert_eq!((server.calls(), server.connections()), (3, 2));

    // Without a connection to reuse, the same fault is an ordinary failure.
    let statsig = start(&server, patient().retry_attempts(1));
    server.inject(Fault::close());
    let error = statsig.check_gate(&user("u-3"), "open").await.unwrap_err();
    assert!(matches!(error, Error::Connect { fault: ConnectFault::Closed, .. }), "{error}");
}

#[actix_rt::test]
async fn promise_1_hanging_server_ends_in_a_timeout() {
    let server = server();
    let limits = config()
        .timeout(Duration::from_millis(300))
        .attempt_timeout(Duration::from_millis(100))
        .retry_attempts(10);
    let statsig = start(&server, limits);
    server.inject(Fault::hang().for_user("u-1").always());

    let (hung, fine) = tokio::join!(
        statsig.ask(CheckGates::new(user("u-1"), ["open"])),
        statsig.ask(CheckGates::new(user("u-2"), ["open"])),
    );

    let error = hung.unwrap_err();
    assert!(matches!(error, Error::Timeout { .. } | Error::AttemptTimeout { .. }), "{error}");
    assert!(fine.is_ok(), "promise 3: {fine:?}");
}

#[actix_rt::test]
async fn promise_4_queued_request_expires_without_a_call() {
    let server = server();
    let limits = config().timeout(Duration::from_millis(200)).max_in_flight(1);
    let statsig = start(&server, limits.attempt_timeout(Duration::from_millis(200)));
    server.inject(Fault::hang().always());

    let checks = (0..5).map(|n| {
        let statsig = statsig.clone();
        async move { statsig.check_gate(&user(n), "open").await }
    });
    let answers = join_all(checks).await;

    for answer in answers {
        let error = answer.unwrap_err();
        assert!(matches!(error, Error::Timeout { .. } | Error::AttemptTimeout { .. }), "{error}");
    }
    assert_eq!(server.calls(), 1);
}

#[actix_rt::test]
async fn promise_4_no_more_calls_are_in_flight_than_allowed() {
    let server = server();
    server.set_latency(Duration::from_millis(20));
    let statsig = start(&server, patient().max_in_flight(3));

    let checks = (0..30).map(|n| {
        let statsig = statsig.clone();
        async move { statsig.check_gate(&user(n), "open").await }
    });
    let answers = join_all(checks).await;

    assert!(answers.into_iter().all(|answer| matches!(answer, Ok(true))));
    assert_eq!((server.calls(), server.connections()), (30, 3));
}

#[actix_rt::test]
async fn undescribed_answers_are_errors_that_say_so() {
    let server = server();
    let statsig = start(&server, patient());
    let two = |body: Value| Fault::body(body.to_string());
    let gate = json!({"name": "open", "value": true, "rule_id": null, "group_name": null});
    for (n, (fault, says)) in [
        (Fault::garbage(), "expected value"),
        (Fault::body(""), "EOF"),
        (Fault::body([0xff, 0xfe]), "expected value"),
        (two(json!([])), "expected an object of gates"),
        (two(gate.clone()), ""),
        (two(json!({"open": {"value": "yes"}})), "expected a boolean"),
        (two(json!({"open": {"name": "shut", "value": true}})), "expected the name"),
        (Fault::body("[]").content_type("text/plain"), "expected an object of gates"),
        (Fault::body("[".repeat(100_000)), ""),
        (Fault::body(vec![b' '; 3 << 20]), "longer than"),
    ]
    .into_iter()
    .enumerate()
    {
        server.inject(fault.always());
        let error = statsig.gate_evaluations(&user(n), ["open", "shut"]).await.unwrap_err();
        server.clear_faults();
        let text = error.to_string();
        let is_missing = matches!(error, Error::MissingName { .. });
        assert!(is_missing || error.kind() == ErrorKind::InvalidResponse, "{error:?}");
        assert!(text.starts_with("/v1/check_gate") && text.contains(says), "{text}");
        assert!(text.len() < 500, "{text}");
    }
}

#[actix_rt::test]
async fn promise_1_name_the_server_left_out_fails_only_its_callers() {
    let server = server();
    let statsig = start(&server, patient());
    server.inject(Fault::leave_out(["shut"]));
    let who = user("u-1");

    let (both, one) =
        tokio::join!(statsig.check_gates(&who, ["open", "shut"]), statsig.check_gate(&who, "open"));

    let error = both.unwrap_err();
    assert!(matches!(&error, Error::MissingName { name, .. } if &**name == "shut"), "{error}");
    assert!(one.unwrap());
    assert_eq!(server.calls(), 1);
}

#[actix_rt::test]
async fn unreachable_server_is_an_error_that_says_how() {
    let server = server();
    let url = server.url();
    drop(server);
    let config = patient().retry_attempts(1).base_url(url).build().unwrap();
    let refused = Statsig::start_in_current_arbiter(config).unwrap();
    // A DNS label has at most 63 characters, so this name fails without a DNS query.
    let nowhere = format!("http://{}.invalid", "a".repeat(64));
    let config = patient().retry_attempts(1).base_url(nowhere).allow_plain_http(true).proxy("none");
    let unknown = Statsig::start_in_current_arbiter(config.build().unwrap()).unwrap();

    let error = refused.check_gate(&user("u-1"), "open").await.unwrap_err();
    assert!(matches!(error, Error::Connect { fault: ConnectFault::Refused, .. }), "{error}");
    let error = unknown.check_gate(&user("u-1"), "open").await.unwrap_err();
    assert!(matches!(error, Error::Connect { fault: ConnectFault::Resolve, .. }), "{error}");
}

#[actix_rt::test]
async fn promise_7_no_error_repeats_the_key_or_a_private_attribute() {
    let server = server();
    let statsig = start(&server, patient());
    let who = User::builder().user_id("u-1").private_attribute("pin", "hunter2").build().unwrap();
    for (n, who) in [who, user("u-2")].into_iter().enumerate() {
        let echo = format!("your key secret-key and hunter2 \u{e9}\u{1b}[31m {}", "x".repeat(500));
        server.inject(Fault::body(echo.clone()));
        let garbled = statsig.check_gate(&who, "open").await.unwrap_err();
        let other = json!({ "name": "secret-key", "value": echo }).to_string();
        server.inject(Fault::body(other).always());
        let typed = statsig.check_gate(&who, "open").await.unwrap_err();
        server.clear_faults();
        let shown = format!("{garbled} {garbled:?} {typed} {typed:?}");
        assert!(!shown.contains("secret-key") && !shown.contains('\u{1b}'), "{shown}");
        assert!(n == 1 || !shown.contains("hunter2"), "{shown}");
    }
}

#[actix_rt::test]
async fn promise_5_transport_panics_fail_their_calls_alone() {
    let server = server();
    let statsig = start(&server, patient());
    assert!(statsig.check_gate(&user("u-1"), "open").await.unwrap());

    // A handler that panics loses its call, which is sent again after the restart.
    for (n, failpoint) in ["transport.call", "transport.attempted"].into_iter().enumerate() {
        panic_at(failpoint, 1);
        let open = statsig.check_gate(&user(failpoint), "open").await;
        assert!(matches!(open, Ok(true)), "{failpoint}: {open:?}");
        assert_eq!(statsig.stats().restarts, n as u64 + 1);
    }
    panic_at("attempt", 1);
    let error = statsig.check_gate(&user("attempt"), "open").await.unwrap_err();
    assert!(matches!(error, Error::Internal { .. }), "{error}");
    assert!(statsig.check_gate(&user("u-9"), "open").await.unwrap());
    assert_eq!((statsig.stats().in_flight, statsig.stats().restarts), (0, 3));
}

#[actix_rt::test]
async fn promise_6_shutdown_leaves_no_connection_open() {
    let server = server();
    let statsig = start(&server, patient());
    server.set_latency(Duration::from_millis(50));
    let checks = (0..20).map(|n| {
        let statsig = statsig.clone();
        async move { statsig.check_gate(&user(n), "open").await }
    });
    let checks = actix_rt::spawn(join_all(checks));
    server.calls_reached(20).await;

    let report = statsig.shutdown(Duration::from_secs(30)).await;

    assert_eq!((report.pending, report.answered), (20, 20));
    assert!(checks.await.unwrap().into_iter().all(|answer| matches!(answer, Ok(true))));
    server.all_closed().await;
}

/// The component works under `#[tokio::main]`; the other tests run under `#[actix_web::main]`.
#[tokio::test(flavor = "multi_thread")]
async fn component_on_its_own_thread_works_from_any_runtime() {
    let server = Arc::new(server());
    let config = patient().base_url(server.url()).build().unwrap();
    let statsig = Statsig::start(config).unwrap();

    let tasks = (0..8).map(|n| {
        let statsig = statsig.clone();
        tokio::spawn(async move { statsig.check_gate(&user(n % 2), "open").await })
    });

    for task in join_all(tasks).await {
        assert!(task.unwrap().unwrap());
    }
    statsig.shutdown(Duration::from_secs(30)).await;
    server.all_closed().await;
}

//! Whether an answer comes from Statsig's API or from something in between; over real sockets.
#![cfg(feature = "test-util")]

use std::{io::Write, time::Duration};

use actix_statsig::{
    BreakerState, Error, Source,
    test_util::{Fault, LocalStatsig, Rules},
};
use flate2::{Compression, write::GzEncoder};
use futures_util::future::join_all;
use serde_json::json;

use crate::support::{log::Log, patient, start, user};

const PAGE: &str = "<!DOCTYPE html><title>Access denied</title>";

fn server() -> LocalStatsig {
    let rules = Rules::new().gate("open", true).config("homepage", json!({"columns": 3}));
    LocalStatsig::start(rules).expect("a free port")
}

fn page(status: u16) -> Fault {
    Fault::status(status).header("content-type", "text/html; charset=utf-8").with_body(PAGE)
}

/// Answers of proxies, firewalls and sign-in pages.
fn intermediaries() -> Vec<Fault> {
    let challenge = || Fault::status(403).header("cf-mitigated", "challenge");
    let mut all = vec![page(200), page(400), page(401), page(403), page(404), page(451)];
    all.extend([204, 301, 302, 304, 307, 308, 404, 405, 407, 511].map(Fault::status));
    all.extend([
        Fault::status(302).header("location", "https://login.example/"),
        Fault::status(403).header("content-type", "text/plain").with_body("RBAC: access denied"),
        Fault::status(401).header("www-authenticate", "Basic realm=\"staff\""),
        challenge(),
        challenge().header("content-type", "text/html").with_body(PAGE),
        Fault::body(format!("\u{feff}\n{PAGE}")),
        Fault::body(gzip(PAGE.as_bytes())).header("content-encoding", "gzip"),
        page(403).with_body(gzip(PAGE.as_bytes())).header("content-encoding", "gzip"),
    ]);
    all
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).expect("memory");
    encoder.finish().expect("memory")
}

#[actix_rt::test]
async fn intermediarys_answer_falls_back_to_a_stale_one() {
    let server = server();
    let short =
        patient().cache_ttl(Duration::from_millis(1)).stale_if_error(Duration::from_secs(60));
    let statsig = start(&server, short.retry_attempts(1).circuit_breaker(false));
    let who = user("kept");
    assert!(statsig.check_gate(&who, "open").await.unwrap());
    for (n, fault) in intermediaries().into_iter().enumerate() {
        server.clear_faults();
        server.inject(fault.clone().always());

        let error = statsig.check_gate(&user(n), "open").await.unwrap_err();
        let stale = statsig.gate_evaluation(&who, "open").await;

        assert!(matches!(error, Error::Intermediary { .. }), "{fault:?}: {error:?}");
        assert!(error.to_string().starts_with("something between here and Statsig answered"));
        assert!(error.is_retryable(), "the problem may be temporary");
        let source = stale.unwrap_or_else(|error| panic!("{fault:?}: {error}")).source();
        assert!(matches!(source, Source::Stale { .. }), "{fault:?}: {source:?}");
        assert!(!statsig.stats().is_ready(), "{fault:?}");

        server.clear_faults();
        assert!(statsig.check_gate(&user("another"), "open").await.unwrap());
        assert!(statsig.stats().is_ready());
    }
}

#[actix_rt::test]
async fn oversized_or_empty_page_is_an_intermediarys() {
    let server = server();
    let statsig = start(&server, patient().retry_attempts(1));
    let long = PAGE.repeat(50_000);
    for fault in [
        page(200).with_body(long.clone()),
        page(200).with_body(gzip(long.as_bytes())),
        page(200).with_body(""),
        page(200).with_body("").header("transfer-encoding", "chunked"),
    ] {
        server.inject(fault);
        let error = statsig.check_gate(&user("u-1"), "open").await.unwrap_err();
        assert!(matches!(error, Error::Intermediary { status: 200, .. }), "{error}");
    }
}

#[actix_rt::test]
async fn intermediary_is_named_in_the_log() {
    let (server, log) = (server(), Log::default());
    let _subscriber = log.subscribe();
    let statsig = start(&server, patient());
    server.inject(page(403).always());

    assert!(statsig.check_gate(&user("u-1"), "open").await.is_err());

    let named = "something between here and Statsig answered 403 text/html";
    assert_eq!(log.count(named), 1, "{log}");
}

#[actix_rt::test]
async fn intermediarys_answers_to_several_users_open_the_breaker() {
    for fault in [page(403), Fault::status(302), Fault::status(204), page(200)] {
        let server = server();
        let statsig = start(&server, patient().retry_attempts(1).max_in_flight(1));
        server.inject(fault.always());
        let asked = (0..10).map(|n| {
            let statsig = statsig.clone();
            async move { statsig.check_gate(&user(n), "open").await }
        });
        assert!(join_all(asked).await.iter().all(Result::is_err));
        assert_ne!(statsig.stats().breaker, BreakerState::Closed);
    }
}

#[actix_rt::test]
async fn refusal_in_the_apis_form_is_a_refused_key() {
    let server = server();
    let statsig = start(&server, patient());
    for status in [401, 403] {
        for media in ["application/json", "text/plain", "text/html", "application/a+json"] {
            let body = r#"{"error": "no such key"}"#;
            server.inject(Fault::status(status).header("content-type", media).with_body(body));
            let error = statsig.check_gate(&user("u-1"), "open").await.unwrap_err();
            assert!(matches!(error, Error::Unauthorized { .. }), "{media}: {error:?}");
            assert!(!error.is_retryable());
        }
    }
}

#[actix_rt::test]
async fn json_is_read_as_what_it_is_whatever_its_head_says() {
    let server = server();
    let statsig = start(&server, patient());
    let gate = br#"{"name": "open", "value": true}"#.to_vec();
    let marked = [b"\xef\xbb\xbf".to_vec(), gate.clone()].concat();
    let mut asked = 0;
    for media in ["application/json", "text/html", "text/plain", "text/json", "", "x"] {
        for body in [gate.clone(), marked.clone(), gzip(&gate), gzip(&marked)] {
            for encoding in ["gzip", "x-gzip", "identity", "br"] {
                let fault = Fault::body(body.clone()).content_type(media);
                server.inject(fault.header("content-encoding", encoding));
                asked += 1;
                let open = statsig.check_gate(&user(asked), "open").await;
                assert!(matches!(open, Ok(true)), "{media:?} {encoding}: {open:?}");
            }
        }
    }
    assert_eq!(server.calls(), asked, "each call needs one attempt");

    let config = [&b"\xef\xbb\xbf"[..], br#"{"value": {"columns": 4}}"#].concat();
    server.inject(Fault::body(gzip(&config)).content_type("text/html"));
    let homepage = statsig.get_config(&user("u-1"), "homepage").await.unwrap();
    assert_eq!(homepage.get::<u8>("columns").unwrap(), 4);
    let two = r#"{"open": {"value": true}, "shut": {"value": false}}"#;
    server.inject(Fault::body(gzip(two.as_bytes())));
    assert_eq!(statsig.check_gates(&user("u-1"), ["open", "shut"]).await.unwrap(), [true, false]);
}

#[actix_rt::test]
async fn promise_4_gzip_bomb_stops_at_the_longest_answer() {
    let server = server();
    let statsig = start(&server, patient());
    let bomb = gzip(&vec![b' '; 32 << 20]);
    assert!(bomb.len() < 64 << 10);

    server.inject(Fault::body(bomb.clone()).header("content-encoding", "gzip"));
    let error = statsig.check_gate(&user("u-1"), "open").await.unwrap_err();
    assert!(error.to_string().contains("longer than 2 MiB"), "{error}");

    server.inject(Fault::status(400).with_body(bomb).header("content-encoding", "gzip"));
    let error = statsig.check_gate(&user("u-1"), "open").await.unwrap_err();
    assert!(matches!(error, Error::Refused { status: 400, .. }), "{error}");
}

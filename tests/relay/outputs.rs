//! What happens to the relay's output, and to the relay when the output cannot be written.

use std::io::{BufRead, BufReader, Read, Write};

use actix_statsig::test_util::{Fault, LocalStatsig, Rules};
use awc::http::StatusCode;
use futures_util::{StreamExt, stream};

use crate::{
    gate,
    program::{KEY, Relay, limited},
    support::upstream::{Mood, Upstream},
};

#[actix_rt::test]
async fn unread_log_stops_neither_serving_nor_draining() {
    let upstream = Upstream::start(Mood::Hold);
    let key = [("STATSIG_API_KEY", KEY)];
    let options = ["--upstream", &upstream.url, "--timeout", "60s", "--attempt-timeout", "60s"];
    let mut relay = Relay::unread(&[&options[..], &["--log", "debug"]].concat(), &key).await;

    let held = relay.post("/v1/check_gate", &gate("u", 0));
    let leave = async {
        relay.has_received(1).await;
        relay.signal("TERM");
        relay.refuses_connections().await;
        upstream.release();
    };
    let ((status, _), ()) = tokio::join!(held, leave);

    assert_eq!(status, StatusCode::OK);
    assert_eq!(relay.ended().await.code, Some(0));
}

#[actix_rt::test]
async fn unread_log_does_not_keep_failures_from_being_answered() {
    let upstream = LocalStatsig::start(Rules::sample()).unwrap();
    upstream.inject(Fault::status(503).always());
    let options = ["--upstream", &upstream.url(), "--retry-attempts", "1"];
    let mut relay = Relay::unread(&options, &[("STATSIG_API_KEY", KEY)]).await;

    let (status, _) = relay.post("/v1/check_gate", &gate("u", 0)).await;
    assert_eq!(status, StatusCode::BAD_GATEWAY);
    assert_eq!(relay.get("/stats").await.1["restarts"], 0);
    relay.signal("TERM");
    assert_eq!(relay.ended().await.code, Some(0));
}

/// The relay's stdout is full before the relay prints its address.
#[cfg(unix)]
#[actix_rt::test]
async fn promise_10_unread_stdout_delays_neither_start_nor_exit() {
    use std::os::{fd::OwnedFd, unix::net::UnixStream};

    let (mut stdout, _unread) = UnixStream::pair().unwrap();
    stdout.set_nonblocking(true).unwrap();
    while stdout.write(&[b'.'; 4096]).is_ok() {}
    stdout.set_nonblocking(false).unwrap();
    let path = crate::unix::path("unread.sock");
    let listen = format!("unix:{path}");
    let mut relay = Relay::with_stdout(OwnedFd::from(stdout), &["--listen", &listen]);

    // The relay cannot print its address, so the test tries to connect.
    crate::support::until(|| UnixStream::connect(&path).is_ok()).await;
    let answer = crate::unix::ask(&path, "");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    relay.signal("TERM");
    assert_eq!(relay.ended().await.code, Some(0));
}

/// Makes many checks, each of which fails.
async fn fails_often(relay: &Relay, checks: usize) {
    let check = |number| relay.post("/v1/check_gate", &gate(&format!("u-{number}"), 0));
    let mut answers = stream::iter((0..checks).map(check)).buffer_unordered(50);
    while let Some((status, _)) = limited(answers.next()).await {
        assert!(status.is_server_error(), "{status}");
    }
}

#[actix_rt::test]
async fn promise_10_unread_log_delays_no_check_probe_or_exit() {
    let upstream = LocalStatsig::start(Rules::sample()).unwrap();
    upstream.inject(Fault::status(503).always());
    let options = ["--upstream", &upstream.url(), "--retry-attempts", "1"];
    let key = [("STATSIG_API_KEY", KEY)];
    let (mut relay, mut unread) = Relay::stuck(&options, &key).await;

    fails_often(&relay, 1_500).await;
    assert_eq!(relay.get("/healthz").await.0, StatusCode::OK);
    relay.signal("TERM");
    assert_eq!(relay.ended().await.code, Some(0));

    // The pipe holds the log from its beginning, as far as there was room.
    let mut log = String::new();
    unread.read_to_string(&mut log).unwrap();
    assert!(log.contains("calls to Statsig fail") && log.len() > 10_000, "{log}");
}

async fn counter(relay: &Relay, name: &str) -> u64 {
    let mut response = limited(relay.client.get(relay.url("/metrics")).send()).await.unwrap();
    let metrics = limited(response.body().limit(1024 * 1024)).await.unwrap();
    let metrics = str::from_utf8(&metrics).unwrap();
    let figure = metrics.lines().find_map(|line| line.strip_prefix(name));
    figure.unwrap_or_else(|| panic!("{metrics}")).parse().unwrap()
}

#[actix_rt::test]
async fn dropped_log_lines_are_counted_and_logged_later() {
    let upstream = LocalStatsig::start(Rules::sample()).unwrap();
    let url = upstream.url();
    let options = ["--upstream", &url, "--log", "trace", "--log-format", "json"];
    let (relay, unread) = Relay::stuck(&options, &[("STATSIG_API_KEY", KEY)]).await;

    let dropped = async || counter(&relay, "statsig_relay_log_lines_dropped_total ").await;
    assert_eq!(dropped().await, 0);
    limited(async {
        while dropped().await == 0 {
            relay.post("/v1/check_gate", &gate("u", 0)).await;
        }
    })
    .await;

    let (tell, told) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut tell = Some(tell);
        for line in BufReader::new(unread).lines() {
            let line: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
            if let Some(number) = line["dropped"].as_u64()
                && let Some(tell) = tell.take()
            {
                tell.send(number).unwrap();
            }
        }
    });
    assert!(limited(told).await.unwrap() > 0);
}

#[actix_rt::test]
async fn requests_that_are_not_http_are_counted_not_logged() {
    let upstream = Upstream::start(Mood::Answer);
    let mut relay = Relay::start(&upstream, &[]).await;
    for _ in 0..200 {
        let mut stranger = std::net::TcpStream::connect(&relay.address).unwrap();
        stranger.write_all(b"\x16\x03\x01 no HTTP\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        let _ = stranger.read_to_end(&mut answer);
    }
    assert_eq!(counter(&relay, "statsig_relay_bad_requests_total ").await, 200);

    relay.signal("TERM");
    let ended = relay.ended().await;
    let served = ended.stderr.lines().take_while(|line| !line.contains("draining"));
    let lines: Vec<_> = served.collect();
    assert_eq!(lines, [""; 0]);
}

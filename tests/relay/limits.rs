//! The machine's limits, and how the relay behaves when they are low.

use std::net::TcpStream;

use actix_statsig::test_util::{LocalStatsig, Rules};
use awc::http::StatusCode;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::{
    gate,
    program::{Ended, KEY, Relay},
};

/// Raises this process's own limit, for its clients.
fn raise_own_limit() {
    assert!(rlimit::increase_nofile_limit(8_192).unwrap() >= 4_096);
}

fn idle_clients(relay: &Relay, number: usize) -> Vec<TcpStream> {
    (0..number).map(|_| TcpStream::connect(&relay.address).unwrap()).collect()
}

/// Makes checks at once, each for a gate and user without a cached answer, and expects all answers.
async fn all_are_answered(relay: &Relay, checks: usize, round: &str) {
    let check = |number| relay.post("/v1/check_gate", &gate(&format!("{round}-{number}"), 0));
    for (status, answer) in join_all((0..checks).map(check)).await {
        assert_eq!(status, StatusCode::OK, "{round} {answer}");
    }
}

async fn stop(mut relay: Relay) -> Ended {
    relay.signal("TERM");
    relay.ended().await
}

fn warnings(ended: &Ended) -> Vec<&str> {
    ended.stderr.lines().filter(|line| !line.contains(" INFO ")).collect()
}

#[actix_rt::test]
async fn promise_4_idle_clients_beyond_the_file_limit_block_nobody() {
    raise_own_limit();
    let upstream = LocalStatsig::start(Rules::sample()).unwrap();
    let url = upstream.url();
    let options = ["--upstream", &url, "--max-connections", "2000"];
    let key = [("STATSIG_API_KEY", KEY)];
    let relay = Relay::after("ulimit -Sn 1024", &options, &key).await;

    let idle = idle_clients(&relay, 1_100);
    all_are_answered(&relay, 50, "u").await;

    drop(idle);
    let ended = stop(relay).await;
    assert_eq!((ended.code, warnings(&ended).len()), (Some(0), 0), "{}", ended.stderr);
}

#[actix_rt::test]
async fn promise_4_hard_file_limit_leaves_files_for_statsig() {
    raise_own_limit();
    let upstream = LocalStatsig::start(Rules::sample()).unwrap();
    let url = upstream.url();
    let options = ["--upstream", &url, "--workers", "2", "--log-format", "json"];
    let key = [("STATSIG_API_KEY", KEY)];
    let relay = Relay::after("ulimit -n 512", &options, &key).await;

    // The hundred clients keep their connections, and more idle clients come than there is room
    // for.
    join_all((0..100).map(|_| relay.get("/healthz"))).await;
    let idle = idle_clients(&relay, 600);
    for round in ["first", "second", "third"] {
        all_are_answered(&relay, 100, round).await;
    }

    drop(idle);
    let ended = stop(relay).await;
    assert_eq!(ended.code, Some(0));
    let lines = ended.stderr.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let warnings: Vec<_> = lines.filter(|line| line["level"] != "INFO").collect();
    let [warning] = &warnings[..] else { panic!("{warnings:?}") };
    assert_eq!((&warning["level"], &warning["files"]), (&json!("WARN"), &json!(512)));
    let message = warning["message"].as_str().unwrap();
    assert!(message.contains(": --max-connections from 10000 to "), "{message}");
}

#[actix_rt::test]
async fn file_limit_too_low_to_serve_exits_with_2() {
    for (files, options, wanted) in [
        (40, &[][..], "the limit of file descriptors, 40, must be no less than 64"),
        (200, &["--max-in-flight", "100"], "--max-in-flight cannot be 100: the limit of file"),
    ] {
        let variables = [("STATSIG_API_KEY", KEY)];
        let mut relay = Relay::spawn_after(&format!("ulimit -n {files}"), options, &variables);
        let ended = relay.ended().await;
        assert_eq!((ended.code, &*ended.stdout), (Some(2), ""), "{}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        assert!(ended.stderr.contains(wanted), "{}", ended.stderr);
    }
}

#[actix_rt::test]
async fn workers_are_lowered_to_the_file_limit() {
    let options = ["--workers", "512"];
    let relay = Relay::after("ulimit -n 1024", &options, &[("STATSIG_API_KEY", KEY)]).await;
    assert_eq!(relay.get("/healthz").await.0, StatusCode::OK);

    let ended = stop(relay).await;
    let warnings = warnings(&ended);
    let [warning] = warnings[..] else { panic!("{}", ended.stderr) };
    assert!(warning.contains("--workers from 512 to "), "{warning}");
}

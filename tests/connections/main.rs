//! Connections to Statsig. An answer only ever reaches the request it was sent for, even if a
//! server or proxy blurs where one answer ends and the next begins. Every test of that runs over
//! plain HTTP and over TLS. `http.rs` has the exchange itself.

use std::time::Duration;

use actix_statsig::{Statsig, User};
use futures_util::future::join_all;
use support::{
    hostile::{Connection, Hostile},
    start_here as start,
};

mod bodies;
mod http;
mod idle;
mod interim;
mod names;
mod proof;
#[path = "../support/mod.rs"]
mod support;

/// Runs a test over plain HTTP and over TLS, with a server that serves each connection like this.
macro_rules! over_both {
    ($serve:expr, $test:expr) => {
        let serve = $serve;
        for with_tls in [false, true] {
            let server = Hostile::start(with_tls, serve.clone());
            $test(server).await;
        }
    };
}
pub(crate) use over_both;

fn user(n: usize) -> User {
    User::new(format!("u-{n}")).expect("a user id")
}

/// Asks for a gate of the user; the answer has to be theirs.
async fn assert_right(statsig: &Statsig, gate: &str, n: usize) {
    let answer = statsig.gate_evaluation(&user(n), gate).await;
    let answer = answer.unwrap_or_else(|error| panic!("user {n}: {error}"));
    assert_eq!(answer.rule_id(), Some(&*format!("u-{n}")));
}

/// 120 checks by different users, one after the other and then ten at once.
async fn assert_all_right(statsig: &Statsig) {
    for n in 0..120 {
        assert_right(statsig, "beta", n).await;
    }
    for ten in 0..12 {
        join_all((0..10).map(|n| assert_right(statsig, "beta", 200 + ten * 10 + n))).await;
    }
}

async fn pause(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}

#[actix_rt::test]
async fn connections_are_reused_as_long_as_there_is_no_doubt() {
    let serve = |mut connection: Connection| async move { connection.answer_all().await };
    over_both!(serve, async |server: Hostile| {
        let statsig = start(server.config());
        assert_all_right(&statsig).await;
        // Ten at once, and each may have to rest.
        assert!(server.connections() <= 20, "{} connections", server.connections());
        assert_eq!(server.requests(), 240);
        assert_eq!(statsig.stats().retries, 0);
    });
}

//! Connections to Statsig. An answer only ever reaches the request it was sent for, even if a
//! server or proxy blurs where one answer ends and the next begins. Every test of this runs over
//! plain HTTP and over TLS. `http.rs` tests the exchange itself.

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

/// Runs a test over plain HTTP and over TLS, with a server that serves each connection with
/// `$serve`.
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

/// Checks a gate for a user, and asserts that the answer is for that user.
async fn assert_right(statsig: &Statsig, gate: &str, n: usize) {
    let answer = statsig.gate_evaluation(&user(n), gate).await;
    let answer = answer.unwrap_or_else(|error| panic!("user {n}: {error}"));
    assert_eq!(answer.rule_id(), Some(&*format!("u-{n}")));
}

/// Makes 120 checks for different users one by one, and 120 more ten at a time.
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
        // Ten connections for ten calls at once, and as many again while those rest.
        assert!(server.connections() <= 20, "{} connections", server.connections());
        assert_eq!(server.requests(), 240);
        assert_eq!(statsig.stats().retries, 0);
    });
}

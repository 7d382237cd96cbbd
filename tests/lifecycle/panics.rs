//! Promise 5 under load and over real sockets: panics at each failpoint, drawn from a seed.
#![cfg(feature = "test-util")]

use std::time::Duration;

use actix_statsig::{
    Error, User,
    test_util::{FAILPOINTS, LocalStatsig, Rule, Rules, panic_at},
};
use fastrand::Rng;
use futures_util::future::join_all;

use crate::support::{Variant, patient, start};

const CALLERS: usize = 32;

fn server() -> LocalStatsig {
    let rules = (0..CALLERS).fold(Rules::new(), |rules, n| {
        rules.gate(format!("gate {n}"), Rule::new(true).override_for(n.to_string(), false))
    });
    LocalStatsig::start(rules).expect("a free port")
}

/// Whether the answer belongs to the caller, or is an error that a panic explains.
fn is_right(n: usize, answer: &Result<Vec<bool>, Error>) -> bool {
    match answer {
        Ok(open) => *open == (0..4).map(|other| other != n % 4).collect::<Vec<_>>(),
        Err(error) => matches!(error, Error::Internal { .. }),
    }
}

/// A user that no other round uses, so that the cache has no answer.
fn user(n: usize, round: usize) -> User {
    let user = User::builder().user_id(n.to_string()).custom("round", round.to_string());
    user.build().expect("a valid user")
}

#[actix_rt::test]
async fn promise_5_panics_anywhere_leave_every_answer_right() {
    for variant in Variant::ALL {
        println!("{variant:?}");
        panics_leave_nobody_without_the_right_answer(variant).await;
    }
}

async fn panics_leave_nobody_without_the_right_answer(variant: Variant) {
    let server = server();
    let statsig = start(&server, variant.of(patient(), Duration::from_secs(3600)));
    // Each failpoint twice: more panics would make an actor pause longer and longer before each
    // restart.
    let mut failpoints = [FAILPOINTS, FAILPOINTS].concat();
    Rng::with_seed(5).shuffle(&mut failpoints);
    let (mut answered, mut failed) = (0, 0);
    for (round, failpoint) in failpoints.into_iter().enumerate() {
        panic_at(failpoint, 1);
        let asked = (0..CALLERS).map(|n| {
            let statsig = statsig.clone();
            let names: Vec<_> = (0..4).map(|gate| format!("gate {}", n - n % 4 + gate)).collect();
            async move { (n, statsig.check_gates(&user(n, round), names).await) }
        });
        let (answers, flushed) = tokio::join!(join_all(asked), statsig.flush());
        flushed.expect("it runs");
        for (n, answer) in answers {
            assert!(is_right(n, &answer), "{n}: {answer:?}");
            *if answer.is_ok() { &mut answered } else { &mut failed } += 1;
        }
    }

    let stats = statsig.stats();
    // Not every failpoint is reached: a flush may end before its timer, and there is no early
    // shutdown.
    assert!(stats.restarts >= 10, "{stats:?}");
    assert_eq!((stats.requests, stats.answered), (answered + failed, answered));
    assert_eq!(stats.errors.values().sum::<u64>(), failed);
    assert!(answered > 20 * failed, "{failed} failed, {answered} did not");
    let report = statsig.shutdown(Duration::from_secs(30)).await;
    assert_eq!(report.pending, 0);
    server.all_closed().await;
}

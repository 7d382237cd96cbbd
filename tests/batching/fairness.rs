//! Promise 3: one user's problems do not affect other users. In virtual time with a scripted
//! transport, and over real sockets with the real transport.
#![cfg(feature = "test-util")]

use std::{sync::Arc, time::Duration};

use actix_rt::time::timeout;
use actix_statsig::{CheckGates, Error, ErrorKind, GetConfigs, User, test_util::Fault};
use futures_util::future::join_all;

use crate::support::{
    Reaction, Script, config, open_server, settle, start, user, with_each_variant,
};

/// Longer than any step of these tests takes.
const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn promise_3_one_users_overload_refuses_nobody_else() {
    with_each_variant(|config| async move {
        let hog = user("hog");
        let hangs = hog.clone();
        let script = Script::new(move |call| match call.user == hangs {
            true => Reaction::Hold,
            false => Reaction::Answer,
        });
        let statsig = script.start(config);
        let names = |n: usize| (n * 10..n * 10 + 10).map(|n| format!("gate {n}"));
        let by_address =
            (0..525).map(|n| statsig.addr().send(CheckGates::new(hog.clone(), names(n))));
        let by_handle = (525..1_050).map(|n| {
            let (statsig, hog) = (statsig.clone(), hog.clone());
            actix_rt::spawn(async move { statsig.check_gates(&hog, names(n)).await })
        });
        let (by_address, by_handle): (Vec<_>, Vec<_>) = (by_address.collect(), by_handle.collect());
        settle().await;
        assert_eq!(
            statsig.stats().errors[&ErrorKind::Overloaded],
            300,
            "refused of 1,050 requests with ten names each"
        );

        for n in 0..250 {
            let answer = match n % 2 {
                0 => statsig.check_gates(&user(n), names(0)).await.map(|_| ()),
                _ => statsig.ask(CheckGates::new(user(n), names(0))).await.map(|_| ()),
            };
            answer.unwrap_or_else(|error| panic!("{n}: {error}"));
        }
        let refused = statsig.check_gate(&hog, "one more").await.unwrap_err();
        assert!(matches!(refused, Error::OverloadedUser { limit: 7_500, .. }), "{refused:?}");
        assert!(
            refused.is_overload()
                && refused.is_retryable()
                && refused.kind() == ErrorKind::Overloaded
        );

        script.release();
        settle().await;
        script.release();
        drop((by_address, by_handle));
    });
}

#[test]
fn promise_4_handle_and_address_bound_requests_in_bytes() {
    with_each_variant(|config| async move {
        let script = Script::new(|_| Reaction::Hold);
        let statsig = script.start(config.max_pending_bytes(1 << 20));
        let large = |n: usize| {
            let user = User::builder().user_id(n.to_string());
            user.custom("bio", "x".repeat(60_000)).build().unwrap()
        };
        let held: Vec<_> =
            (0..20).map(|n| statsig.addr().send(GetConfigs::new(large(n), ["aa"]))).collect();
        settle().await;
        assert_eq!(statsig.stats().errors[&ErrorKind::Overloaded], 3);

        let refused = statsig.check_gate(&large(100), "aa").await.unwrap_err();
        let by_address = statsig.addr().send(CheckGates::new(large(100), ["aa"])).await.unwrap();

        assert!(matches!(refused, Error::OverloadedBytes { limit: 1_048_576, .. }), "{refused:?}");
        assert!(matches!(by_address, Err(Error::OverloadedBytes { .. })), "{by_address:?}");
        drop(held);
        settle().await;
        statsig.flush().await.unwrap();
    });
}

#[actix_rt::test]
async fn promise_3_hanging_users_calls_leave_places_for_others() {
    for transports in [1, 3] {
        let server = open_server();
        server.inject(Fault::hang().for_user("hog").always());
        let limits = config().timeout(LIMIT).attempt_timeout(LIMIT).transports(transports);
        let statsig = start(&server, limits);
        let hog = user("hog");
        let hang = (0..200).map(|n| {
            let (statsig, hog) = (statsig.clone(), hog.clone());
            actix_rt::spawn(async move { statsig.get_config(&hog, format!("config {n}")).await })
        });
        let hang: Vec<_> = hang.collect();
        server.calls_reached(48 - 2).await;

        let others = join_all((0..300).map(|n| {
            let statsig = statsig.clone();
            async move { statsig.check_gate(&user(n), "open").await }
        }));
        let others = timeout(LIMIT / 2, others).await.expect("other users wait too long");

        assert!(others.iter().all(|answer| matches!(answer, Ok(true))), "{others:?}");
        assert!(hang.iter().all(|task| !task.is_finished()));
        let hanging = server.calls() - 300;
        assert!((46..=48).contains(&hanging), "not three quarters of 64: {hanging}");
        statsig.shutdown(Duration::ZERO).await;
    }
}

#[actix_rt::test]
async fn promise_3_known_refused_name_takes_no_retry() {
    let server = open_server();
    server.inject(Fault::status(400).for_name("refused").always());
    let statsig = start(&server, config().timeout(LIMIT).attempt_timeout(LIMIT));
    let names: Vec<Arc<str>> = (0..19).map(|n| format!("gate {n}").into()).collect();
    let mut retries_of_the_first = 0;
    for round in 0..40 {
        let who = user(round);
        let refused = statsig.check_gate(&who, "refused");
        let innocent = names.iter().map(|name| statsig.check_gate(&who, Arc::clone(name)));

        let (refused, innocent) = tokio::join!(refused, join_all(innocent));

        assert!(matches!(refused, Err(Error::Refused { status: 400, .. })), "{refused:?}");
        let failed = innocent.iter().filter(|answer| answer.is_err()).count();
        assert_eq!(failed, 0, "of 19 names that are not refused, in round {round}");
        if round == 0 {
            retries_of_the_first = statsig.stats().retries;
        }
    }
    let stats = statsig.stats();
    assert!((1..=10).contains(&retries_of_the_first), "{retries_of_the_first} retries");
    assert_eq!(stats.retries, retries_of_the_first);
    assert_eq!(stats.calls, 1 + retries_of_the_first + 39 * 2);
}

#[actix_rt::test]
async fn promise_3_refused_user_leaves_others_retries_to_bisect() {
    let server = open_server();
    server.inject(Fault::status(400).for_user("refused").always());
    server.inject(Fault::status(400).for_name("refused").always());
    let statsig = start(&server, config().timeout(LIMIT).attempt_timeout(LIMIT));
    let of_the_refused = user("refused");
    for _ in 0..10 {
        let names = (0..20).map(|n| format!("gate {n}"));
        assert!(statsig.check_gates(&of_the_refused, names).await.is_err());
    }
    let who = user("another");
    let refused = statsig.check_gate(&who, "refused");
    let innocent = (0..19).map(|n| statsig.check_gate(&who, format!("gate {n}")));

    let (refused, innocent) = tokio::join!(refused, join_all(innocent));

    assert!(matches!(refused, Err(Error::Refused { status: 400, .. })), "{refused:?}");
    assert_eq!(innocent.iter().filter(|answer| answer.is_err()).count(), 0, "of 19");
}

#[actix_rt::test]
async fn promise_3_user_who_alone_fails_costs_readiness_once() {
    let server = open_server();
    let page = Fault::status(403).content_type("text/html").with_body("<p>blocked</p>");
    server.inject(page.for_user("blocked").always());
    let statsig = start(&server, config().retry_attempts(1));
    let (blocked, other) = (user("blocked"), user("other"));

    let mut is_ready = Vec::new();
    for n in 0..3 {
        assert!(statsig.check_gate(&other, format!("gate {n}")).await.is_ok());
        assert!(statsig.check_gate(&blocked, format!("gate {n}")).await.is_err());
        is_ready.push(statsig.stats().is_ready());
    }

    assert_eq!(is_ready, [false, true, true]);
}

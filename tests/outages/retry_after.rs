//! What the component does when Statsig answers with `Retry-After`; over real sockets.
#![cfg(feature = "test-util")]

use std::time::Duration;

use actix_rt::time::sleep;
use actix_statsig::{BreakerState, Error, Source, User, test_util::Fault};
use futures_util::{FutureExt, future::join_all};

use crate::support::{config, open_server, patient, start, until, user};

#[actix_rt::test]
async fn repeated_retry_after_limits_calls_to_a_handful() {
    for status in [429, 503] {
        let server = open_server();
        let statsig = start(&server, config());
        server.inject(Fault::status(status).retry_after("20").always());

        // The other requests start after the first answer, which takes a while on a busy machine.
        let first = statsig.check_gate(&user("first"), "open").await;
        let asked = (0..60).map(|n| {
            let statsig = statsig.clone();
            async move {
                sleep(Duration::from_millis(20 * n)).await;
                statsig.check_gate(&user(n), "open").await
            }
        });
        let answers = [vec![first], join_all(asked).await].concat();

        for answer in answers {
            let Err(Error::Unavailable { status: told, retry_after: Some(wait), .. }) = answer
            else {
                panic!("{answer:?}")
            };
            assert_eq!(told, status);
            assert!(wait <= Duration::from_secs(20) && wait > Duration::from_secs(10), "{wait:?}");
        }
        assert!(server.calls() <= 5, "{} calls", server.calls());
        assert_eq!(statsig.stats().breaker, BreakerState::Closed, "a Retry-After is not an outage");
    }
}

#[actix_rt::test]
async fn calls_with_time_wait_for_retry_after_and_are_answered() {
    let server = open_server();
    let statsig = start(&server, patient());
    server.inject(Fault::status(429).retry_after("1"));
    let first = {
        let statsig = statsig.clone();
        actix_rt::spawn(async move { statsig.check_gate(&user("first"), "open").await })
    };
    server.calls_reached(1).await;
    until(|| statsig.stats().last_call_failed || statsig.stats().retries > 0).await;

    let asked = (0..200).map(|n| {
        let statsig = statsig.clone();
        async move { statsig.check_gate(&user(n), "open").await }
    });
    let answers = join_all(asked).await;

    let failed: Vec<_> = answers.iter().filter(|answer| !matches!(answer, Ok(true))).collect();
    assert!(failed.is_empty(), "{} failed, the first: {:?}", failed.len(), failed[0]);
    assert!(first.await.unwrap().unwrap());
    assert_eq!(server.calls(), 202, "only the first call fails");
}

#[actix_rt::test]
async fn stale_answers_serve_at_once_during_retry_after() {
    for breaker in [true, false] {
        let server = open_server();
        let short = patient().cache_ttl(Duration::from_millis(1)).circuit_breaker(breaker);
        let statsig = start(&server, short.stale_if_error(Duration::from_secs(60)));
        let who = user("kept");
        statsig.check_gate(&who, "open").await.unwrap();
        server.inject(Fault::status(429).retry_after("40").always());
        assert!(statsig.check_gate(&user("another"), "open").await.is_err());
        let calls = server.calls();

        let gate =
            statsig.gate_evaluation(&who, "open").now_or_never().expect("no message").unwrap();

        assert!(matches!(gate.source(), Source::Stale { .. }), "{:?}", gate.source());
        assert_eq!(server.calls(), calls);
    }
}

#[actix_rt::test]
async fn open_breaker_does_not_probe_during_retry_after() {
    let server = open_server();
    let statsig = start(&server, config().retry_attempts(1));
    server.inject(Fault::status(500).times(9));
    server.inject(Fault::status(503).retry_after("20").always());
    for n in 0..10 {
        assert!(statsig.check_gate(&user(n), "open").await.is_err());
    }
    assert_ne!(statsig.stats().breaker, BreakerState::Closed);
    let calls = server.calls();

    for n in 0..100 {
        let refused = statsig.check_gate(&user(n), "open").await;
        assert!(matches!(refused, Err(Error::Unavailable { status: 503, .. })), "{refused:?}");
        // In all, longer than the interval between probes.
        sleep(Duration::from_millis(10)).await;
    }

    assert_eq!(server.calls(), calls);
}

#[actix_rt::test]
async fn call_that_outwaits_the_probes_starts_another() {
    let server = open_server();
    let long = Duration::from_secs(300);
    let statsig = start(&server, config().timeout(long).attempt_timeout(long).retry_attempts(1));
    server.inject(Fault::status(500).times(9));
    server.inject(Fault::status(503).retry_after("60"));
    for n in 0..10 {
        assert!(statsig.check_gate(&user(n), "open").await.is_err());
    }
    assert_ne!(statsig.stats().breaker, BreakerState::Closed);
    let asked = (0..20).map(|n| {
        let statsig = statsig.clone();
        actix_rt::spawn(async move { statsig.check_gate(&user(n), "open").await })
    });
    let asked: Vec<_> = asked.collect();
    until(|| statsig.stats().in_flight == 20).await;

    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(66)).await;
    tokio::time::resume();

    for answer in join_all(asked).await {
        assert!(matches!(answer.unwrap(), Ok(true)));
    }
    assert_eq!(server.calls(), 10 + 1 + 20, "one probe, and then the calls");
}

#[actix_rt::test]
async fn promise_3_one_users_retry_after_does_not_delay_others() {
    let server = open_server();
    let statsig = start(&server, patient().retry_attempts(1));
    server.inject(Fault::status(429).retry_after("1").for_user("busy"));
    server.inject(Fault::status(429).retry_after("40").for_user("busy").always());
    let ask = |who: User| {
        let statsig = statsig.clone();
        async move { statsig.check_gate(&who, "open").await }
    };
    assert!(ask(user("busy")).await.is_err());
    assert!(ask(user("other")).await.unwrap(), "answered after the one second of Retry-After");
    assert!(ask(user("busy")).await.is_err());
    let calls = server.calls();

    let others = join_all((0..40).map(|n| ask(user(n)))).await;

    assert!(others.iter().all(|answer| matches!(answer, Ok(true))), "{others:?}");
    let busy = ask(user("busy")).await;
    assert!(matches!(busy, Err(Error::Unavailable { status: 429, .. })), "{busy:?}");
    assert_eq!(server.calls(), calls + 40, "no call for the busy user");
}

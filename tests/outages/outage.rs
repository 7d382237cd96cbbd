//! Retries, the circuit breaker and stale answers while Statsig fails; over real sockets.
#![cfg(feature = "test-util")]

use std::time::Duration;

use actix_rt::time::{sleep, timeout};
use actix_statsig::{
    BreakerState, CheckGates, Error, GateEvaluation, Source, Statsig, User,
    test_util::{Fault, LocalStatsig, RecordedRequest, Rules},
};
use futures_util::{FutureExt, future::join_all};

use crate::support::{config, log::Log, open_server, patient, start, until, user};

/// One call each, for users that nobody has asked about.
async fn ask_many(statsig: &Statsig, from: usize, calls: usize) -> Vec<Result<bool, Error>> {
    let asked = (from..from + calls).map(|n| {
        let statsig = statsig.clone();
        async move { statsig.check_gate(&user(n), "open").await }
    });
    join_all(asked).await
}

#[actix_rt::test]
async fn promise_4_outage_is_not_multiplied_by_retries() {
    let server = open_server();
    let statsig = start(&server, patient().circuit_breaker(false));
    server.inject(Fault::status(503).always());

    let answers = ask_many(&statsig, 0, 1_500).await;

    assert!(answers.iter().all(|answer| matches!(answer, Err(Error::Unavailable { .. }))));
    let seen = server.calls();
    assert!((1_501..=1_950).contains(&seen), "{seen} calls seen for 1,500 asked");
    assert_eq!(statsig.stats().retries as usize, seen - 1_500);
}

/// The kinds of the errors among these.
fn failed<T>(answers: &[Result<T, Error>]) -> Vec<&'static str> {
    answers.iter().filter_map(|answer| Some(answer.as_ref().err()?.kind().as_str())).collect()
}

/// The checks that the server has seen, and the probes.
fn seen(server: &LocalStatsig) -> (usize, usize) {
    let requests = server.requests();
    let is_probe = |request: &&RecordedRequest| request.user["userID"] == "actix-statsig-probe";
    let probes = requests.iter().filter(is_probe).count();
    (requests.len() - probes, probes)
}

#[actix_rt::test]
async fn failures_open_the_breaker_and_a_probe_closes_it() {
    let server = open_server();
    let log = Log::default();
    let _subscriber = log.subscribe();
    let statsig = start(&server, patient().max_in_flight(1).retry_attempts(1));
    server.inject(Fault::status(500).always());
    assert_eq!(statsig.stats().breaker, BreakerState::Closed);

    let answers = ask_many(&statsig, 0, 200).await;

    let (checks, probes) = seen(&server);
    assert_eq!(checks, 10, "the rest was not tried");
    assert!(probes >= 1, "they waited for one");
    assert_ne!(statsig.stats().breaker, BreakerState::Closed);
    let open = answers.iter().filter_map(|answer| match answer {
        Err(Error::CircuitOpen { cause, .. }) => Some(cause.kind().as_str()),
        _ => None,
    });
    assert_eq!(open.collect::<Vec<_>>(), ["unavailable"; 190]);

    server.clear_faults();
    assert_eq!(failed(&ask_many(&statsig, 1_000, 500).await), [""; 0], "the server is well");
    assert_eq!(statsig.stats().breaker, BreakerState::Closed);
    assert_eq!(seen(&server).0, 510);
    assert!(
        server.requests().iter().all(|request| {
            request.exposure == (request.user["userID"] != "actix-statsig-probe")
        })
    );
    assert_eq!(log.count("the circuit breaker is open"), 1, "once a change, not once a call");
    assert_eq!(log.count("the circuit breaker is closed"), 1);
    assert_eq!(log.count("actor::probes"), 2, "these two alone, and none for a probe: {log}");
}

#[actix_rt::test]
async fn open_breaker_logs_no_line_for_a_probe() {
    let (server, log) = (open_server(), Log::default());
    let _subscriber = log.subscribe_at(tracing::Level::DEBUG);
    let statsig = start(&server, patient().retry_attempts(1));
    server.inject(Fault::status(500).always());

    for round in 0.. {
        ask_many(&statsig, round * 20, 20).await;
        if seen(&server).1 >= 3 {
            break;
        }
    }

    assert_ne!(statsig.stats().breaker, BreakerState::Closed);
    assert_eq!(log.count("the circuit breaker is open: "), 1, "{log}");
    assert_eq!(log.count("actor::probes"), 1, "that line alone comes from the probes: {log}");
}

#[actix_rt::test]
async fn answered_probe_closes_the_breaker_after_hangs() {
    let server = open_server();
    let limits = config().attempt_timeout(Duration::from_secs(2)).retry_attempts(1);
    let statsig = start(&server, limits.timeout(Duration::from_secs(30)));
    server.inject(Fault::hang().always());
    assert_eq!(failed(&ask_many(&statsig, 0, 64).await), ["attempt_timeout"; 64]);
    assert_eq!(failed(&ask_many(&statsig, 100, 10).await), ["circuit_open"; 10]);

    server.clear_faults();
    let answers = ask_many(&statsig, 1_000, 500).await;

    assert_eq!(failed(&answers), [""; 0], "the server is well");
}

#[actix_rt::test]
async fn promise_3_one_users_failures_cost_others_nothing() {
    for fault in [Fault::status(500), Fault::hang(), Fault::close()] {
        let (server, log) = (open_server(), Log::default());
        let _subscriber = log.subscribe();
        let limits = config().attempt_timeout(Duration::from_secs(2)).retry_attempts(1);
        let statsig = start(&server, limits.timeout(Duration::from_secs(30)));
        server.inject(fault.clone().for_user("bad").always());
        let bad = user("bad");
        for round in 0..2 {
            // A call each.
            let configs = (0..12).map(|n| statsig.get_config(&bad, format!("{round} {n}")));
            assert!(join_all(configs).await.iter().all(Result::is_err));

            let answers = ask_many(&statsig, round * 40, 40).await;

            assert_eq!(failed(&answers), [""; 0], "{fault:?}");
        }
        assert_eq!(log.count("the circuit breaker"), 0, "{fault:?}: it never opened: {log}");
    }
}

#[actix_rt::test]
async fn single_user_outage_opens_the_breaker_by_a_probe() {
    let server = open_server();
    let statsig = start(&server, patient().retry_attempts(1));
    server.inject(Fault::status(500).always());
    let ask = async |n: usize| statsig.check_gate(&user("service"), format!("gate {n}")).await;
    let mut asked = 0;
    while !matches!(ask(asked).await, Err(Error::CircuitOpen { .. })) {
        asked += 1;
        assert!(asked < 1_000, "the breaker does not open");
    }
    assert!(asked >= 10, "{asked}");
    server.clear_faults();
    assert!(ask(10_000).await.is_ok());
}

#[actix_rt::test]
async fn promise_1_call_waiting_for_a_probe_ends_at_its_deadline() {
    let server = open_server();
    let limits = config().timeout(Duration::from_millis(200)).retry_attempts(1);
    let statsig = start(&server, limits.attempt_timeout(Duration::from_secs(10)));
    server.inject(Fault::hang().for_user("actix-statsig-probe").always());
    server.inject(Fault::status(500).always());
    assert!(ask_many(&statsig, 0, 10).await.iter().all(Result::is_err));
    assert_ne!(statsig.stats().breaker, BreakerState::Closed);

    let late = ask_many(&statsig, 100, 10).await;

    assert_eq!(failed(&late), ["timeout"; 10]);
    assert_eq!(seen(&server).0, 10);
}

#[actix_rt::test]
async fn promise_6_shutdown_with_open_breaker_ends_probing() {
    let server = open_server();
    let statsig = start(&server, patient().retry_attempts(1));
    server.inject(Fault::status(500).always());
    assert!(ask_many(&statsig, 0, 20).await.iter().all(Result::is_err));
    assert_ne!(statsig.stats().breaker, BreakerState::Closed);

    statsig.shutdown(Duration::from_secs(30)).await;
    drop(statsig);

    let calls = server.calls();
    // There is nothing to wait for: this is longer than from one probe to the next.
    sleep(Duration::from_millis(700)).await;
    assert!(server.calls() <= calls + 1, "one may have been on its way");
}

/// A component with an answer for this user that is stale already, and a server that fails.
async fn with_a_stale_answer(server: &LocalStatsig, who: &User) -> Statsig {
    // What is asked next waits for longer than that in the buffer.
    let config = patient().cache_ttl(Duration::from_millis(1)).stale_if_error(MINUTE);
    let statsig = start(server, config.max_in_flight(1).retry_attempts(1));
    assert!(matches!(statsig.check_gate(who, "open").await, Ok(true)));
    server.inject(Fault::status(500).always());
    assert!(ask_many(&statsig, 0, 10).await.iter().all(Result::is_err));
    assert_ne!(statsig.stats().breaker, BreakerState::Closed);
    statsig
}

const MINUTE: Duration = Duration::from_secs(60);

#[actix_rt::test]
async fn while_the_breaker_is_open_what_is_stale_answers_at_once() {
    let (server, who) = (open_server(), user("kept"));
    let statsig = with_a_stale_answer(&server, &who).await;
    server.clear_faults();
    server.inject(Fault::hang().always());
    let (before, (checks, _)) = (statsig.stats(), seen(&server));

    let gate = statsig.gate_evaluation(&who, "open").now_or_never().expect("no message").unwrap();
    let is_open = statsig.check_gate(&who, "open").now_or_never().expect("no message").unwrap();
    let by_address = statsig.addr().send(CheckGates::new(who, ["open"])).await.unwrap().unwrap();

    assert!(gate.value() && is_open && by_address[0].value());
    for gate in [&gate, &by_address[0]] {
        let Source::Stale { age } = gate.source() else { panic!("{:?}", gate.source()) };
        assert!(age >= Duration::from_millis(1));
    }
    let after = statsig.stats();
    assert_eq!((after.calls, seen(&server).0), (before.calls, checks));
    assert_eq!((after.cached - before.cached, after.stale - before.stale), (3, 3));
}

#[actix_rt::test]
async fn stale_answers_keep_the_breaker_probing_until_recovery() {
    let (server, who) = (open_server(), user("kept"));
    let statsig = with_a_stale_answer(&server, &who).await;
    let (checks, _) = seen(&server);
    let is_stale = |gate: GateEvaluation| matches!(gate.source(), Source::Stale { .. });
    let ask = || statsig.gate_evaluation(&who, "open").now_or_never().expect("no message").unwrap();

    // Nothing is asked but what is kept, and that without a message.
    let probed = async |probes: usize| {
        while seen(&server).1 < probes {
            assert!(is_stale(ask()));
            // As often as an app asks: each stale answer is what keeps the probes going.
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(MINUTE, probed(2)).await.expect("probes go on");
    server.clear_faults();
    until(|| statsig.stats().breaker == BreakerState::Closed).await;

    assert_eq!(seen(&server).0, checks, "no user's check was a probe");
    assert_eq!(statsig.gate_evaluation(&who, "open").await.unwrap().source(), Source::Network);
}

#[actix_rt::test]
async fn transport_recovers_from_failures_without_a_restart() {
    let server = open_server();
    let address = server.address();
    let statsig = start(&server, patient().circuit_breaker(false).retry_attempts(1));
    assert!(ask_many(&statsig, 0, 5).await.into_iter().all(|answer| answer.is_ok()));
    drop(server);

    let answers = ask_many(&statsig, 10, 30).await;

    assert!(answers.iter().all(|answer| matches!(answer, Err(Error::Connect { .. }))));
    let again = LocalStatsig::start_on(address, Rules::new().gate("open", true)).unwrap();
    assert!(ask_many(&statsig, 100, 5).await.into_iter().all(|answer| answer.is_ok()));
    assert_eq!(statsig.stats().restarts, 0);
    drop(again);
}

#[actix_rt::test]
async fn promise_3_refused_name_fails_only_its_callers() {
    let server = open_server();
    let statsig = start(&server, patient());
    server.inject(Fault::status(400).for_name("gate 37").always());
    let who = user("u-1");

    let asked = (0..100).map(|n| {
        let message = CheckGates::new(who.clone(), [format!("gate {n}")]);
        statsig.addr().send(message)
    });
    let answers = join_all(asked).await;

    for (n, answer) in answers.into_iter().enumerate() {
        let answer = answer.unwrap();
        let is_refused = matches!(answer, Err(Error::Refused { status: 400, .. }));
        assert!(if n == 37 { is_refused } else { answer.is_ok() }, "gate {n}: {answer:?}");
    }
    let calls = server.calls();
    assert!((13..=15).contains(&calls), "{calls} calls: twice 50, 25, 13 or 12, … to 1");
    assert_eq!(statsig.stats().breaker, BreakerState::Closed, "a refusal is an answer");
}

#[actix_rt::test]
async fn retry_budget_bounds_bisection_when_all_is_refused() {
    let server = open_server();
    let statsig = start(&server, patient());
    server.inject(Fault::status(413).always());

    let names = (0..100).map(|n| format!("gate {n}"));
    let answer = statsig.check_gates(&user("u-1"), names).await;

    assert!(matches!(answer, Err(Error::Refused { status: 413, .. })), "{answer:?}");
    statsig.shutdown(Duration::from_secs(30)).await;
    assert!(server.calls() <= 1 + 20, "{} calls", server.calls());
}

#[actix_rt::test]
async fn promise_3_caller_who_left_a_queued_call_costs_no_call() {
    let server = open_server();
    let statsig = start(&server, patient().max_in_flight(1));
    server.inject(Fault::delay(Duration::from_millis(200)).for_user("first"));
    let first = statsig.addr().send(CheckGates::new(user("first"), ["open"]));
    let second = statsig.addr().send(CheckGates::new(user("second"), ["open"]));
    let third = statsig.addr().send(CheckGates::new(user("third"), ["open"]));
    // One flush made all three calls: the first is in flight, the others are queued.
    server.calls_reached(1).await;
    assert_eq!(statsig.stats().in_flight, 3);

    drop(second);

    assert!(first.await.unwrap().is_ok() && third.await.unwrap().is_ok());
    let asked: Vec<_> = server.requests().iter().map(|r| r.user["userID"].clone()).collect();
    assert!(!asked.contains(&"second".into()), "{asked:?}");
}

#[actix_rt::test]
async fn promise_3_abandoned_call_says_nothing_about_statsig() {
    let server = open_server();
    let statsig = start(&server, patient().max_in_flight(1));
    server.inject(Fault::delay(Duration::from_millis(200)).for_user("first"));
    let first = statsig.addr().send(CheckGates::new(user("first"), ["open"]));
    let second = statsig.addr().send(CheckGates::new(user("second"), ["open"]));
    server.calls_reached(1).await;
    assert_eq!(statsig.stats().in_flight, 2);

    drop(second);
    assert!(first.await.unwrap().is_ok());
    statsig.shutdown(Duration::from_secs(30)).await;

    let stats = statsig.stats();
    assert_eq!((stats.abandoned, stats.last_call_failed, stats.call.count), (1, false, 1));
}

#[actix_rt::test]
async fn statistics_count_joins_retries_and_latencies() {
    let server = open_server();
    let statsig = start(&server, patient());
    server.inject(Fault::status(503));
    server.inject(Fault::delay(Duration::from_millis(50)).times(2));
    let who = user("u-1");
    let first = statsig.addr().send(CheckGates::new(who.clone(), ["open", "shut"]));
    server.calls_reached(1).await;

    let joined = statsig.check_gate(&who, "open").await;

    assert!(joined.unwrap() && first.await.unwrap().is_ok());
    let stats = statsig.stats();
    assert_eq!((stats.requests, stats.names, stats.answered), (2, 3, 2));
    assert_eq!((stats.calls, stats.retries, stats.joined), (1, 1, 1));
    assert_eq!((stats.queueing.count, stats.call.count), (1, 1));
    let call = stats.call;
    assert!(call.p50_us >= 50_000 && call.p50_us <= call.p99_us && call.p99_us <= call.max_us);
}

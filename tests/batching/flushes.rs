//! When buffered requests are flushed, and in which calls.

use std::time::Duration;

use actix_statsig::{CallKind, CheckGates, GetConfigs};
use futures_util::{FutureExt, future::join_all};

use crate::support::{
    Reaction, Script, config, flush_now, now, settle, user, virtual_time, with_each_variant,
};

const MILLISECOND: Duration = Duration::from_millis(1);

#[test]
fn one_users_requests_share_a_flush_at_the_interval() {
    virtual_time(async {
        let script = Script::answering();
        let statsig = script.start(config().flush_interval(20 * MILLISECOND));
        let start = now();

        let asked = (0..200).map(|n| {
            let name = format!("gate {}", n % 50);
            statsig.addr().send(CheckGates::new(user("u-1"), [name]))
        });
        let answers = join_all(asked).await;

        assert!(answers.into_iter().all(|answer| answer.unwrap().is_ok()));
        assert_eq!(now() - start, 20 * MILLISECOND);
        assert_eq!(script.calls().len(), 1);
        assert_eq!(script.names()[0].len(), 50, "distinct names only");
    });
}

#[test]
fn user_at_the_batch_size_is_flushed_at_once_and_alone() {
    virtual_time(async {
        let script = Script::answering();
        let statsig = script.start(config().batch_size(3).flush_interval(Duration::from_secs(1)));
        let start = now();
        let other = statsig.addr().send(CheckGates::new(user("u-2"), ["aa"]));

        let asked = ["aa", "bb", "cc"]
            .map(|name| statsig.addr().send(CheckGates::new(user("u-1"), [name])));
        let answers = join_all(asked).await;

        assert!(answers.into_iter().all(|answer| answer.unwrap().is_ok()));
        assert_eq!(now(), start);
        assert_eq!(script.names(), [["aa", "bb", "cc"]]);
        other.await.unwrap().unwrap();
        assert_eq!(now() - start, Duration::from_secs(1));
    });
}

#[test]
fn more_than_a_hundred_names_become_several_calls_side_by_side() {
    virtual_time(async {
        let script = Script::new(|_| Reaction::AnswerAfter(10 * MILLISECOND));
        let statsig = script.start(config());
        let start = now();
        let gates = (0..250).map(|n| format!("gate {n}"));
        let configs = (0..30).map(|n| format!("config {n}"));
        let addr = statsig.addr();

        let (gates, configs) = tokio::join!(
            addr.send(CheckGates::new(user("u-1"), gates)),
            addr.send(GetConfigs::new(user("u-1"), configs)),
        );

        assert_eq!(gates.unwrap().unwrap().len(), 250);
        assert_eq!(configs.unwrap().unwrap().len(), 30);
        assert_eq!(now() - start, 10 * MILLISECOND, "no call waits for another");
        let sizes = |kind| -> Vec<_> {
            let calls = script.calls();
            calls.iter().filter(|call| call.kind == kind).map(|call| call.names.len()).collect()
        };
        assert_eq!(sizes(CallKind::CheckGate), [100, 100, 50]);
        assert_eq!(sizes(CallKind::GetConfig), [1; 30]);
    });
}

#[test]
fn remainder_stays_unless_its_request_is_flushed() {
    virtual_time(async {
        let script = Script::answering();
        let statsig = script.start(config().batch_size(3).flush_interval(20 * MILLISECOND));
        let start = now();
        let sets = [&["g1"][..], &["g2"], &["g3"], &["g4"], &["g5", "g6", "g7"], &["g8"]];

        let asked = sets.map(|gates| {
            let gates = gates.iter().copied();
            statsig.addr().send(CheckGates::new(user("u-1"), gates))
        });
        let answers = join_all(asked).await;

        assert!(answers.into_iter().all(|answer| answer.unwrap().is_ok()));
        let whole = ["g1", "g2", "g3", "g4", "g5", "g6", "g7"];
        assert_eq!(script.names(), [&whole[..], &["g8"]]);
        assert_eq!(now() - start, 20 * MILLISECOND, "the rest waits for the interval");
    });
}

#[test]
fn promise_3_slow_user_delays_nobody_else() {
    with_each_variant(|config| async move {
        let slow = user("slow");
        let is_slow = slow.clone();
        let script = Script::new(move |call| match call.user == is_slow {
            true => Reaction::Hold,
            false => Reaction::Answer,
        });
        let statsig = script.start(config);
        let held = statsig.addr().send(CheckGates::new(slow, ["aa"]));
        let start = now();

        for n in 0..10 {
            statsig.check_gate(&user(n), "aa").await.unwrap();
        }

        assert!(now() - start <= 50 * MILLISECOND, "one interval each, and no more");
        script.release();
        held.await.unwrap().unwrap();
    });
}

#[test]
fn name_in_flight_is_joined_across_flushes() {
    virtual_time(async {
        let script = Script::new(|_| Reaction::Hold);
        let statsig = script.start(config());
        let addr = statsig.addr();
        let first = addr.send(CheckGates::new(user("u-1"), ["aa", "bb"]));
        flush_now(&statsig).await;

        let second = addr.send(CheckGates::new(user("u-1"), ["bb", "cc"]));
        flush_now(&statsig).await;

        assert_eq!(script.names(), [vec!["aa", "bb"], vec!["cc"]]);
        script.release();
        let names = |gates: Vec<actix_statsig::GateEvaluation>| -> Vec<_> {
            gates.iter().map(|gate| gate.name().to_owned()).collect()
        };
        assert_eq!(names(first.await.unwrap().unwrap()), ["aa", "bb"]);
        assert_eq!(names(second.await.unwrap().unwrap()), ["bb", "cc"]);
    });
}

#[test]
fn promise_3_caller_who_left_costs_no_call() {
    with_each_variant(|config| async move {
        let script = Script::answering();
        let statsig = script.start(config.batch_size(2));
        let addr = statsig.addr();
        let stays = addr.send(CheckGates::new(user("u-1"), ["aa"]));
        let leaves = addr.send(CheckGates::new(user("u-1"), ["bb"]));
        let alone = addr.send(CheckGates::new(user("u-2"), ["aa", "bb"]));
        drop((leaves, alone));

        stays.await.unwrap().unwrap();
        settle().await;

        assert_eq!(script.names(), [["aa"]]);
        let stats = statsig.stats();
        // A message whose caller left before the actor handled it is not counted.
        assert_eq!(stats.requests, stats.answered + stats.abandoned);
    });
}

#[test]
fn promise_3_caller_who_left_the_buffer_costs_no_call() {
    virtual_time(async {
        let script = Script::answering();
        let statsig = script.start(config());
        let who = user("u-1");
        let mut leaves = Box::pin(statsig.check_gate(&who, "aa"));
        assert!((&mut leaves).now_or_never().is_none());
        settle().await;
        assert_eq!((statsig.stats().requests, statsig.stats().buffered), (1, 1));

        drop(leaves);
        statsig.flush().await.unwrap();

        assert!(script.calls().is_empty());
        assert_eq!(statsig.stats().abandoned, 1);
    });
}

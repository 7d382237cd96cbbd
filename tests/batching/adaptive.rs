//! `FlushPolicy::Adaptive`: no delay while a user is idle, full batches while it is busy.

use std::time::Duration;

use actix_rt::time::sleep;
use actix_statsig::{CheckGates, ConfigBuilder, FlushPolicy, GetConfigs};
use futures_util::future::join_all;

use crate::support::{Reaction, Script, now, settle, user, virtual_time};

const MILLISECOND: Duration = Duration::from_millis(1);

/// With an interval so long that a wait for it would show.
fn config() -> ConfigBuilder {
    crate::support::config().flush_policy(FlushPolicy::Adaptive).flush_interval(1_000 * MILLISECOND)
}

#[test]
fn idle_users_request_is_flushed_at_once() {
    virtual_time(async {
        let script = Script::answering();
        let statsig = script.start(config());
        let start = now();

        for n in 0..10 {
            statsig.check_gate(&user("u-1"), format!("gate {n}")).await.unwrap();
        }

        assert_eq!(now(), start);
        assert_eq!(script.calls().len(), 10);
    });
}

#[test]
fn names_queued_for_an_idle_user_share_a_call() {
    virtual_time(async {
        let script = Script::answering();
        let statsig = script.start(config());
        let addr = statsig.addr();
        // More messages than the actor handles in one turn.
        let asked = (0..1_000).map(|n| {
            let gate = format!("gate {}", n / 12);
            addr.send(CheckGates::new(user("u-1"), [gate]))
        });
        let asked: Vec<_> = asked.collect();
        let start = now();

        let answers = join_all(asked).await;

        assert!(answers.into_iter().all(|answer| answer.unwrap().is_ok()));
        assert_eq!(now(), start);
        let sizes: Vec<_> = script.calls().iter().map(|call| call.names.len()).collect();
        assert_eq!(sizes, [84]);
    });
}

#[test]
fn names_asked_during_a_call_share_the_next_one() {
    virtual_time(async {
        let script = Script::new(|_| Reaction::AnswerAfter(100 * MILLISECOND));
        let statsig = script.start(config().batch_size(100));
        let (addr, who) = (statsig.addr(), user("u-1"));
        let first = addr.send(CheckGates::new(who.clone(), ["first"]));
        settle().await;
        let start = now();

        // Sent at different moments of virtual time, while the first call is in flight.
        let mut asked = Vec::new();
        for n in 0..99 {
            asked.push(addr.send(CheckGates::new(who.clone(), [format!("gate {n}")])));
            sleep(MILLISECOND).await;
        }
        first.await.unwrap().unwrap();
        assert_eq!(now() - start, 100 * MILLISECOND);
        let answers = join_all(asked).await;

        assert!(answers.into_iter().all(|answer| answer.unwrap().is_ok()));
        assert_eq!(now() - start, 200 * MILLISECOND);
        let sizes: Vec<_> = script.calls().iter().map(|call| call.names.len()).collect();
        assert_eq!(sizes, [1, 99]);
    });
}

#[test]
fn busy_user_does_not_delay_others() {
    virtual_time(async {
        let script = Script::new(|_| Reaction::AnswerAfter(100 * MILLISECOND));
        let statsig = script.start(config());
        let addr = statsig.addr();
        let busy = addr.send(CheckGates::new(user("busy"), ["aa"]));
        let configs = addr.send(GetConfigs::new(user("configs"), ["aa"]));
        settle().await;
        let start = now();

        let others = [
            CheckGates::new(user("u-1"), ["aa"]),
            CheckGates::new(user("busy"), ["aa"]).without_exposure(),
            CheckGates::new(user("configs"), ["aa"]),
        ];
        let others = join_all(others.map(|other| addr.send(other))).await;

        assert!(others.into_iter().all(|answer| answer.unwrap().is_ok()));
        assert_eq!(now() - start, 100 * MILLISECOND, "one call, without a wait before it");
        busy.await.unwrap().unwrap();
        configs.await.unwrap().unwrap();
    });
}

#[test]
fn configs_leave_at_once_whatever_is_in_flight() {
    virtual_time(async {
        let script = Script::new(|_| Reaction::Hold);
        let statsig = script.start(config());
        let addr = statsig.addr();
        let gate = addr.send(CheckGates::new(user("u-1"), ["aa"]));
        settle().await;

        let first = addr.send(GetConfigs::new(user("u-1"), ["aa"]));
        settle().await;
        let second = addr.send(GetConfigs::new(user("u-1"), ["bb"]));
        settle().await;

        assert_eq!(script.calls().len(), 3);
        script.release();
        gate.await.unwrap().unwrap();
        first.await.unwrap().unwrap();
        second.await.unwrap().unwrap();
    });
}

#[test]
fn interval_bounds_the_wait_during_a_long_call() {
    virtual_time(async {
        let script = Script::new(|call| match &*call.names[0] {
            "slow" => Reaction::Hold,
            _ => Reaction::Answer,
        });
        let statsig = script.start(config().flush_interval(20 * MILLISECOND));
        let addr = statsig.addr();
        let slow = addr.send(CheckGates::new(user("u-1"), ["slow"]));
        settle().await;
        let start = now();

        statsig.check_gate(&user("u-1"), "quick").await.unwrap();

        assert_eq!(now() - start, 20 * MILLISECOND);
        script.release();
        slow.await.unwrap().unwrap();
    });
}

#[test]
fn batch_size_bounds_the_buffer_during_a_long_call() {
    virtual_time(async {
        let script = Script::new(|_| Reaction::Hold);
        let statsig = script.start(config().batch_size(3));
        let addr = statsig.addr();
        let slow = addr.send(CheckGates::new(user("u-1"), ["slow"]));
        settle().await;

        let asked = ["aa", "bb", "cc"].map(|name| {
            let message = CheckGates::new(user("u-1"), [name]);
            addr.send(message)
        });
        settle().await;

        assert_eq!(script.names(), [vec!["slow"], vec!["aa", "bb", "cc"]]);
        script.release();
        slow.await.unwrap().unwrap();
        assert!(join_all(asked).await.into_iter().all(|answer| answer.unwrap().is_ok()));
    });
}

#[test]
fn promise_3_caller_who_left_while_gathering_costs_no_call() {
    virtual_time(async {
        let script = Script::new(|_| Reaction::Hold);
        let statsig = script.start(config());
        let addr = statsig.addr();
        let first = addr.send(CheckGates::new(user("u-1"), ["first"]));
        settle().await;
        let leaves = addr.send(CheckGates::new(user("u-1"), ["leaves"]));
        let stays = addr.send(CheckGates::new(user("u-1"), ["stays"]));
        settle().await;

        drop(leaves);
        script.release();
        settle().await;

        assert_eq!(script.names(), [["first"], ["stays"]]);
        script.release();
        first.await.unwrap().unwrap();
        stays.await.unwrap().unwrap();
    });
}

#[test]
fn flush_does_not_wait_for_a_call_to_return() {
    virtual_time(async {
        let script = Script::new(|_| Reaction::Hold);
        let statsig = script.start(config());
        let addr = statsig.addr();
        let mut asked = Vec::new();
        for name in ["first", "second"] {
            asked.push(addr.send(CheckGates::new(user("u-1"), [name])));
            settle().await;
        }

        let flush = actix_rt::spawn({
            let statsig = statsig.clone();
            async move { statsig.flush().await }
        });
        settle().await;
        assert_eq!(script.names(), [["first"], ["second"]]);
        script.release();
        flush.await.unwrap().unwrap();
        assert!(join_all(asked).await.into_iter().all(|answer| answer.unwrap().is_ok()));
    });
}

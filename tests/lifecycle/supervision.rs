//! Promise 5: the component survives its own panics.
#![cfg(feature = "test-util")]

use std::{io, mem, time::Duration};

use actix_rt::time::{sleep, timeout};
use actix_statsig::{CheckGates, Error, Statsig, test_util::panic_at};
use futures_util::future::join_all;

use crate::support::{Reaction, Script, config, settle, user, virtual_time, with_each_variant};

/// Sends a request before a failure, and returns a future of its answer.
async fn bystander(statsig: &Statsig) -> impl Future<Output = bool> + use<> {
    let asked = statsig.addr().send(CheckGates::new(user("bystander"), ["aa"]));
    settle().await;
    async move { asked.await.expect("alive").is_ok() }
}

#[test]
fn promise_5_panic_in_a_handler_fails_its_request_alone() {
    with_each_variant(|config| async move {
        let statsig = Script::answering().start(config);
        let addr = statsig.addr();
        let bystander = bystander(&statsig).await;
        panic_at("batch.request", 1);

        let part_in_it = addr.send(CheckGates::new(user("u-1"), ["aa"])).await.unwrap();

        assert!(matches!(part_in_it, Err(Error::Internal { .. })), "{part_in_it:?}");
        assert!(bystander.await);
        assert!(addr.connected());
        assert!(addr.send(CheckGates::new(user("u-1"), ["aa"])).await.unwrap().is_ok());
        assert_eq!(statsig.stats().restarts, 1);
    });
}

#[test]
fn promise_5_panic_in_the_timer_loses_nothing() {
    virtual_time(async {
        let statsig = Script::answering().start(config());
        panic_at("batch.timer", 1);

        assert!(statsig.check_gate(&user("u-1"), "aa").await.is_ok());

        assert_eq!(statsig.stats().restarts, 1);
        assert!(statsig.check_gate(&user("u-1"), "aa").await.is_ok(), "the timer runs again");
    });
}

#[test]
fn promise_5_panic_in_completion_fails_its_requests_alone() {
    with_each_variant(|config| async move {
        let script = Script::new(|_| Reaction::Hold);
        let statsig = script.start(config);
        let part_in_it = statsig.addr().send(CheckGates::new(user("u-1"), ["aa"]));
        sleep(Duration::from_millis(10)).await;
        let bystander = bystander(&statsig).await;
        panic_at("batch.completion", 1);
        script.release();

        let part_in_it = part_in_it.await.unwrap();

        assert!(matches!(part_in_it, Err(Error::Internal { .. })), "{part_in_it:?}");
        sleep(Duration::from_millis(10)).await;
        script.release();
        assert!(bystander.await);
        assert_eq!(statsig.stats().restarts, 1);
    });
}

#[test]
fn promise_5_request_pending_through_three_restarts_fails() {
    with_each_variant(|config| async move {
        let statsig = Script::new(|_| Reaction::Hold).start(config);
        let pending = statsig.addr().send(CheckGates::new(user("u-1"), ["aa"]));
        settle().await;
        panic_at("batch.request", 3);

        for _ in 0..3 {
            let _ = statsig.check_gate(&user("u-2"), "aa").await;
        }

        assert!(matches!(pending.await.unwrap(), Err(Error::Internal { .. })));
        assert_eq!(statsig.stats().restarts, 3);
    });
}

#[test]
fn promise_5_panic_after_the_last_handle_loses_nothing() {
    with_each_variant(|config| async move {
        let script = Script::answering();
        let statsig = script.start(config);
        let pending = statsig.addr().send(CheckGates::new(user("u-1"), ["aa"]));
        settle().await;
        drop(statsig);
        panic_at("batch.timer", 1);

        assert!(pending.await.expect("an answer").is_ok());

        settle().await;
        assert_eq!(script.alive(), 0, "the transport ends all the same");
    });
}

#[test]
fn flush_does_not_wait_for_a_request_ended_by_a_restart() {
    virtual_time(async {
        let statsig = Script::answering().start(config());
        let pending = statsig.addr().send(CheckGates::new(user("u-1"), ["aa"]));
        settle().await;
        panic_at("batch.request", 3);
        for _ in 0..3 {
            let _ = statsig.check_gate(&user("u-2"), "aa").await;
        }
        assert!(matches!(pending.await.unwrap(), Err(Error::Internal { .. })));

        let flushed = timeout(Duration::from_secs(60), statsig.flush()).await;

        assert!(flushed.is_ok(), "the flush waits for an ended request");
    });
}

#[test]
fn promise_5_dead_transport_is_replaced_and_its_calls_resent() {
    with_each_variant(|config| async move {
        let mut first = true;
        let script = Script::new(move |_| match std::mem::replace(&mut first, false) {
            true => Reaction::Panic,
            false => Reaction::Answer,
        });
        let statsig = script.start(config);

        assert!(statsig.check_gate(&user("u-1"), "aa").await.is_ok());

        assert_eq!((script.started(), script.calls().len()), (2, 2));
    });
}

#[test]
fn promise_1_call_lost_repeatedly_is_an_error() {
    with_each_variant(|config| async move {
        let script = Script::new(|_| Reaction::Lose);
        let statsig = script.start(config);

        let answer = statsig.check_gate(&user("u-1"), "aa").await;

        assert!(matches!(answer, Err(Error::Internal { .. })), "{answer:?}");
        assert_eq!(script.calls().len(), 2);
    });
}

#[test]
fn promise_5_restart_during_shutdown_does_not_stop_it() {
    with_each_variant(|config| async move {
        let script = Script::new(|_| Reaction::Hold);
        let statsig = script.start(config);
        let asked = statsig.addr().send(CheckGates::new(user("u-1"), ["aa"]));
        settle().await;
        let closing = statsig.clone();
        let shutdown =
            actix_rt::spawn(async move { closing.shutdown(Duration::from_secs(1)).await });
        settle().await;
        panic_at("batch.request", 1);
        let _ = statsig.addr().send(CheckGates::new(user("u-2"), ["aa"])).await;

        let report = shutdown.await.unwrap();

        assert_eq!((report.pending, report.cut_off), (1, 1));
        assert!(matches!(asked.await.unwrap(), Err(Error::ShuttingDown)));
    });
}

#[test]
fn promise_6_cache_is_closed_while_shutdown_awaits_a_restart() {
    virtual_time(async {
        let statsig = Script::answering().start(config().cache_ttl(Duration::from_secs(60)));
        assert!(statsig.check_gate(&user("u-1"), "kept").await.is_ok());
        panic_at("batch.request", 5);
        for _ in 0..5 {
            let _ = statsig.check_gate(&user("u-1"), "aa").await;
        }
        let closing = statsig.clone();
        let shutdown =
            actix_rt::spawn(async move { closing.shutdown(Duration::from_secs(1)).await });
        settle().await;

        let kept = statsig.check_gate(&user("u-1"), "kept").await;

        assert!(matches!(kept, Err(Error::ShuttingDown)), "{kept:?}");
        assert_eq!(shutdown.await.unwrap().pending, 0);
    });
}

#[test]
fn promise_5_restart_burst_backs_off() {
    with_each_variant(|config| async move {
        let statsig = Script::answering().start(config);
        panic_at("batch.request", 1_000_000);
        let asking = statsig.clone();
        let callers = actix_rt::spawn(async move {
            loop {
                let _ = asking.check_gate(&user("u-1"), "aa").await;
            }
        });

        sleep(Duration::from_secs(60)).await;

        // Seven restarts until the pause reaches a second, and then one restart a second.
        let restarts = statsig.stats().restarts;
        assert!((60..80).contains(&restarts), "{restarts}");
        panic_at("batch.request", 0);
        callers.abort();
        assert!(statsig.check_gate(&user("u-2"), "aa").await.is_ok());
    });
}

#[test]
fn promise_5_unstartable_transport_leaves_calls_to_others() {
    virtual_time(async {
        let script = Script::new(|_| Reaction::AnswerAfter(Duration::from_millis(100)));
        let (its, mut is_first) = (script.clone(), true);
        let factory = move || match mem::take(&mut is_first) {
            true => Ok(its.transport()),
            false => Err(Error::start(io::Error::other("no more threads"))),
        };
        let config = config().transports(3).build().unwrap();
        let statsig =
            Statsig::builder(config).transport(factory).start_in_current_arbiter().unwrap();
        let asked = (0..10).map(|n| statsig.addr().send(CheckGates::new(user(n), ["aa"])));

        let answers = join_all(asked).await;

        assert!(answers.into_iter().all(|answer| answer.unwrap().is_ok()));
        assert_eq!(script.calls().len(), 10);
    });
}

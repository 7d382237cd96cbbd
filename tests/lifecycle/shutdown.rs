//! Promise 6: the component shuts down gracefully.

use std::{sync::mpsc, thread, time::Duration};

use actix::MailboxError;
use actix_rt::time::sleep;
use actix_statsig::{CheckGates, Error, Statsig};
use futures_util::future::join_all;

use crate::support::{Reaction, Script, config, settle, user, virtual_time, with_each_variant};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn promise_6_shutdown_answers_buffered_and_in_flight_requests() {
    with_each_variant(|config| async move {
        let script = Script::new(|_| Reaction::AnswerAfter(SECOND / 2));
        let statsig = script.start(config);
        let addr = statsig.addr();
        let in_flight = addr.send(CheckGates::new(user("u-1"), ["aa"]));
        sleep(SECOND / 10).await;
        let buffered = addr.send(CheckGates::new(user("u-2"), ["aa"]));
        let abandoned = addr.send(CheckGates::new(user("u-3"), ["aa"]));
        settle().await;
        drop(abandoned);

        let report = statsig.shutdown(SECOND).await;

        assert!(in_flight.await.unwrap().is_ok() && buffered.await.unwrap().is_ok());
        assert_eq!((report.pending, report.answered, report.abandoned), (3, 2, 1));
        assert_eq!((report.failed, report.cut_off), (0, 0));
    });
}

#[test]
fn promise_6_new_work_is_refused_while_draining_and_afterwards() {
    with_each_variant(|config| async move {
        let script = Script::new(|_| Reaction::AnswerAfter(SECOND / 2));
        let statsig = script.start(config);
        let addr = statsig.addr();
        let pending = addr.send(CheckGates::new(user("u-1"), ["aa"]));
        let closing = statsig.clone();
        let shutdown = actix_rt::spawn(async move { closing.shutdown(SECOND).await });
        settle().await;

        let during = statsig.check_gate(&user("u-2"), "aa").await;
        let during_at_address = addr.send(CheckGates::new(user("u-2"), ["aa"])).await.unwrap();
        let report = shutdown.await.unwrap();
        let after = statsig.check_gate(&user("u-2"), "aa").await;
        let after_at_address = addr.send(CheckGates::new(user("u-2"), ["aa"])).await;

        assert!(matches!(during, Err(Error::ShuttingDown)), "{during:?}");
        assert!(matches!(during_at_address, Err(Error::ShuttingDown)));
        assert!(matches!(after, Err(Error::ShuttingDown)), "{after:?}");
        assert!(matches!(after_at_address, Err(MailboxError::Closed)));
        assert_eq!(report.answered, 1);
        pending.await.unwrap().unwrap();
        assert!(matches!(statsig.flush().await, Err(Error::ShuttingDown)));
    });
}

#[test]
fn promise_6_draining_is_reported_before_any_other_error() {
    with_each_variant(|config| async move {
        let script = Script::new(|_| Reaction::AnswerAfter(SECOND / 2));
        let statsig = script.start(config.max_pending(1));
        let who = user("u-1");
        let pending = statsig.addr().send(CheckGates::new(who.clone(), ["aa"]));
        let closing = statsig.clone();
        let shutdown = actix_rt::spawn(async move { closing.shutdown(SECOND).await });
        settle().await;

        let none: [&str; 0] = [];
        for (what, names) in
            [("a bad name", &["a/b"][..]), ("too many", &["aa", "bb"]), ("none", &none)]
        {
            let message = || CheckGates::new(who.clone(), names.iter().copied());
            let by_handle = [
                statsig.ask(message()).await.map(drop),
                statsig.ask(message().bypass_cache()).await.map(drop),
                statsig.check_gates(&who, names.iter().copied()).await.map(drop),
                statsig.get_configs(&who, names.iter().copied()).await.map(drop),
            ];
            for told in by_handle {
                assert!(matches!(told, Err(Error::ShuttingDown)), "{what}: {told:?}");
            }
            let by_address = statsig.addr().send(message()).await.unwrap();
            assert!(matches!(by_address, Err(Error::ShuttingDown)), "{what}: {by_address:?}");
        }
        let probed = statsig.probe().await;
        assert!(matches!(probed, Err(Error::ShuttingDown)), "{probed:?}");

        assert_eq!(shutdown.await.unwrap().answered, 1);
        pending.await.unwrap().unwrap();
        let after = statsig.check_gate(&who, "a/b").await;
        assert!(matches!(after, Err(Error::ShuttingDown)), "{after:?}");
    });
}

#[test]
fn promise_6_unanswered_requests_get_an_error_at_the_limit() {
    with_each_variant(|config| async move {
        let statsig = Script::new(|_| Reaction::Hold).start(config);
        let asked = (0..3).map(|n| statsig.addr().send(CheckGates::new(user(n), ["aa"])));
        let asked: Vec<_> = asked.collect();
        settle().await;

        let report = statsig.shutdown(SECOND).await;

        assert_eq!((report.pending, report.cut_off), (3, 3));
        let stats = statsig.stats();
        assert_eq!((stats.buffered, stats.in_flight), (0, 0), "nothing is pending");
        for answer in join_all(asked).await {
            assert!(matches!(answer.unwrap(), Err(Error::ShuttingDown)));
        }
    });
}

#[test]
fn ended_component_counts_nothing_as_pending() {
    virtual_time(async {
        let statsig = Script::new(|_| Reaction::Hold).start(config());
        let asked = statsig.addr().send(CheckGates::new(user("u-1"), ["aa"]));
        settle().await;

        let report = statsig.shutdown(SECOND).await;

        assert_eq!(report.cut_off, 1);
        assert!(asked.await.unwrap().is_err());
        let stats = statsig.stats();
        assert_eq!((stats.buffered, stats.in_flight), (0, 0));
    });
}

#[test]
fn promise_6_every_shutdown_gets_the_report_shortest_limit_wins() {
    with_each_variant(|config| async move {
        let statsig = Script::new(|_| Reaction::Hold).start(config);
        let asked = statsig.addr().send(CheckGates::new(user("u-1"), ["aa"]));
        settle().await;

        let (long, short) = tokio::join!(statsig.shutdown(Duration::MAX), statsig.shutdown(SECOND));
        let later = statsig.shutdown(SECOND).await;

        assert_eq!((long, later), (short, short));
        assert_eq!(short.cut_off, 1);
        assert!(asked.await.unwrap().is_err());
    });
}

#[test]
fn promise_6_empty_component_shuts_down_at_once() {
    with_each_variant(|config| async move {
        let statsig = Script::answering().start(config);
        assert_eq!(statsig.shutdown(Duration::ZERO).await.pending, 0);
    });
}

#[test]
fn promise_6_dropping_every_handle_drains_and_ends() {
    with_each_variant(|config| async move {
        let script = Script::new(|_| Reaction::AnswerAfter(SECOND));
        let statsig = script.start(config);
        let in_flight = statsig.addr().send(CheckGates::new(user("u-1"), ["aa"]));
        sleep(SECOND / 10).await;
        let buffered = statsig.addr().send(CheckGates::new(user("u-2"), ["aa"]));

        drop(statsig);

        assert!(in_flight.await.unwrap().is_ok() && buffered.await.unwrap().is_ok());
        settle().await;
        assert_eq!((script.started(), script.alive()), (1, 0), "the transport has ended");
    });
}

/// Runs the future on a thread that has no `System`.
fn outside<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> thread::JoinHandle<T> {
    thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(work)
    })
}

fn start_on_own_thread() -> (Statsig, mpsc::Receiver<()>) {
    let (alive, ended) = mpsc::channel();
    let statsig = Statsig::builder(config().build().expect("valid"))
        .transport(move || {
            // Dropped with the factory, which is dropped with the actor.
            let _alive = &alive;
            Ok(Script::answering().transport())
        })
        .start();
    (statsig.expect("a thread"), ended)
}

#[test]
fn promise_6_shutdown_works_from_any_thread() {
    let (statsig, ended) = start_on_own_thread();
    let asking = statsig.clone();

    let report = outside(async move {
        asking.check_gate(&user("u-1"), "aa").await.unwrap();
        asking.shutdown(SECOND).await
    });

    assert_eq!(report.join().unwrap().cut_off, 0);
    assert_eq!(ended.recv(), Err(mpsc::RecvError));
}

#[test]
fn promise_6_dropping_the_last_handle_ends_the_thread() {
    let (statsig, ended) = start_on_own_thread();
    let addr = statsig.addr();

    drop(statsig);
    let answer = outside(addr.send(CheckGates::new(user("u-1"), ["aa"]))).join().unwrap();
    assert!(answer.unwrap().is_ok(), "the address alone keeps the component alive");
    drop(addr);

    assert_eq!(ended.recv(), Err(mpsc::RecvError));
}

#[test]
fn stopped_system_is_reported_as_closed() {
    let system = actix::System::new();
    let statsig = system.block_on(async { Script::answering().start(config()) });
    drop(system);

    for name in ["aa", "a/b"] {
        let statsig = statsig.clone();
        let answer = outside(async move { statsig.check_gate(&user("u-1"), name).await });
        assert!(matches!(answer.join().unwrap(), Err(Error::Closed)), "{name}");
    }
}

#[test]
fn start_here_says_where_there_is_no_arbiter() {
    let config = || config().build().unwrap();
    let nowhere = Statsig::start_in_current_arbiter(config());
    let on_tokio =
        outside(async move { Statsig::start_in_current_arbiter(config()).err() }).join().unwrap();
    let before_it_runs = {
        let _system = actix::System::new();
        Statsig::start_in_current_arbiter(config())
    };

    assert!(matches!(nowhere, Err(Error::NoArbiter)), "{nowhere:?}");
    assert!(matches!(on_tokio, Some(Error::NoArbiter)), "{on_tokio:?}");
    assert!(matches!(before_it_runs, Err(Error::NoArbiter)), "{before_it_runs:?}");
}

//! Promise 8: an idle component costs nothing. Promise 3: a busy component leaves time for the
//! other tasks of its thread.

use std::{
    cell::Cell,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use actix_rt::time::sleep;
use actix_statsig::{CheckGates, FlushPolicy};
use futures_util::future::join_all;

use crate::support::{
    Reaction, Script, config, paused, user, virtual_time, virtual_time_on, with_each_variant,
};

/// A runtime that counts how often its thread goes to sleep, which happens once for each timer.
fn counting_parks() -> (tokio::runtime::Builder, Arc<AtomicUsize>) {
    let parks = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&parks);
    let mut runtime = paused();
    runtime.on_thread_park(move || {
        count.fetch_add(1, Relaxed);
    });
    (runtime, parks)
}

#[test]
fn promise_8_no_timer_runs_while_nothing_is_buffered() {
    let (runtime, parks) = counting_parks();
    virtual_time_on(runtime, async move {
        let script = Script::new(|_| Reaction::AnswerAfter(Duration::from_secs(1)));
        let statsig = script.start(config());
        statsig.check_gate(&user("u-1"), "aa").await.unwrap();
        let in_flight = statsig.addr().send(CheckGates::new(user("u-2"), ["aa"]));
        sleep(Duration::from_millis(50)).await;
        assert_eq!(statsig.stats().in_flight, 1);

        let before = parks.load(Relaxed);
        sleep(Duration::from_millis(900)).await;
        let with_a_call_in_flight = parks.load(Relaxed) - before;
        in_flight.await.unwrap().unwrap();
        sleep(Duration::from_secs(3600)).await;
        let in_all = parks.load(Relaxed) - before;

        // With a 5 ms interval timer, the first would be 180 and the second 720,000.
        assert!(with_a_call_in_flight < 10, "{with_a_call_in_flight}");
        assert!(in_all < 20, "{in_all}");
    });
}

#[test]
fn promise_8_adaptive_idle_request_starts_no_timer() {
    let (runtime, parks) = counting_parks();
    virtual_time_on(runtime, async move {
        let script = Script::answering();
        let statsig = script.start(config().flush_policy(FlushPolicy::Adaptive));
        // First only the test's own timers, and then the same timers with a request before each.
        let mut counts = [0, 0];
        for (asks, count) in [false, true].into_iter().zip(&mut counts) {
            let before = parks.load(Relaxed);
            for n in 0..100 {
                if asks {
                    statsig.check_gate(&user(n), "aa").await.unwrap();
                }
                sleep(Duration::from_millis(64)).await;
            }
            *count = parks.load(Relaxed) - before;
        }

        assert!(counts[1] < counts[0] + 50, "{counts:?}");
    });
}

#[test]
fn interval_restarts_with_the_next_request() {
    virtual_time(async {
        let script = Script::answering();
        let statsig = script.start(config());
        for n in 0..5 {
            statsig.check_gate(&user(n), "aa").await.unwrap();
            sleep(Duration::from_secs(60)).await;
        }
        assert_eq!(script.calls().len(), 5);
    });
}

#[test]
fn promise_3_other_tasks_run_while_a_long_mailbox_drains() {
    with_each_variant(|config| async move {
        const REQUESTS: usize = 6_400;
        let statsig = Script::answering().start(config);
        let turns = Rc::new(Cell::new(0));
        let counted = Rc::clone(&turns);
        let sibling = actix_rt::spawn(async move {
            loop {
                counted.set(counted.get() + 1);
                tokio::task::yield_now().await;
            }
        });
        let addr = statsig.addr();
        let who = user("u-1");
        let requests: Vec<_> =
            (0..REQUESTS).map(|_| addr.send(CheckGates::new(who.clone(), ["aa"]))).collect();
        let before = turns.get();

        let flushed = statsig.flush();
        let (answers, _) = tokio::join!(join_all(requests), flushed);

        assert!(answers.into_iter().all(|answer| answer.unwrap().is_ok()));
        // Without pauses, the actor would drain the mailbox between two turns of the other task.
        assert!(turns.get() - before >= REQUESTS / 64, "{} turns", turns.get() - before);
        sibling.abort();
    });
}

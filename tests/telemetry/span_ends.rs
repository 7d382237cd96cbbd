//! How spans end when a caller leaves or a call fails.
#![cfg(feature = "test-util")]

use std::time::Duration;

use actix_rt::{System, time::sleep};
use actix_statsig::{
    CheckGates, Error, Statsig,
    test_util::{Fault, LocalStatsig, Rules, panic_at},
};

use crate::support::{Reaction, Script, config, settle, trace::Trace, until, user, virtual_time};

const MINUTE: Duration = Duration::from_secs(60);

/// The outcomes of the spans of this name, in the order in which they began.
fn outcomes(trace: &Trace, name: &str) -> Vec<Option<String>> {
    let spans = trace.spans(name).into_iter();
    spans.map(|span| span.field("outcome").map(str::to_owned)).collect()
}

fn ended(outcomes: &[&str]) -> Vec<Option<String>> {
    outcomes.iter().map(|outcome| Some((*outcome).to_owned())).collect()
}

#[test]
fn request_whose_caller_left_is_abandoned_in_its_span() {
    let (trace, _guard) = Trace::of_this_thread();
    virtual_time(async {
        // Given two callers that share a call
        let script = Script::new(|_| Reaction::Hold);
        let statsig = script.start(config());
        let [left, stays] = ["beta", "gamma"].map(|gate| {
            let statsig = statsig.clone();
            actix_rt::spawn(async move { statsig.check_gate(&user("u-1"), gate).await })
        });
        sleep(Duration::from_millis(50)).await;

        // When one leaves before the answer
        left.abort();
        settle().await;
        script.release();
        stays.await.unwrap().unwrap();

        // Then each span has its outcome
        assert_eq!(outcomes(&trace, "statsig.request"), ended(&["abandoned", "ok"]));
        assert_eq!(outcomes(&trace, "statsig.call"), ended(&["ok"]));
        assert_eq!(statsig.stats().abandoned, 1);
    });
}

#[test]
fn request_nobody_waits_for_is_abandoned_without_a_call() {
    let (trace, _guard) = Trace::of_this_thread();
    virtual_time(async {
        let statsig = Script::answering().start(config());

        statsig.addr().do_send(CheckGates::new(user("u-1"), ["beta"]));
        statsig.flush().await.unwrap();

        assert_eq!(outcomes(&trace, "statsig.request"), ended(&["abandoned"]));
        assert!(trace.spans("statsig.call").is_empty());
    });
}

#[test]
fn unwanted_queued_call_is_abandoned_without_an_attempt() {
    let (trace, _guard) = Trace::of_this_thread();
    System::new().block_on(async {
        // Given a limit of one call in flight, and a second call that waits for the first
        let server = LocalStatsig::start(Rules::new().gate("beta", true)).unwrap();
        server.inject(Fault::hang());
        let config = config().base_url(server.url()).max_in_flight(1).retry_attempts(1);
        let config = config.timeout(MINUTE).attempt_timeout(MINUTE);
        let statsig = Statsig::start_in_current_arbiter(config.build().unwrap()).unwrap();
        let ask = |id: &'static str| {
            let statsig = statsig.clone();
            actix_rt::spawn(async move { statsig.check_gate(&user(id), "beta").await })
        };
        let (first, second) = (ask("u-1"), ask("u-2"));
        until(|| trace.spans("statsig.call").len() == 2 && server.calls() == 1).await;

        // When the second caller leaves before its call is sent
        second.abort();
        server.stop();
        assert!(matches!(first.await.unwrap(), Err(Error::Connect { .. })));
        statsig.shutdown(MINUTE).await;

        // Then the spans of the second call say so
        let expected = ended(&["connect", "abandoned"]);
        assert_eq!(outcomes(&trace, "statsig.request"), expected);
        assert_eq!(outcomes(&trace, "statsig.call"), expected);
        assert_eq!(outcomes(&trace, "statsig.attempt"), ended(&["connect"]));
        assert_eq!(server.calls(), 1);
    });
}

#[test]
fn attempt_that_panics_says_so() {
    let (trace, _guard) = Trace::of_this_thread();
    System::new().block_on(async {
        let server = LocalStatsig::start(Rules::new().gate("beta", true)).unwrap();
        let config = config().base_url(server.url());
        let statsig = Statsig::start_in_current_arbiter(config.build().unwrap()).unwrap();

        panic_at("attempt", 1);
        let failed = statsig.check_gate(&user("u-1"), "beta").await;
        assert!(matches!(failed, Err(Error::Internal { .. })));

        for span in ["statsig.attempt", "statsig.call", "statsig.request"] {
            assert_eq!(outcomes(&trace, span), ended(&["internal"]), "{span}");
        }
    });
}

#[test]
fn lost_call_says_so_and_contains_the_next() {
    let (trace, _guard) = Trace::of_this_thread();
    virtual_time(async {
        // Given a transport that loses the first call
        let mut lost = false;
        let script = Script::new(move |_| match std::mem::replace(&mut lost, true) {
            false => Reaction::Lose,
            true => Reaction::Answer,
        });

        // When a caller makes a request
        script.start(config()).check_gate(&user("u-1"), "beta").await.unwrap();

        // Then the call that is answered is a child of the lost one
        assert_eq!(outcomes(&trace, "statsig.call"), ended(&["lost", "ok"]));
        let calls = trace.spans("statsig.call");
        assert_eq!(calls[1].parent, Some(calls[0].id));
    });
}

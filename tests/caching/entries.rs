//! Cache entries: which requests they answer, and for how long.

use std::{cell::Cell, rc::Rc, time::Duration};

use actix_rt::time::sleep;
use actix_statsig::{
    CallKind, CheckGates, ConfigEvaluation, Error, GateEvaluation, GetConfigs, Source, Statsig,
    User,
};

use crate::support::{Reaction, Script, config, settle, user, virtual_time};

const SECOND: Duration = Duration::from_secs(1);
const TTL: Duration = Duration::from_secs(10);
const STALE: Duration = Duration::from_secs(60);

fn caching() -> actix_statsig::ConfigBuilder {
    config().cache_ttl(TTL).stale_if_error(STALE)
}

fn down() -> Error {
    Error::unavailable(CallKind::CheckGate, 503, None)
}

/// The error with which calls fail, if they do.
type Fault = Rc<Cell<Option<fn() -> Error>>>;

/// Answers until the test sets a fault.
fn failing_on_demand() -> (Script, Fault) {
    let fault = Fault::default();
    let its = Rc::clone(&fault);
    let script = Script::new(move |_| match its.get() {
        Some(error) => Reaction::Reply(Err(error())),
        None => Reaction::Answer,
    });
    (script, fault)
}

#[test]
fn cached_answer_is_used_until_its_ttl_ends() {
    virtual_time(async {
        let script = Script::answering();
        let statsig = script.start(caching());
        let (who, other) = (user("u-1"), user("u-2"));

        assert_eq!(statsig.gate_evaluation(&who, "beta").await.unwrap().source(), Source::Network);
        sleep(TTL - Duration::from_millis(1)).await;
        let age = TTL - Duration::from_millis(1);
        assert_eq!(
            statsig.gate_evaluation(&who, "beta").await.unwrap().source(),
            Source::Cache { age }
        );
        assert_eq!(statsig.check_gates(&who, ["beta", "beta"]).await.unwrap().len(), 2);
        let sent = statsig.addr().send(CheckGates::new(who.clone(), ["beta"])).await.unwrap();
        assert_eq!(sent.unwrap()[0].source(), Source::Cache { age });
        assert_eq!(script.calls().len(), 1);

        statsig.check_gate(&other, "beta").await.unwrap();
        assert_eq!(script.calls().len(), 2, "another user");
        sleep(Duration::from_millis(1)).await;
        assert_eq!(statsig.gate_evaluation(&who, "beta").await.unwrap().source(), Source::Network);
        assert_eq!(script.calls().len(), 3);
        let stats = statsig.stats();
        assert_eq!((stats.requests, stats.answered, stats.names), (6, 6, 7));
        assert_eq!((stats.cached, stats.stale), (4, 0));
    });
}

#[test]
fn promise_2_every_part_of_the_question_counts() {
    virtual_time(async {
        let script = Script::answering();
        let statsig = script.start(caching());
        let who = user("u-1");
        let almost = User::builder().user_id("u-1").custom("plan", "pro").build().unwrap();
        statsig.check_gate(&who, "beta").await.unwrap();

        statsig.check_gate(&almost, "beta").await.unwrap();
        statsig.get_config(&who, "beta").await.unwrap();
        statsig.check_gate(&who, "alpha").await.unwrap();
        let quietly = CheckGates::new(who.clone(), ["beta"]).without_exposure();
        assert_eq!(statsig.ask(quietly).await.unwrap()[0].source(), Source::Network);
        assert_eq!(script.calls().len(), 5);

        let quietly = CheckGates::new(who, ["beta"]).without_exposure();
        assert!(matches!(statsig.ask(quietly).await.unwrap()[0].source(), Source::Cache { .. }));
        assert_eq!(script.calls().len(), 5);
    });
}

#[test]
fn only_the_names_that_are_not_kept_are_asked_for() {
    virtual_time(async {
        let script = Script::answering();
        let statsig = script.start(caching());
        let who = user("u-1");
        statsig.gate_evaluations(&who, ["aa", "bb"]).await.unwrap();

        let gates = statsig.gate_evaluations(&who, ["cc", "aa", "dd", "bb", "cc"]).await.unwrap();

        assert_eq!(script.names(), [["aa", "bb"], ["cc", "dd"]]);
        let names: Vec<_> = gates.iter().map(GateEvaluation::name).collect();
        assert_eq!(names, ["cc", "aa", "dd", "bb", "cc"]);
        let is_kept = gates.iter().map(|gate| gate.source() != Source::Network);
        assert_eq!(is_kept.collect::<Vec<_>>(), [false, true, false, true, false]);
    });
}

#[test]
fn message_can_bypass_the_cache_and_refresh_it() {
    virtual_time(async {
        let script = Script::answering();
        let statsig = script.start(caching());
        let who = user("u-1");
        statsig.check_gate(&who, "beta").await.unwrap();
        sleep(TTL - SECOND).await;

        let past = || CheckGates::new(who.clone(), ["beta"]).bypass_cache();
        assert_eq!(statsig.ask(past()).await.unwrap()[0].source(), Source::Network);
        let sent = statsig.addr().send(past()).await.unwrap();
        assert_eq!(sent.unwrap()[0].source(), Source::Network);
        assert_eq!(script.calls().len(), 3);

        sleep(TTL - SECOND).await;
        assert!(matches!(
            statsig.gate_evaluation(&who, "beta").await.unwrap().source(),
            Source::Cache { .. }
        ));
    });
}

/// Each call takes half a second less than the one before it, and its answer carries the call's
/// number.
fn overtaking() -> Script {
    let mut calls = 0;
    Script::new(move |call| {
        calls += 1;
        let gate = GateEvaluation::new(&*call.names[0], true).with_rule("r-1", calls.to_string());
        let after = SECOND * 2 - SECOND / 2 * calls;
        Reaction::ReplyAfter(after, Ok(vec![Some(gate.into())]))
    })
}

#[test]
fn bypassing_request_does_not_join_an_older_call() {
    virtual_time(async {
        for is_by_handle in [true, false] {
            let statsig = overtaking().start(caching());
            let who = user("u-1");
            let early = statsig.addr().send(CheckGates::new(who.clone(), ["beta"]));
            sleep(SECOND / 10).await;

            let past = CheckGates::new(who.clone(), ["beta"]).bypass_cache();
            let past = match is_by_handle {
                true => statsig.ask(past).await.unwrap(),
                false => statsig.addr().send(past).await.unwrap().unwrap(),
            };
            let early = early.await.unwrap().unwrap();

            assert_eq!((past[0].group_name(), early[0].group_name()), (Some("2"), Some("1")));
            let kept = statsig.gate_evaluation(&who, "beta").await.unwrap();
            let group = kept.group_name();
            assert_eq!(group, Some("2"), "the older call's answer came later, and is not cached");
            assert!(matches!(kept.source(), Source::Cache { .. }));
        }
    });
}

#[test]
fn with_a_time_to_live_of_zero_nothing_is_kept() {
    virtual_time(async {
        let (script, fault) = failing_on_demand();
        let statsig = script.start(caching().cache_ttl(Duration::ZERO));
        statsig.check_gate(&user("u-1"), "beta").await.unwrap();
        assert_eq!(
            statsig.gate_evaluation(&user("u-1"), "beta").await.unwrap().source(),
            Source::Network
        );
        assert_eq!(script.calls().len(), 2);
        fault.set(Some(down));
        assert!(statsig.check_gate(&user("u-1"), "beta").await.is_err());
    });
}

#[test]
fn error_is_not_cached() {
    virtual_time(async {
        let (script, fault) = failing_on_demand();
        let statsig = script.start(caching());
        fault.set(Some(down));
        assert!(statsig.check_gate(&user("u-1"), "beta").await.is_err());
        fault.set(None);
        assert!(statsig.check_gate(&user("u-1"), "beta").await.is_ok());
        assert_eq!(script.calls().len(), 2);
    });
}

#[test]
fn stale_answer_serves_while_statsig_fails_and_says_so() {
    virtual_time(async {
        let (script, fault) = failing_on_demand();
        let statsig = script.start(caching());
        let who = user("u-1");
        statsig.gate_evaluation(&who, "beta").await.unwrap();
        statsig.get_config(&who, "homepage").await.unwrap();
        sleep(TTL).await;
        fault.set(Some(down));

        let stale = statsig.gate_evaluation(&who, "beta").await.unwrap();
        let Source::Stale { age } = stale.source() else { panic!("{:?}", stale.source()) };
        assert!(age >= TTL);
        let config: ConfigEvaluation = statsig.get_config(&who, "homepage").await.unwrap();
        assert!(matches!(config.source(), Source::Stale { .. }));
        assert_eq!(script.calls().len(), 4, "each stale answer follows a failed call");
        assert!(statsig.check_gate(&who, "unknown").await.is_err());
        assert_eq!(statsig.stats().stale, 2);

        sleep(STALE).await;
        assert!(statsig.check_gate(&who, "beta").await.is_err(), "past the second limit");
        fault.set(None);
        assert_eq!(statsig.gate_evaluation(&who, "beta").await.unwrap().source(), Source::Network);
    });
}

#[test]
fn stale_name_does_not_help_another_of_its_request() {
    virtual_time(async {
        let (script, fault) = failing_on_demand();
        let statsig = script.start(caching());
        let who = user("u-1");
        statsig.check_gate(&who, "old").await.unwrap();
        sleep(TTL).await;
        fault.set(Some(down));

        let (both, one) = tokio::join!(
            statsig.gate_evaluations(&who, ["old", "new"]),
            statsig.gate_evaluations(&who, ["old"]),
        );

        assert!(matches!(both, Err(Error::Unavailable { .. })));
        assert!(one.is_ok(), "a request without the missing name succeeds");
        assert_eq!(script.calls().len(), 2);
    });
}

#[test]
fn bypassing_request_gets_nothing_stale() {
    virtual_time(async {
        let (script, fault) = failing_on_demand();
        let statsig = script.start(caching());
        let who = user("u-1");
        statsig.check_gate(&who, "beta").await.unwrap();
        sleep(TTL).await;
        fault.set(Some(down));

        let past = CheckGates::new(who.clone(), ["beta"]).bypass_cache();
        let (past, stale) = tokio::join!(statsig.ask(past), statsig.gate_evaluation(&who, "beta"));

        assert!(matches!(past, Err(Error::Unavailable { .. })), "{past:?}");
        assert!(matches!(stale.unwrap().source(), Source::Stale { .. }));
        assert_eq!(script.calls().len(), 2, "both requests share the call");
    });
}

/// The pause after which a second refusal of the key counts.
const PAUSE: Duration = Duration::from_secs(10);

/// A component that caches answers for longer than the pause. The key is refused while the cell is
/// true.
fn refusing_on_demand(status: u16) -> (Statsig, Rc<Cell<bool>>) {
    let refused = Rc::new(Cell::new(false));
    let its = Rc::clone(&refused);
    let script = Script::new(move |call| match its.get() {
        true => Reaction::Reply(Err(Error::unauthorized(call.kind, status))),
        false => Reaction::Answer,
    });
    (script.start(caching().cache_ttl(10 * PAUSE)), refused)
}

#[test]
fn key_refused_again_after_a_pause_empties_the_cache() {
    for status in [401, 403] {
        virtual_time(async move {
            let (statsig, refused) = refusing_on_demand(status);
            let source =
                async |who: &str| Ok(statsig.gate_evaluation(&user(who), "beta").await?.source());
            assert!(matches!(source("kept").await, Ok(Source::Network)));
            refused.set(true);

            // The first refusal, and another one too soon: they may be a mistake, and the cache is
            // kept.
            for _ in 0..2 {
                assert!(matches!(source("u-2").await, Err(Error::Unauthorized { .. })));
                assert!(matches!(source("kept").await, Ok(Source::Cache { .. })));
                sleep(PAUSE / 2 - SECOND).await;
            }
            sleep(2 * SECOND).await;
            assert!(matches!(source("kept").await, Ok(Source::Cache { .. })));
            assert!(matches!(source("u-2").await, Err(Error::Unauthorized { .. })));

            let forgotten = source("kept").await;

            assert!(matches!(forgotten, Err(Error::Unauthorized { .. })), "{forgotten:?}");
            refused.set(false);
            assert!(matches!(source("kept").await, Ok(Source::Network)));
            assert!(matches!(source("kept").await, Ok(Source::Cache { .. })), "cached again");
        });
    }
}

#[test]
fn key_accepted_between_two_refusals_keeps_the_cache() {
    virtual_time(async {
        let (statsig, refused) = refusing_on_demand(401);
        let source =
            async |who: &str| Ok(statsig.gate_evaluation(&user(who), "beta").await?.source());
        assert!(matches!(source("kept").await, Ok(Source::Network)));
        for n in 0..3 {
            refused.set(true);
            assert!(matches!(source("u-2").await, Err(Error::Unauthorized { .. })));
            refused.set(false);
            assert!(source(&format!("u-{n} again")).await.is_ok());
            sleep(PAUSE).await;
        }
        assert!(matches!(source("kept").await, Ok(Source::Cache { .. })));
    });
}

#[test]
fn answer_asked_before_the_key_was_refused_is_not_cached() {
    virtual_time(async {
        let script = Script::new(|call| match call.user == user("refused") {
            true => Reaction::ReplyAfter(SECOND, Err(Error::unauthorized(call.kind, 401))),
            false => Reaction::AnswerAfter(2 * SECOND),
        });
        let statsig = script.start(caching());
        let (early, refused) = (user("early"), user("refused"));
        assert!(statsig.gate_evaluation(&refused, "beta").await.is_err());
        sleep(PAUSE).await;

        let (before, by_key) = tokio::join!(
            statsig.gate_evaluation(&early, "beta"),
            statsig.gate_evaluation(&refused, "beta")
        );

        assert!(before.is_ok() && matches!(by_key, Err(Error::Unauthorized { .. })));
        assert_eq!(
            statsig.gate_evaluation(&early, "beta").await.unwrap().source(),
            Source::Network
        );
        let again = statsig.gate_evaluation(&early, "beta").await.unwrap().source();
        assert!(matches!(again, Source::Cache { .. }), "an answer after the refusal is cached");
    });
}

#[test]
fn refusal_is_an_answer_that_nothing_stale_replaces() {
    virtual_time(async {
        let (script, fault) = failing_on_demand();
        let statsig = script.start(caching());
        statsig.check_gate(&user("u-1"), "beta").await.unwrap();
        sleep(TTL).await;
        fault.set(Some(|| Error::refused(CallKind::CheckGate, 404, "")));
        let refused = statsig.check_gate(&user("u-1"), "beta").await;
        assert!(matches!(refused, Err(Error::Refused { .. })), "{refused:?}");
        assert_eq!(script.calls().len(), 2);
    });
}

#[test]
fn missing_name_gets_no_stale_evaluation() {
    virtual_time(async {
        let is_missing = Rc::new(Cell::new(false));
        let in_script = Rc::clone(&is_missing);
        let script = Script::new(move |_| match in_script.get() {
            true => Reaction::Reply(Ok(vec![None])),
            false => Reaction::Answer,
        });
        let statsig = script.start(caching());
        statsig.check_gate(&user("u-1"), "beta").await.unwrap();
        sleep(TTL).await;
        is_missing.set(true);

        let missing = statsig.check_gate(&user("u-1"), "beta").await;

        assert!(matches!(missing, Err(Error::MissingName { .. })), "{missing:?}");
    });
}

#[test]
fn promise_6_no_cached_answers_from_draining_on() {
    virtual_time(async {
        let script = Script::new(|call| match call.kind {
            CallKind::CheckGate => Reaction::Answer,
            CallKind::GetConfig => Reaction::AnswerAfter(SECOND),
            other => unreachable!("{other:?}"),
        });
        let statsig = script.start(caching());
        let who = user("u-1");
        statsig.check_gate(&who, "beta").await.unwrap();
        let slow = statsig.addr().send(GetConfigs::new(who.clone(), ["homepage"]));
        statsig.check_gate(&who, "beta").await.unwrap();

        let draining = async {
            sleep(SECOND / 2).await;
            let by_handle = statsig.check_gate(&who, "beta").await;
            let by_address = statsig.addr().send(CheckGates::new(who.clone(), ["beta"])).await;
            (by_handle, by_address.unwrap())
        };
        let (slow, report, (by_handle, by_address)) =
            tokio::join!(slow, statsig.shutdown(5 * SECOND), draining);

        assert!(slow.unwrap().is_ok());
        assert_eq!((report.answered, report.cut_off), (1, 0));
        assert!(matches!(by_handle, Err(Error::ShuttingDown)), "{by_handle:?}");
        assert!(matches!(by_address, Err(Error::ShuttingDown)), "{by_address:?}");
        let after = statsig.check_gate(&who, "beta").await;
        assert!(matches!(after, Err(Error::ShuttingDown)), "{after:?}");
    });
}

#[test]
fn promise_4_no_more_is_kept_than_the_bound() {
    virtual_time(async {
        let script = Script::answering();
        let statsig = script.start(caching().cache_entries(10));
        for n in 0..100 {
            statsig.check_gate(&user(n), "beta").await.unwrap();
        }
        let before = script.calls().len();
        for n in (0..100).rev() {
            statsig.check_gate(&user(n), "beta").await.unwrap();
        }
        assert_eq!(script.calls().len() - before, 90, "the last ten are cached");
    });
}

#[test]
fn answer_too_large_for_cache_bytes_is_not_cached() {
    virtual_time(async {
        let large = Rc::new(Cell::new(false));
        let is_large = Rc::clone(&large);
        let script = Script::new(move |call| {
            let text = "x".repeat(if is_large.get() { 8 << 10 } else { 7 << 10 });
            let value = format!(r#"{{"text": "{text}"}}"#);
            let config = ConfigEvaluation::from_json(call.names[0].clone(), &value).unwrap();
            Reaction::Reply(Ok(vec![Some(config.into())]))
        });
        let statsig = script.start(caching().cache_bytes(1 << 20));
        let ask = async |calls| {
            let config = statsig.get_config(&user("u-1"), "homepage").await.unwrap();
            assert_eq!(script.calls().len(), calls);
            config.get::<String>("text").unwrap().len()
        };
        assert_eq!((ask(1).await, ask(1).await), (7 << 10, 7 << 10));

        // When the answer has grown
        sleep(TTL).await;
        large.set(true);

        // Then each request makes a call, and none gets the earlier cached answer
        assert_eq!((ask(2).await, ask(3).await), (8 << 10, 8 << 10));
    });
}

#[test]
fn cached_request_needs_no_place() {
    virtual_time(async {
        let script = Script::new(|call| match call.kind {
            CallKind::CheckGate => Reaction::Answer,
            CallKind::GetConfig => Reaction::Hold,
            other => unreachable!("{other:?}"),
        });
        let statsig = script.start(caching().max_pending(1));
        let who = user("u-1");
        statsig.check_gate(&who, "beta").await.unwrap();
        let held = statsig.addr().send(GetConfigs::new(who.clone(), ["homepage"]));
        settle().await;

        assert!(matches!(statsig.check_gate(&who, "alpha").await, Err(Error::Overloaded { .. })));
        assert!(statsig.check_gate(&who, "beta").await.is_ok());
        let by_address = statsig.addr().send(CheckGates::new(who, ["beta"])).await.unwrap();
        assert!(by_address.is_ok(), "{by_address:?}");
        drop(held);
    });
}

//! What callers request and get: one evaluation for each name, in the requested order.

use std::{pin::pin, time::Duration};

use actix_rt::time::{sleep, timeout};
use actix_statsig::{
    CallKind, CheckGates, ConfigEvaluation, Error, GateEvaluation, GetConfigs, Statsig, User,
};
use futures_util::{FutureExt, future::join_all};

use crate::support::{
    Reaction, Script, config, gate, now, settle, user, value, virtual_time, with_each_variant,
};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn gates_come_in_the_order_asked_duplicates_included() {
    virtual_time(async {
        let statsig = Script::answering().start(config());
        let who = user("u-1");

        let message = CheckGates::new(who.clone(), ["cc", "aa", "cc", "bb"]);
        let gates = statsig.addr().send(message).await.unwrap().unwrap();

        let expected = ["cc", "aa", "cc", "bb"].map(|name| gate(&who, name, true));
        assert_eq!(gates, expected);
    });
}

#[test]
fn configs_come_in_the_order_asked_with_a_call_for_each_name() {
    virtual_time(async {
        let script = Script::answering();
        let statsig = script.start(config());
        let who = user("u-1");

        let message = GetConfigs::new(who.clone(), ["cc", "aa", "cc"]);
        let configs = statsig.addr().send(message).await.unwrap().unwrap();

        assert_eq!(configs, ["cc", "aa", "cc"].map(|name| value(&who, name, true)));
        assert_eq!(script.names(), [["cc"], ["aa"]]);
        assert!(script.calls().iter().all(|call| call.kind == CallKind::GetConfig));
    });
}

#[test]
fn promise_2_each_user_and_exposure_mode_has_answers_of_its_own() {
    with_each_variant(|config| async move {
        let statsig = Script::answering().start(config);
        let differing = |n: usize| {
            let user = User::builder().user_id("u");
            let user = match n % 4 {
                0 => user.custom("plan", n as i64),
                1 => user.private_attribute("plan", n as i64),
                2 => user.custom_id("plan", n.to_string()),
                _ => user.app_version(n.to_string()),
            };
            user.build().unwrap()
        };

        let answers = join_all((0..400).map(|n| {
            let (who, quiet) = (differing(n / 2), n % 2 == 0);
            let message = CheckGates::new(who.clone(), ["aa", "bb"]);
            let message = if quiet { message.without_exposure() } else { message };
            let expected = ["aa", "bb"].map(|name| gate(&who, name, !quiet));
            let sent = statsig.addr().send(message);
            async move { (sent.await.unwrap().unwrap(), expected) }
        }));

        for (answered, expected) in answers.await {
            assert_eq!(answered, expected);
        }
        assert_eq!(statsig.stats().calls, 400);
    });
}

#[test]
fn message_chooses_whether_exposures_are_logged() {
    virtual_time(async {
        let script = Script::answering();
        let statsig = script.start(config().exposure_logging(false));

        let ask = |name: &str| CheckGates::new(user("u-1"), [name.to_owned()]);
        statsig.ask(ask("default")).await.unwrap();
        statsig.ask(ask("logged").with_exposure()).await.unwrap();
        statsig.ask(GetConfigs::new(user("u-1"), ["quiet"]).without_exposure()).await.unwrap();

        let modes: Vec<_> = script.calls().iter().map(|call| call.exposure).collect();
        assert_eq!(modes, [false, true, false]);
    });
}

#[test]
fn handle_offers_plain_values_and_whole_evaluations() {
    virtual_time(async {
        let statsig = Script::answering().start(config());
        let who = user("u-1");
        let (aa, bb) = (gate(&who, "aa", true), gate(&who, "bb", true));

        assert_eq!(statsig.gate_evaluation(&who, "aa").await.unwrap(), aa);
        assert_eq!(statsig.check_gate(&who, "aa").await.unwrap(), aa.value());
        assert_eq!(
            statsig.gate_evaluations(&who, ["bb", "aa"]).await.unwrap(),
            [bb.clone(), aa.clone()]
        );
        let values = statsig.check_gates(&who, ["bb", "aa"]).await.unwrap();
        assert_eq!(values, [bb.value(), aa.value()]);
        let config = statsig.get_config(&who, "aa").await.unwrap();
        assert_eq!(config.get::<String>("name").unwrap(), "aa");
        assert_eq!(statsig.get_configs(&who, ["aa"]).await.unwrap(), [config]);
    });
}

#[test]
fn promise_3_bad_name_is_refused_alone_and_at_once() {
    with_each_variant(|config| async move {
        let script = Script::new(|_| Reaction::AnswerAfter(SECOND));
        let statsig = script.start(config);
        let addr = statsig.addr();
        let good = addr.send(CheckGates::new(user("u-1"), ["good"]));

        let start = now();
        let bad = addr.send(CheckGates::new(user("u-1"), ["fine", "not/fine"])).await.unwrap();
        let through_handle = statsig.check_gate(&user("u-1"), "x").await;
        assert_eq!(now(), start, "the error does not wait for the other names");

        let message = bad.unwrap_err().to_string();
        assert!(message.starts_with("name \"not/fine\" may only contain"), "{message}");
        assert!(matches!(through_handle, Err(Error::InvalidName { .. })));
        assert_eq!(good.await.unwrap().unwrap().len(), 1);
        assert_eq!(script.names(), [["good"]]);
    });
}

#[test]
fn no_names_are_answered_without_a_call() {
    virtual_time(async {
        let script = Script::answering();
        let statsig = script.start(config());
        let none: [&str; 0] = [];

        assert_eq!(statsig.gate_evaluations(&user("u-1"), none).await.unwrap(), []);
        assert!(script.calls().is_empty());
    });
}

#[test]
fn message_nobody_waits_for_causes_no_call() {
    virtual_time(async {
        let script = Script::answering();
        let statsig = script.start(config().batch_size(1));

        statsig.addr().do_send(CheckGates::new(user("u-1"), ["aa"]));
        settle().await;
        statsig.flush().await.unwrap();

        assert!(script.calls().is_empty());
        assert_eq!(statsig.stats().abandoned, 1);
    });
}

#[test]
fn promise_1_name_the_transport_left_out_is_an_error() {
    with_each_variant(|config| async move {
        let statsig = Script::new(|_| Reaction::Reply(Ok(vec![None]))).start(config);

        let error = statsig.check_gate(&user("u-1"), "gone").await.unwrap_err();

        assert!(matches!(&error, Error::MissingName { name, .. } if &**name == "gone"), "{error}");
    });
}

#[test]
fn promise_3_late_joiner_keeps_its_own_deadline() {
    with_each_variant(|config| async move {
        let mut calls = 0;
        let script = Script::new(move |_| {
            calls += 1;
            match calls {
                1 | 2 => Reaction::TimeOut,
                _ => Reaction::Answer,
            }
        });
        let statsig = script.start(config.timeout(3 * SECOND));
        let ask = || statsig.addr().send(CheckGates::new(user("u-1"), ["aa"]));
        let first = ask();
        // Virtual time passes between the callers, whose deadlines differ by it.
        sleep(SECOND / 5).await;
        let early = ask();
        sleep(2 * SECOND).await;

        let late = ask().await.unwrap();

        assert!(late.is_ok(), "{late:?}");
        assert!(first.await.unwrap().is_err() && early.await.unwrap().is_err());
    });
}

#[test]
fn flush_resolves_when_what_it_flushed_is_answered() {
    virtual_time(async {
        let script = Script::new(|_| Reaction::Hold);
        let statsig = script.start(config());
        let asked = statsig.addr().send(CheckGates::new(user("u-1"), ["aa"]));
        let mut flush = Box::pin(statsig.flush());

        assert!((&mut flush).now_or_never().is_none());
        settle().await;
        assert!((&mut flush).now_or_never().is_none());
        assert_eq!(script.names(), [["aa"]], "the flush did not wait for the interval");
        script.release();

        flush.await.unwrap();
        assert_eq!(asked.await.unwrap().unwrap().len(), 1);
        statsig.flush().await.unwrap();
    });
}

#[test]
fn flush_does_not_wait_for_a_caller_who_left() {
    virtual_time(async {
        let script = Script::new(|call| match &*call.names[0] {
            "slow" => Reaction::ReplyAfter(SECOND, Err(Error::unavailable(call.kind, 503, None))),
            _ => Reaction::Answer,
        });
        let statsig = script.start(config());
        let first = statsig.addr().send(CheckGates::new(user("u-1"), ["slow"]));
        // In virtual time: one who joins later has a later deadline, and so a retry to wait for.
        sleep(SECOND / 10).await;
        let joined = statsig.addr().send(CheckGates::new(user("u-1"), ["slow", "fast"]));
        settle().await;
        let mut flushed = pin!(timeout(60 * SECOND, statsig.flush()));
        assert!((&mut flushed).now_or_never().is_none());
        settle().await;

        drop(joined);

        assert!(flushed.await.is_ok(), "the flush waits for a caller that has left");
        assert!(first.await.unwrap().is_err());
        assert_eq!((script.calls().len(), statsig.stats().abandoned), (2, 1));
    });
}

#[test]
fn handle_and_its_futures_are_send() {
    fn sent<T: Send>(_: &T) {}
    fn shared<T: Send + Sync + Clone + 'static>() {}
    shared::<Statsig>();
    shared::<Error>();
    shared::<User>();
    shared::<GateEvaluation>();
    shared::<ConfigEvaluation>();
    let _ = |statsig: &Statsig, user: &User| {
        sent(&statsig.check_gate(user, "aa"));
        sent(&statsig.check_gates(user, ["aa"]));
        sent(&statsig.gate_evaluation(user, "aa"));
        sent(&statsig.gate_evaluations(user, ["aa"]));
        sent(&statsig.get_config(user, "aa"));
        sent(&statsig.get_configs(user, ["aa"]));
        sent(&statsig.ask(CheckGates::new(user.clone(), ["aa"])));
        sent(&statsig.flush());
        sent(&statsig.shutdown(std::time::Duration::ZERO));
    };
}

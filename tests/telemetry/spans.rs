//! Spans: which request led to which call, and how each ended.
#![cfg(feature = "test-util")]

use std::{cell::Cell, collections::BTreeSet, rc::Rc, sync::Arc, time::Duration};

use actix_rt::{System, time::sleep};
use actix_statsig::{
    CallKind, CheckGates, ConfigEvaluation, Error, GateEvaluation, Statsig, User,
    test_util::{Fault, LocalStatsig, Rule, Rules},
};
use futures_util::future::{join, join_all};
use tracing::{Instrument, Level, info, info_span, level_filters::LevelFilter};
use tracing_subscriber::{Layer, Registry, layer::SubscriberExt};

use crate::support::{
    Reaction, Script, config,
    trace::{APP, SeenEvent, SeenSpan, Trace},
    user, virtual_time,
};

fn ids(spans: &[SeenSpan]) -> BTreeSet<u64> {
    spans.iter().map(|span| span.id).collect()
}

fn follows(span: &SeenSpan) -> BTreeSet<u64> {
    span.follows.iter().copied().collect()
}

#[test]
fn request_is_in_its_callers_span_and_call_follows_from_all() {
    let (trace, _guard) = Trace::of_this_thread();
    virtual_time(async {
        // Given two callers, each with a span of its own
        let statsig = Script::answering().start(config());
        let ask = |number: u32, gates: [&'static str; 2]| {
            let statsig = statsig.clone();
            let ask = async move { statsig.gate_evaluations(&user("u-1"), gates).await.unwrap() };
            ask.instrument(info_span!("page", number))
        };

        // When they ask about the same user, through the handle and, for a third, by message
        join(ask(1, ["beta", "gamma"]), ask(2, ["gamma", "delta"])).await;

        // Then their requests are theirs, and the one call is both's
        let (pages, requests) = (trace.spans("page"), trace.spans("statsig.request"));
        let parents: Vec<_> = requests.iter().map(|request| request.parent).collect();
        assert_eq!(parents, [Some(pages[0].id), Some(pages[1].id)]);
        let (flush, call) = (trace.span("statsig.flush"), trace.span("statsig.call"));
        assert_eq!((flush.parent, call.parent), (None, Some(flush.id)));
        assert_eq!((follows(&flush), follows(&call)), (ids(&requests), ids(&requests)));
        assert_eq!((call.field("operation"), call.field("names")), (Some("check_gate"), Some("3")));
        for span in requests.iter().chain([&call]) {
            assert_eq!((span.field("outcome"), span.is_closed), (Some("ok"), true), "{span:?}");
        }
    });
}

#[test]
fn message_carries_its_span_and_call_follows_from_joiners() {
    let (trace, _guard) = Trace::of_this_thread();
    virtual_time(async {
        // Given a call in flight
        let script = Script::new(|_| Reaction::AnswerAfter(Duration::from_millis(100)));
        let addr = script.start(config()).addr();
        let ask = |page: tracing::Span| {
            let message = page.in_scope(|| CheckGates::new(user("u-1"), ["beta"]));
            let addr = addr.clone();
            actix_rt::spawn(async move { addr.send(message).await.unwrap().unwrap() })
        };
        let first = ask(info_span!("page"));
        actix_rt::time::sleep(Duration::from_millis(50)).await;

        // When another asks for the same name
        let second = ask(info_span!("page"));
        let (first, second) = join(first, second).await;
        assert_eq!(first.unwrap(), second.unwrap());

        // Then it has one call, which follows from both
        let (pages, requests) = (trace.spans("page"), trace.spans("statsig.request"));
        assert_eq!(requests[1].parent, Some(pages[1].id));
        assert_eq!(follows(&trace.span("statsig.call")), ids(&requests));
    });
}

#[test]
fn call_follows_from_a_request_that_ended_before_it() {
    let (trace, _guard) = Trace::of_this_thread();
    virtual_time(async {
        // Given a transport that refuses one config at once, and has the other later
        let script = Script::new(|call| match &*call.names[0] {
            "bad" => Reaction::Reply(Err(Error::unauthorized(CallKind::GetConfig, 401))),
            _ => Reaction::AnswerAfter(Duration::from_millis(100)),
        });
        let statsig = script.start(config());

        // When somebody asks for both, who has an error before the second call has its answer, and
        // another joins that
        statsig.get_configs(&user("u-1"), ["bad", "good"]).await.unwrap_err();
        statsig.get_config(&user("u-1"), "good").await.unwrap();

        // Then the first is what both calls were made for
        let ids: Vec<_> = trace.spans("statsig.request").iter().map(|span| span.id).collect();
        let calls = trace.spans("statsig.call");
        assert_eq!((&calls[0].follows, &calls[1].follows), (&vec![ids[0]], &ids));
    });
}

#[test]
fn attempt_is_in_its_calls_span_and_says_how_it_ended() {
    let (trace, _guard) = Trace::of_this_thread();
    System::new().block_on(async {
        // Given a server that fails once, and one that refuses the key
        let server = LocalStatsig::start(Rules::new().gate("beta", true)).unwrap();
        server.inject(Fault::status(503).times(1));
        let config = config().base_url(server.url());
        let statsig = Statsig::start_in_current_arbiter(config.build().unwrap()).unwrap();

        // When they are asked
        assert!(statsig.check_gate(&user("u-1"), "beta").await.unwrap());
        server.inject(Fault::status(401).times(1));
        let refused = statsig.check_gate(&user("u-2"), "beta").await;
        assert!(matches!(refused, Err(Error::Unauthorized { .. })));

        // Then the trace has the attempts of both calls
        let calls = trace.spans("statsig.call");
        let attempts: Vec<_> = trace.spans("statsig.attempt").into_iter().collect();
        let seen = attempts.iter().map(|attempt| {
            (attempt.parent, attempt.field("number").unwrap(), attempt.field("outcome").unwrap())
        });
        let (first, second) = (Some(calls[0].id), Some(calls[1].id));
        assert_eq!(
            seen.collect::<Vec<_>>(),
            [(first, "1", "unavailable"), (first, "2", "ok"), (second, "1", "unauthorized")]
        );
        assert_eq!(calls[1].field("outcome"), Some("unauthorized"));
        assert_eq!(trace.spans("statsig.request")[1].field("outcome"), Some("unauthorized"));
        let failed = trace.seen().events.iter().find(|event| event.within == first).cloned();
        assert_eq!(failed.unwrap().fields.0["message"], "an attempt failed");
    });
}

#[test]
fn log_says_when_calls_fail_and_when_they_recover() {
    let (trace, _guard) = Trace::of_this_thread();
    virtual_time(async {
        // Given a transport that fails three times
        let mut failures = 3;
        let script = Script::new(move |_| {
            failures -= 1;
            match failures {
                0.. => Reaction::Reply(Err(Error::attempt_timeout(Duration::ZERO))),
                _ => Reaction::Answer,
            }
        });
        let statsig = script.start(config());

        // When it is asked five times
        for _ in 0..5 {
            let _ = statsig.check_gate(&user("u-1"), "beta").await;
        }

        // Then each change is a line
        assert_eq!(trace.said(), ["calls to Statsig fail", "calls to Statsig are answered again"]);
    });
}

#[test]
fn normal_work_logs_nothing_at_info_and_fields_stay_small() {
    let (trace, _guard) = Trace::of_this_thread();
    System::new().block_on(async {
        let rule = Rule::new(true);
        let rules =
            (0..30).fold(Rules::new(), |rules, n| rules.gate(format!("gate-{n}"), rule.clone()));
        let server = LocalStatsig::start(rules).unwrap();
        let config = config().base_url(server.url());
        let statsig = Statsig::start_in_current_arbiter(config.build().unwrap()).unwrap();

        let statsig = &statsig;
        let page = |n: u32| async move {
            let names = (0..n).map(|n| format!("gate-{n}"));
            statsig.gate_evaluations(&user(format!("somebody-{n}")), names).await.unwrap();
            statsig.get_config(&user(format!("somebody-{n}")), "no_such").await.unwrap();
        };
        join_all((1..30).map(page)).await;

        let seen = trace.seen();
        let loud = seen.events.iter().filter(|event| event.level <= Level::INFO);
        assert_eq!(loud.count(), 0, "{:?}", seen.events);
        let of_ours = seen.spans.iter().filter(|span| span.name.starts_with("statsig."));
        let mut count = 0;
        for span in of_ours {
            assert_eq!(span.level, Level::DEBUG);
            for (field, value) in &span.fields.0 {
                let is_number = value.parse::<u32>().is_ok();
                let is_word = ["check_gate", "get_config", "ok"].contains(&value.as_str());
                assert!(is_number || is_word, "{field} is {value}");
            }
            count += 1;
        }
        assert!(count > 29 * 4, "{count} spans");
    });
}

#[test]
fn app_log_lines_reach_all_layers_with_own_filters() {
    // Given an app that writes its log at INFO, and traces at DEBUG
    let (log, traces) = (Trace::default(), Trace::default());
    let subscriber = Registry::default()
        .with(log.clone().with_filter(LevelFilter::INFO))
        .with(traces.clone().with_filter(LevelFilter::DEBUG));
    let _guard = tracing::subscriber::set_default(subscriber);
    virtual_time(async {
        let statsig = Script::answering().start(config());

        // When it says something after a message was made, and after it was answered
        let message = CheckGates::new(user("u-1"), ["beta"]);
        info!(target: APP, "asking");
        statsig.ask(message).await.unwrap();
        info!(target: APP, "answered");

        // Then nothing of it is lost
        for layer in [&log, &traces] {
            assert_eq!(layer.said(), ["asking", "answered"]);
        }
        assert_eq!((log.spans("statsig.call").len(), traces.spans("statsig.call").len()), (0, 1));
    });
}

/// The component's events with this message, at whatever level.
fn events(trace: &Trace, message: &str) -> Vec<SeenEvent> {
    let seen = trace.seen();
    let is_it = |event: &&SeenEvent| event.fields.0["message"] == message;
    seen.events.iter().filter(is_it).cloned().collect()
}

#[test]
fn call_logs_its_names_values_and_rule_ids_in_one_event() {
    let (trace, _guard) = Trace::of_this_thread();
    virtual_time(async {
        let script = Script::new(|call| {
            let one = |name: &Arc<str>| match &**name {
                "beta" => Some(GateEvaluation::new("beta", true).with_rule("2RamGs", "g").into()),
                "shop" => {
                    let value = format!(r#"{{"theme": "{}"}}"#, "é".repeat(10_000));
                    Some(ConfigEvaluation::from_json("shop", &value).unwrap().into())
                }
                "gone" => None,
                name => Some(GateEvaluation::new(name, false).into()),
            };
            match &*call.names[0] {
                "bad" => Reaction::Reply(Err(Error::unavailable(call.kind, 503, None))),
                _ => Reaction::Reply(Ok(call.names.iter().map(one).collect())),
            }
        });
        let statsig = script.start(config());
        statsig.gate_evaluations(&user("u-1"), ["beta", "old", "gone"]).await.unwrap_err();
        statsig.get_config(&user("u-1"), "shop").await.unwrap();
        statsig.get_config(&user("u-1"), "bad").await.unwrap_err();
    });
    let answered = events(&trace, "a call was answered");
    let calls = trace.spans("statsig.call");
    assert_eq!(answered.len(), 2);
    let (gates, config) = (&answered[0], &answered[1]);
    assert_eq!((gates.level, gates.within), (Level::DEBUG, Some(calls[0].id)));
    let answers = r#"beta: true, rule "2RamGs"; old: false; gone: not answered"#;
    assert_eq!(gates.fields.0["answers"], answers);
    let shop = &config.fields.0["answers"];
    assert!(
        shop.starts_with(r#"shop: "{\"theme\": \"ééé"#) && shop.chars().count() < 150,
        "{shop}"
    );
    let failed = events(&trace, "a call failed");
    assert_eq!((failed.len(), &*failed[0].fields.0["names"]), (1, "bad"));
    assert!(failed[0].fields.0["error"].contains("503"));
}

#[test]
fn promise_7_event_of_a_call_has_no_user_and_no_secret() {
    const KEY: &str = "secret-hunter2-key";
    let (trace, _guard) = Trace::of_this_thread();
    virtual_time(async {
        // Given a server that repeats in its answers what it was sent
        let script = Script::new(|call| {
            let user: serde_json::Value = serde_json::from_str(&call.user.to_json()).unwrap();
            let one = |name: &Arc<str>| match call.kind {
                CallKind::CheckGate => {
                    let rule = format!("{KEY}{user}");
                    GateEvaluation::new(&**name, true).with_rule(rule, "").into()
                }
                _ => ConfigEvaluation::new(&**name, user.as_object().unwrap().clone()).into(),
            };
            Reaction::Reply(Ok(call.names.iter().map(|name| Some(one(name))).collect()))
        });
        let statsig = script.start(config().api_key(KEY));
        let private = User::builder().user_id("marie").private_attribute("pass", "hunter2");
        for user in [private.build().unwrap(), user("marie")] {
            statsig.check_gate(&user, "beta").await.unwrap();
        }
        let private = User::builder().user_id("u").private_attribute("pass", "hunter2");
        statsig.get_config(&private.build().unwrap(), "shop").await.unwrap();
    });
    let events = events(&trace, "a call was answered");
    assert_eq!(events.len(), 3);
    for event in events {
        let shown = format!("{event:?}");
        assert!(!shown.contains("hunter2") && !shown.contains("marie"), "{shown}");
        assert!(shown.contains("[withheld: "), "{shown}");
    }
}

#[test]
fn stale_answers_log_when_they_begin_and_end() {
    let (trace, _guard) = Trace::of_this_thread();
    let is_down = Rc::new(Cell::new(false));
    let its = Rc::clone(&is_down);
    virtual_time(async move {
        let script = Script::new(move |call| match its.get() {
            true => Reaction::Reply(Err(Error::unavailable(call.kind, 503, None))),
            false => Reaction::Answer,
        });
        let (ttl, stale) = (Duration::from_secs(10), Duration::from_secs(3_600));
        let statsig = script.start(config().cache_ttl(ttl).stale_if_error(stale));
        let check = async |user_id: u32| statsig.check_gate(&user(user_id), "beta").await.unwrap();
        // When Statsig fails for a while, and then fails and answers in quick turns
        check(0).await;
        sleep(2 * ttl).await;
        is_down.set(true);
        for _ in 0..5 {
            check(0).await;
        }
        for user_id in 1..6 {
            is_down.set(false);
            check(user_id).await;
            is_down.set(true);
            check(0).await;
        }
        // And fails and answers once more after a pause
        is_down.set(false);
        check(6).await;
        sleep(Duration::from_secs(60)).await;
        is_down.set(true);
        check(0).await;
        is_down.set(false);
        check(7).await;
    });
    // Then the log has a line for each beginning and each end, and quick turns are quiet
    let [begun, ended] = [
        "Statsig fails: stale answers are served from the cache",
        "Statsig answers again: stale answers are no longer served",
    ]
    .map(|message| events(&trace, message));
    let loud = |events: &[SeenEvent], level| -> Vec<usize> {
        (0..events.len()).filter(|at| events[*at].level == level).collect()
    };
    assert_eq!((begun.len(), loud(&begun, Level::WARN)), (7, vec![0, 6]), "{begun:?}");
    assert_eq!((ended.len(), loud(&ended, Level::INFO)), (7, vec![0, 6]), "{ended:?}");
    assert_eq!((&*ended[0].fields.0["names"], &*ended[6].fields.0["names"]), ("5", "1"));
}

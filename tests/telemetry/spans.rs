//! Spans: which request led to which call, and how each ended.
#![cfg(feature = "test-util")]

use std::{collections::BTreeSet, time::Duration};

use actix_rt::System;
use actix_statsig::{
    CheckGates, Error, Statsig,
    test_util::{Fault, LocalStatsig, Rule, Rules},
};
use futures_util::future::{join, join_all};
use tracing::{Instrument, Level, info, info_span, level_filters::LevelFilter};
use tracing_subscriber::{Layer, Registry, layer::SubscriberExt};

use crate::support::{
    Reaction, Script, config,
    trace::{APP, SeenSpan, Trace},
    user, virtual_time,
};

fn ids(spans: &[SeenSpan]) -> BTreeSet<u64> {
    spans.iter().map(|span| span.id).collect()
}

fn follows(span: &SeenSpan) -> BTreeSet<u64> {
    span.follows.iter().copied().collect()
}

#[test]
fn a_request_stands_within_its_callers_span_and_a_call_follows_from_all_the_requests_it_serves() {
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
fn a_message_carries_its_callers_span_and_whoever_joins_a_call_is_one_of_those_it_follows_from() {
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
fn a_call_follows_from_a_request_that_ended_before_it() {
    let (trace, _guard) = Trace::of_this_thread();
    virtual_time(async {
        // Given a transport that refuses one config at once, and has the other later
        let script = Script::new(|call| match &*call.names[0] {
            "bad" => Reaction::Reply(Err(Error::Unauthorized { path: "", status: 401 })),
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
fn an_attempt_stands_within_its_call_and_each_says_how_it_ended() {
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
fn the_log_says_when_calls_begin_to_fail_and_when_they_are_answered_again() {
    let (trace, _guard) = Trace::of_this_thread();
    virtual_time(async {
        // Given a transport that fails three times
        let mut failures = 3;
        let script = Script::new(move |_| {
            failures -= 1;
            match failures {
                0.. => Reaction::Reply(Err(Error::AttemptTimeout { limit: Duration::ZERO })),
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
fn in_normal_work_nothing_is_said_at_info_and_no_field_grows_with_names_or_users() {
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
fn the_apps_own_lines_reach_all_of_its_layers_though_each_filters_for_itself() {
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

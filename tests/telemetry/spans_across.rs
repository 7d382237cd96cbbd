//! Traces across threads and across subscribers. A caller may have a subscriber other than the
//! process's, which does not know that subscriber's ids. Each test runs in a process of its own,
//! because it sets the subscriber of its process.
#![cfg(feature = "test-util")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use actix_rt::System;
use actix_statsig::{
    CheckGates, Statsig,
    test_util::{Fault, LocalStatsig, Rules},
};
use tracing::{Instrument, info_span};

use crate::support::{
    config,
    own_process::in_own_process,
    trace::{SeenSpan, Trace},
    user,
};

/// Uses up ids, so that the next id exists in no other subscriber.
fn use_up_ids() -> Vec<tracing::Span> {
    (0..100).map(|_| info_span!("another")).collect()
}

/// A component on a thread of its own, whose server fails once and then answers. After `end`, all
/// spans and events are recorded.
struct Trial {
    _server: LocalStatsig,
    statsig: Statsig,
}

impl Trial {
    fn start(transports: usize) -> Self {
        let (server, config) = Self::server(transports);
        Self { statsig: Statsig::start(config).unwrap(), _server: server }
    }

    fn start_here(transports: usize) -> Self {
        let (server, config) = Self::server(transports);
        Self { statsig: Statsig::start_in_current_arbiter(config).unwrap(), _server: server }
    }

    fn server(transports: usize) -> (LocalStatsig, actix_statsig::Config) {
        let server = LocalStatsig::start(Rules::new().gate("beta", true)).unwrap();
        server.inject(Fault::status(503).times(1));
        let config = config().base_url(server.url()).transports(transports);
        (server, config.build().unwrap())
    }

    async fn end(self) {
        self.statsig.shutdown(std::time::Duration::from_secs(60)).await;
    }
}

#[test]
fn parents_are_kept_across_threads() {
    in_own_process(|| {
        let process = Trace::of_the_process();
        for transports in [1, 2] {
            process.seen().clear();
            System::new().block_on(async {
                // Given a component whose actors are on threads of their own
                let trial = Trial::start(transports);

                // When a caller makes a request in a span
                let (statsig, user) = (&trial.statsig, user("u-1"));
                let asked = statsig.check_gate(&user, "beta").instrument(info_span!("page"));
                assert!(asked.await.unwrap());
                trial.end().await;

                // Then all spans are in one trace
                let (page, request) = (process.span("page"), process.span("statsig.request"));
                let (flush, call) = (process.span("statsig.flush"), process.span("statsig.call"));
                assert_eq!((request.parent, call.parent), (Some(page.id), Some(flush.id)));
                assert_eq!((&flush.follows, &call.follows), (&vec![request.id], &vec![request.id]));
                assert_eq!(attempts_of(&process, &call), ["unavailable", "ok"]);
                assert_eq!(failures_within(&process, &call), 1);
            });
        }
    });
}

#[test]
fn promise_5_parent_span_of_another_subscriber_is_harmless() {
    in_own_process(|| {
        let process = Trace::of_the_process();
        System::new().block_on(async {
            // Given a component under the subscriber of the process
            let trial = Trial::start(1);

            // When a caller makes a request in a span of another subscriber
            let (own, guard) = Trace::of_this_thread();
            let _others = use_up_ids();
            let message = info_span!("page").in_scope(|| CheckGates::new(user("u-1"), ["beta"]));
            trial.statsig.ask(message).await.unwrap();
            drop(guard);

            // Then the request's span is a child of the caller's span, in that subscriber
            let stats = trial.statsig.stats();
            trial.end().await;
            assert_eq!((stats.answered, stats.restarts), (1, 0));
            let (page, request) = (own.span("page"), own.span("statsig.request"));
            assert_eq!((request.parent, request.field("outcome")), (Some(page.id), Some("ok")));
            assert!(request.is_closed);

            // And the other spans are in the process's subscriber, without links to spans that it
            // does not have
            let (flush, call) = (process.span("statsig.flush"), process.span("statsig.call"));
            assert!(flush.follows.is_empty() && call.follows.is_empty(), "{flush:?} {call:?}");
            assert_eq!(attempts_of(&process, &call), ["unavailable", "ok"]);
        });
    });
}

#[test]
fn attempts_on_other_threads_stay_in_their_calls_span() {
    in_own_process(|| {
        let process = Trace::of_the_process();
        let (own, _guard) = Trace::of_this_thread();
        let _others = use_up_ids();
        System::new().block_on(async {
            // Given a component on this thread, under a subscriber of its own, with transports on
            // other threads
            let trial = Trial::start_here(2);

            // When it gets a request
            assert!(trial.statsig.check_gate(&user("u-1"), "beta").await.unwrap());
            let restarts = trial.statsig.stats().restarts;
            trial.end().await;

            // Then the attempts and their events are in their call's span
            let call = own.span("statsig.call");
            assert_eq!(attempts_of(&own, &call), ["unavailable", "ok"]);
            assert_eq!(failures_within(&own, &call), 1);
            assert_eq!((process.spans("statsig.attempt").len(), restarts), (0, 0));
        });
    });
}

/// The outcomes of the call's attempts.
fn attempts_of(trace: &Trace, call: &SeenSpan) -> Vec<String> {
    let attempts = trace.spans("statsig.attempt").into_iter();
    let of_the_call = attempts.filter(|attempt| attempt.parent == Some(call.id));
    of_the_call.map(|attempt| attempt.field("outcome").unwrap_or("none").to_owned()).collect()
}

/// How many failed attempts were logged within the call.
fn failures_within(trace: &Trace, call: &SeenSpan) -> usize {
    let seen = trace.seen();
    let within = seen.events.iter().filter(|event| event.within == Some(call.id));
    within.filter(|event| event.fields.0["message"] == "an attempt failed").count()
}

//! Several transports, each on a thread of its own; over real sockets.
#![cfg(feature = "test-util")]

use std::{sync::LazyLock, time::Duration};

use actix_rt::{System, time::timeout};
use actix_statsig::{
    BreakerState, ConfigBuilder, Error, Statsig, User,
    test_util::{Fault, LocalStatsig, Rule, Rules},
};
use futures_util::future::join_all;
use tokio::sync::watch;
use tracing::{
    Subscriber,
    span::{Attributes, Id},
};
use tracing_subscriber::{
    Layer, Registry,
    layer::{Context, SubscriberExt},
};

use crate::support::{own_process::in_own_process, patient, user};

const TRANSPORTS: usize = 3;

/// Longer than any test takes.
const LIMIT: Duration = Duration::from_secs(60);

/// A component with several transports, and a server of its own.
struct Trial {
    server: LocalStatsig,
    statsig: Statsig,
}

type Start = fn(actix_statsig::Config) -> Result<Statsig, Error>;

impl Trial {
    fn new(start: Start, config: ConfigBuilder) -> Self {
        // Open for users with an odd number.
        let rule = (1..1_000)
            .step_by(2)
            .fold(Rule::new(false), |rule, n| rule.override_for(n.to_string(), true));
        let server = LocalStatsig::start(Rules::new().gate("odd", rule)).expect("a free port");
        let config = config.base_url(server.url()).transports(TRANSPORTS);
        let statsig = start(config.build().expect("valid")).expect("an arbiter or a thread");
        Self { server, statsig }
    }

    /// Makes one call for each user, all at once.
    fn ask(&self, users: usize) -> impl Future<Output = Vec<Result<bool, Error>>> + 'static {
        let asked = (0..users).map(|n| {
            let statsig = self.statsig.clone();
            async move { statsig.check_gate(&user(n), "odd").await }
        });
        join_all(asked.collect::<Vec<_>>())
    }
}

fn is_odd(answers: &[Result<bool, Error>]) -> bool {
    answers.iter().zip(0..).all(|(answer, n)| matches!(answer, Ok(value) if *value == (n % 2 == 1)))
}

/// The number of live threads that have made an attempt.
static THREADS: LazyLock<watch::Sender<usize>> = LazyLock::new(|| watch::Sender::new(0));

/// A thread-local value that is dropped with its thread.
struct OnThread;

thread_local! {
    static ON_THREAD: OnThread = {
        THREADS.send_modify(|threads| *threads += 1);
        OnThread
    };
}

impl Drop for OnThread {
    fn drop(&mut self) {
        THREADS.send_modify(|threads| *threads -= 1);
    }
}

/// Records the threads on which attempts begin.
struct Attempts;

impl<S: Subscriber> Layer<S> for Attempts {
    fn on_new_span(&self, attributes: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        if attributes.metadata().name() == "statsig.attempt" {
            ON_THREAD.with(|_| ());
        }
    }
}

/// Tracks the threads that make attempts. It sets the process's subscriber, which sees all threads,
/// so each test that uses it needs a process of its own.
fn following_threads<F: Future>(test: impl FnOnce() -> F) {
    let subscriber = Registry::default().with(Attempts);
    tracing::subscriber::set_global_default(subscriber).expect("the first of this process");
    System::new().block_on(test());
}

/// Waits until every thread that has made an attempt has ended.
async fn threads_end() {
    let mut threads = THREADS.subscribe();
    let ended = timeout(LIMIT, threads.wait_for(|threads| *threads == 0)).await;
    assert!(ended.is_ok(), "{} threads are still alive", *THREADS.borrow());
}

#[test]
fn promise_6_threads_end_with_the_component() {
    in_own_process(|| {
        following_threads(|| async {
            for start in [Statsig::start as Start, Statsig::start_in_current_arbiter] {
                for is_shut_down in [true, false] {
                    let trial = Trial::new(start, patient());
                    trial.server.set_latency(Duration::from_millis(10));
                    assert!(is_odd(&trial.ask(30).await));
                    assert_eq!(*THREADS.borrow(), TRANSPORTS);

                    if is_shut_down {
                        let report = trial.statsig.shutdown(LIMIT).await;
                        assert_eq!((report.pending, report.cut_off), (0, 0));
                    }
                    let Trial { statsig, server } = trial;
                    drop(statsig);

                    threads_end().await;
                    timeout(LIMIT, server.all_closed()).await.expect("no connection is left open");
                }
            }
        })
    });
}

#[test]
fn promise_6_hanging_call_keeps_no_thread_past_the_limit() {
    in_own_process(|| {
        following_threads(|| async {
            let trial = Trial::new(Statsig::start_in_current_arbiter, patient());
            trial.server.inject(Fault::hang().always());
            let asked = actix_rt::spawn(trial.ask(6));
            trial.server.calls_reached(6).await;
            assert_eq!(*THREADS.borrow(), TRANSPORTS);

            let report = trial.statsig.shutdown(Duration::ZERO).await;

            assert_eq!((report.pending, report.cut_off), (6, 6));
            let told = asked.await.expect("a caller");
            assert!(told.iter().all(|told| matches!(told, Err(Error::ShuttingDown))), "{told:?}");
            threads_end().await;
        })
    });
}

#[test]
fn promise_6_stopping_its_system_ends_the_transports_threads() {
    in_own_process(|| {
        following_threads(|| async {
            let server = LocalStatsig::start(Rules::new().gate("odd", true)).expect("a free port");
            let config =
                patient().base_url(server.url()).transports(TRANSPORTS).build().expect("valid");
            server.inject(Fault::hang().always());
            let thread = std::thread::spawn(move || {
                System::new().block_on(async move {
                    let statsig = Statsig::start_in_current_arbiter(config).expect("an arbiter");
                    let asked = (0..TRANSPORTS).map(|n| {
                        let statsig = statsig.clone();
                        actix_rt::spawn(async move { statsig.check_gate(&user(n), "odd").await })
                    });
                    let _asked: Vec<_> = asked.collect();
                    server.calls_reached(TRANSPORTS).await;
                    assert_eq!(*THREADS.borrow(), TRANSPORTS);
                    (statsig, server)
                })
            });
            let (statsig, server) = thread.join().expect("an end");

            let told = statsig.check_gate(&user("late"), "odd").await;

            assert!(matches!(told, Err(Error::Closed)), "{told:?}");
            threads_end().await;
            timeout(LIMIT, server.all_closed()).await.expect("no connection is left open");
        })
    });
}

#[actix_rt::test]
async fn promise_6_shutdown_waits_for_the_calls_of_all_transports() {
    for start in [Statsig::start as Start, Statsig::start_in_current_arbiter] {
        let trial = Trial::new(start, patient());
        trial.server.set_latency(Duration::from_millis(100));
        let asked = actix_rt::spawn(trial.ask(9));
        trial.server.calls_reached(9).await;

        let report = trial.statsig.shutdown(LIMIT).await;

        assert!(is_odd(&asked.await.expect("a caller")));
        assert_eq!((report.pending, report.answered), (9, 9));
    }
}

#[actix_rt::test]
async fn promise_4_no_more_calls_are_in_flight_over_all_than_allowed() {
    // HTTP/1.1 carries one call at a time on a connection, so the number of connections is the
    // highest number of calls in flight. No connection has enough calls to need a rest.
    for max_in_flight in [TRANSPORTS, 7] {
        let trial = Trial::new(Statsig::start, patient().max_in_flight(max_in_flight));
        trial.server.set_latency(Duration::from_millis(20));

        let answers = trial.ask(36).await;

        assert!(is_odd(&answers), "{answers:?}");
        assert_eq!((trial.server.calls(), trial.server.connections()), (36, max_in_flight));
    }
}

#[actix_rt::test]
async fn one_transports_failures_open_the_breaker_for_all() {
    let config = patient().max_in_flight(TRANSPORTS).retry_attempts(1);
    let trial = Trial::new(Statsig::start, config);
    trial.server.inject(Fault::status(500).always());

    let answers = trial.ask(200).await;

    // Calls that were in flight when the breaker opened were attempted as well.
    let checks = || {
        let requests = trial.server.requests();
        requests.iter().filter(|request| request.user["userID"] != "actix-statsig-probe").count()
    };
    let seen = checks();
    assert!((10..10 + TRANSPORTS).contains(&seen), "{seen} calls");
    assert_ne!(trial.statsig.stats().breaker, BreakerState::Closed);
    let open = answers.iter().filter(|answer| matches!(answer, Err(Error::CircuitOpen { .. })));
    assert_eq!(open.count(), 200 - seen);

    // One transport probes, and wakes the others.
    trial.server.clear_faults();
    assert!(is_odd(&trial.ask(300).await), "all transports recover");
    assert_eq!(trial.statsig.stats().breaker, BreakerState::Closed);
}

#[actix_rt::test]
async fn promise_4_transports_share_one_retry_budget() {
    let trial = Trial::new(Statsig::start, patient().circuit_breaker(false));
    trial.server.inject(Fault::status(503).always());

    let answers = trial.ask(300).await;

    assert!(answers.iter().all(|answer| matches!(answer, Err(Error::Unavailable { .. }))));
    let seen = trial.server.calls();
    assert!((301..=390).contains(&seen), "{seen} calls seen for 300 asked");
}

#[actix_rt::test]
async fn promise_2_answers_stay_with_their_transports_calls() {
    let trial = Trial::new(Statsig::start, patient());
    trial.server.inject(Fault::delay(Duration::from_millis(3)).with_probability(0.5, 1).always());
    for _ in 0..5 {
        let again = (0..500).map(|n| {
            let statsig = trial.statsig.clone();
            async move { statsig.check_gate(&User::new(n.to_string())?, "odd").await }
        });
        assert!(is_odd(&join_all(again).await));
    }
    // A caller may have its answer before the actor has finished with the message.
    trial.statsig.flush().await.unwrap();
    let stats = trial.statsig.stats();
    assert_eq!((stats.requests, stats.answered), (2_500, 2_500));
    assert_eq!((stats.buffered, stats.in_flight), (0, 0));
}

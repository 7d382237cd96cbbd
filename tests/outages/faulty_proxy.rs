//! The component over real sockets, behind a TCP proxy that injects faults. Each answer is right,
//! each error is explained by an injected fault, every caller gets an answer, the counters add up,
//! and no connection stays open. The tests run with both flush policies, with and without a cache,
//! and with one transport and several. No test asserts a duration: the limits only turn a hang into
//! a failure.
//!
//! `STATSIG_PROXY_SEED=…` draws other faults. Each failure names its seed, but the machine's
//! scheduling also decides which request meets which fault.
#![cfg(feature = "test-util")]

use std::{env, sync::mpsc, thread, time::Duration};

use actix_rt::{System, time::timeout};
use actix_statsig::{
    CheckGates, ConfigBuilder, ConnectFault, Error, FlushPolicy, Statsig, User,
    test_util::{LocalStatsig, Rule, Rules},
};
use fastrand::Rng;
use futures_util::future::join_all;
use serde_json::json;
use tokio::sync::oneshot;

use crate::support::{
    Variant, config,
    faulty_proxy::{Proxy, TROUBLES, Trouble},
    user,
};

/// The numbers of callers and of requests for each caller in a trial. Several trials run at once.
const CALLERS: usize = 16;
const TIMES: usize = 5;
const GATES: usize = 10;

/// Short enough to expire now and then before a caller's next request.
const CACHE_TTL: Duration = Duration::from_millis(5);

/// Longer than any trial takes.
const LIMIT: Duration = Duration::from_secs(120);

/// Settings with short timeouts, so that a stall ends soon.
fn hurried() -> ConfigBuilder {
    config().timeout(Duration::from_millis(1_000)).attempt_timeout(Duration::from_millis(150))
}

/// Settings with timeouts that even a busy machine meets. A connection that died on reuse does not
/// count as the one attempt.
fn patient() -> ConfigBuilder {
    let seconds = Duration::from_secs;
    config().timeout(seconds(60)).attempt_timeout(seconds(30)).retry_attempts(1)
}

#[actix_rt::test]
async fn answers_that_are_slow_are_still_all_given() {
    every_request_is_answered(Trouble::Delay).await;
    every_request_is_answered(Trouble::Bandwidth).await;
}

#[actix_rt::test]
async fn connections_closed_between_requests_cost_no_answer() {
    every_request_is_answered(Trouble::CloseIdle).await;
}

#[actix_rt::test]
async fn stalls_are_timeouts_and_nothing_else() {
    for trouble in [Trouble::StallOnAccept, Trouble::StallInHead, Trouble::StallInBody] {
        let told = trials(&[trouble], 30, hurried).await;
        for error in told {
            assert!(is_out_of_time(&error), "{trouble:?}: {error:?}");
        }
    }
}

#[actix_rt::test]
async fn answers_that_are_cut_off_are_connections_that_broke() {
    for trouble in [Trouble::Reset, Trouble::Truncate, Trouble::HalfClose] {
        let told = trials(&[trouble], 50, hurried).await;
        for error in told {
            let is_closed = is_connection(&error, &[ConnectFault::Closed]);
            assert!(is_closed || is_out_of_time(&error), "{trouble:?}: {error:?}");
        }
    }
}

#[actix_rt::test]
async fn server_that_stops_listening_is_reported_as_refusing() {
    // `CloseIdle` makes clients reconnect; on kept connections, the refusals would go unnoticed.
    let told = trials(&[Trouble::Refuse, Trouble::CloseIdle], 60, hurried).await;
    let faults = [ConnectFault::Refused, ConnectFault::Closed];
    for error in told {
        assert!(is_connection(&error, &faults) || is_out_of_time(&error), "{error:?}");
    }
}

#[actix_rt::test]
async fn promises_1_to_6_hold_with_every_trouble_at_once() {
    for percent in [5, 30] {
        let told = trials(&TROUBLES, percent, hurried).await;
        let faults = [ConnectFault::Refused, ConnectFault::Closed];
        for error in told {
            assert!(is_connection(&error, &faults) || is_out_of_time(&error), "{error:?}");
        }
    }
}

#[actix_rt::test]
async fn promise_6_stopped_system_leaves_nobody_waiting() {
    let trial = Trial::new(&[Trouble::StallInBody], 100, seed());
    let config = patient().base_url(trial.proxy.url()).build().expect("valid");
    let (started, handle) = mpsc::channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let thread = thread::spawn(move || {
        System::new().block_on(async move {
            started
                .send(Statsig::start_in_current_arbiter(config).expect("an arbiter"))
                .expect("a receiver");
            let _ = stopped.await;
        });
    });
    let statsig = handle.recv().expect("a handle");
    let callers = (0..CALLERS).map(|who| {
        let statsig = statsig.clone();
        actix_rt::spawn(async move { statsig.check_gate(&person(who), gate(0)).await })
    });
    let callers: Vec<_> = callers.collect();
    trial.server.calls_reached(CALLERS).await;

    stop.send(()).expect("a System");
    thread.join().expect("an end");

    for told in timeout(LIMIT, join_all(callers)).await.expect("an answer for everybody") {
        let told = told.expect("a caller");
        assert!(matches!(told, Err(Error::Closed)), "{told:?}");
    }
    timeout(LIMIT, trial.server.all_closed()).await.expect("no connection is left open");
}

async fn every_request_is_answered(trouble: Trouble) {
    let told = trials(&[trouble], 60, patient).await;
    assert!(told.is_empty(), "{trouble:?}: {told:?}");
}

/// Runs trials with different settings at once, because they mostly wait. Each pair of settings for
/// flush policy, cache and number of transports occurs in one of them; with all faults at once,
/// each combination occurs. Returns the errors that callers got.
async fn trials(troubles: &[Trouble], percent: u32, config: fn() -> ConfigBuilder) -> Vec<Error> {
    let ways = Variant::ALL.into_iter().flat_map(|variant| [(variant, 1), (variant, 2)]);
    let ways = ways.filter(|(variant, transports)| {
        let is_adaptive = variant.policy == FlushPolicy::Adaptive;
        troubles == TROUBLES || is_adaptive ^ variant.is_caching ^ (*transports == 1)
    });
    let trials = ways.zip(seed()..).map(|((variant, transports), seed)| {
        let config = variant.of(config(), CACHE_TTL).transports(transports);
        Trial::new(troubles, percent, seed).run(config)
    });
    let (struck, told): (Vec<_>, Vec<_>) = join_all(trials).await.into_iter().unzip();
    assert!(struck.into_iter().sum::<usize>() > 0, "seed {}: there was no trouble", seed());
    told.into_iter().flatten().collect()
}

fn seed() -> u64 {
    env::var("STATSIG_PROXY_SEED").map_or(1, |seed| seed.parse().expect("a seed"))
}

/// A server behind a proxy.
struct Trial {
    proxy: Proxy,
    server: LocalStatsig,
    seed: u64,
}

impl Trial {
    fn new(troubles: &[Trouble], percent: u32, seed: u64) -> Self {
        let server = LocalStatsig::start(rules()).expect("a free port");
        let proxy = Proxy::start(server.address(), troubles, percent, seed);
        Self { proxy, server, seed }
    }

    /// Runs all callers, then heals the proxy and shuts down. Returns the number of injected faults
    /// and the errors that callers got.
    async fn run(self, config: ConfigBuilder) -> (usize, Vec<Error>) {
        let Self { proxy, server, seed } = self;
        let config = config.base_url(proxy.url()).build().expect("a valid configuration");
        let statsig = Statsig::start(config).expect("a thread");
        let mut rng = Rng::with_seed(seed);
        let callers = (0..CALLERS).map(|who| caller(statsig.clone(), who, rng.fork()));

        let told = timeout(LIMIT, join_all(callers)).await;
        let told = told.unwrap_or_else(|_| panic!("seed {seed}: a caller waits for ever"));
        let told: Vec<_> = told.into_iter().flatten().collect();
        let asked = told.len() as u64;
        let errors: Vec<_> = told.into_iter().filter_map(Result::err).map(root).collect();

        // A caller may have its answer before the actor has finished with the message.
        timeout(LIMIT, statsig.flush()).await.expect("an end").expect("it runs");
        let stats = statsig.stats();
        let failed = errors.len() as u64;
        assert_eq!((stats.requests, stats.abandoned), (asked, 0), "seed {seed}: {stats:?}");
        assert_eq!(stats.answered, asked - failed, "seed {seed}: {stats:?}");
        assert_eq!(stats.errors.values().sum::<u64>(), failed, "seed {seed}: {stats:?}");
        assert_eq!((stats.buffered, stats.in_flight), (0, 0), "seed {seed}: {stats:?}");
        assert_eq!(server.refused(), 0, "seed {seed}: the server refused a request");

        proxy.calm_down();
        let ask = || CheckGates::new(person(0), [gate(0)]).bypass_cache();
        let healed = async { while statsig.ask(ask()).await.is_err() {} };
        timeout(LIMIT, healed).await.unwrap_or_else(|_| panic!("seed {seed}: no recovery"));

        let report = timeout(LIMIT, statsig.shutdown(LIMIT)).await.expect("an end");
        assert_eq!(report.pending, 0, "seed {seed}: {report:?}");
        let closed = timeout(LIMIT, server.all_closed()).await;
        assert!(closed.is_ok(), "seed {seed}: {server:?} has connections open");
        (proxy.struck(), errors)
    }
}

/// Makes several requests, and checks each answer.
async fn caller(statsig: Statsig, who: usize, mut rng: Rng) -> Vec<Result<(), Error>> {
    let person = person(who);
    let mut told = Vec::new();
    for _ in 0..TIMES {
        if rng.u8(0..4) == 0 {
            let answer = statsig.get_config(&person, "homepage").await;
            told.push(answer.map(|homepage| {
                assert_eq!(homepage.get::<String>("of").expect("a key"), id(who));
            }));
            continue;
        }
        let gates: Vec<_> = (0..rng.usize(1..8)).map(|_| rng.usize(0..GATES)).collect();
        let answer = statsig.gate_evaluations(&person, gates.iter().map(|n| gate(*n))).await;
        told.push(answer.map(|answer| {
            let answer: Vec<_> = answer.iter().map(|gate| (gate.name(), gate.value())).collect();
            let names: Vec<_> = gates.iter().map(|n| gate(*n)).collect();
            let right = names.iter().zip(&gates).map(|(name, n)| (&**name, is_open(who, *n)));
            assert_eq!(answer, right.collect::<Vec<_>>(), "{who} asked for {gates:?}");
        }));
    }
    told
}

fn rules() -> Rules {
    let open = |n: usize| move |who: &usize| is_open(*who, n);
    let rules = (0..GATES).fold(Rules::new(), |rules, n| {
        let rule = (0..CALLERS)
            .filter(open(n))
            .fold(Rule::new(false), |rule, who| rule.override_for(id(who), true));
        rules.gate(gate(n), rule)
    });
    let homepage = (0..CALLERS).fold(Rule::from(json!({})), |rule, who| {
        let value = json!({ "of": id(who) });
        rule.override_for(id(who), value.as_object().cloned().expect("an object"))
    });
    rules.config("homepage", homepage)
}

/// Half of the gates are open, different ones for each caller.
fn is_open(who: usize, gate: usize) -> bool {
    (who >> (gate % 6)) % 2 == gate / 6 % 2
}

fn id(who: usize) -> String {
    format!("u-{who}")
}

fn person(who: usize) -> User {
    user(id(who))
}

fn gate(n: usize) -> String {
    format!("gate {n}")
}

fn is_out_of_time(error: &Error) -> bool {
    matches!(error, Error::Timeout { .. } | Error::AttemptTimeout { .. })
}

/// The cause of an error from the open breaker, which repeats the last failure.
fn root(error: Error) -> Error {
    match error {
        Error::CircuitOpen { cause, .. } => root((*cause).clone()),
        error => error,
    }
}

fn is_connection(error: &Error, faults: &[ConnectFault]) -> bool {
    matches!(error, Error::Connect { fault, .. } if faults.contains(fault))
}

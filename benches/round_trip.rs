//! Measures the component's own cost: a request's round trip through the `BatchActor`, next to a
//! bare actix ping, with the same number of concurrent requests. The transport answers at once, so
//! HTTP is left out, and so is the cache. Flushing is adaptive, so that the interval is not
//! measured.
//!
//! All requests are sent, each by a clone of the address, because one address sends no more than
//! the mailbox's capacity at once. Then they are awaited one after the other. This is the cheapest
//! way, so the actor dominates the figures. After criterion's figures for each number of concurrent
//! requests, a table compares the component with the ping at 10,000, in alternating rounds.
//!
//! ```sh
//! cargo bench --all-features --bench round_trip
//! cargo bench --all-features --bench round_trip -- table    # the table alone
//! ```

#![expect(clippy::print_stdout, reason = "a measurement is there to be read")]

mod support;

use std::{
    env,
    hint::black_box,
    time::{Duration, Instant},
};

use actix::{Actor, Addr, Context, Handler, Message};
use actix_rt::{Arbiter, SystemRunner};
use actix_statsig::{BatchActor, CheckGates, Config, FlushPolicy, Statsig, User};
use criterion::{BenchmarkId, Criterion, Throughput};
use support::AtOnce;

struct Ping;

impl Message for Ping {
    type Result = usize;
}

struct Ponger;

impl Actor for Ponger {
    type Context = Context<Self>;
}

impl Handler<Ping> for Ponger {
    type Result = usize;

    fn handle(&mut self, _: Ping, _: &mut Context<Self>) -> usize {
        black_box(1)
    }
}

/// The requests: users take turns, and then names.
struct Asked {
    what: &'static str,
    users: Vec<User>,
    names: Vec<String>,
}

impl Asked {
    fn new(what: &'static str, users: usize, names: usize) -> Self {
        let user = |n| User::new(format!("u-{n}")).expect("valid");
        let name = |n| format!("gate-number-{n:08}");
        Self { what, users: (0..users).map(user).collect(), names: (0..names).map(name).collect() }
    }

    fn message(&self, n: usize) -> CheckGates {
        let user = &self.users[n % self.users.len()];
        let name = &self.names[n / self.users.len() % self.names.len()];
        CheckGates::new(user.clone(), [name.as_str()])
    }
}

async fn pings(ponger: &Addr<Ponger>, concurrent: usize) -> usize {
    let pings: Vec<_> = (0..concurrent).map(|_| ponger.clone().send(Ping)).collect();
    let mut answered = 0;
    for ping in pings {
        answered += ping.await.expect("a pong");
    }
    answered
}

async fn checks(batch: &Addr<BatchActor>, asked: &Asked, concurrent: usize) -> usize {
    let checks: Vec<_> = (0..concurrent).map(|n| batch.clone().send(asked.message(n))).collect();
    let mut answered = 0;
    for check in checks {
        answered += check.await.expect("alive").expect("an answer").len();
    }
    answered
}

/// The component and a ponger on the same arbiter.
struct Place {
    name: &'static str,
    statsig: Statsig,
    ponger: Addr<Ponger>,
}

fn places(system: &SystemRunner) -> [Place; 2] {
    let config = Config::builder("secret-key")
        .max_pending(1_000_000)
        .flush_policy(FlushPolicy::Adaptive)
        .cache_ttl(Duration::ZERO)
        .build()
        .expect("valid");
    let transport = AtOnce::factory;
    system.block_on(async {
        let here = Statsig::builder(config.clone())
            .transport(transport)
            .start_in_current_arbiter()
            .expect("started");
        let there = Statsig::builder(config).transport(transport).start().expect("started");
        let far = Ponger::start_in_arbiter(&Arbiter::new().handle(), |_| Ponger);
        [
            Place { name: "same arbiter", statsig: here, ponger: Ponger.start() },
            Place { name: "across arbiters", statsig: there, ponger: far },
        ]
    })
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn time(concurrent: usize, round: impl FnOnce() -> usize) -> Duration {
    let start = Instant::now();
    assert_eq!(round(), concurrent, "everybody is answered");
    start.elapsed()
}

fn round_trips(
    criterion: &mut Criterion,
    system: &SystemRunner,
    places: &[Place],
    asked: &[Asked],
) {
    for Place { name, statsig, ponger } in places {
        let mut group = criterion.benchmark_group(format!("round trip, {name}"));
        group.sample_size(20);
        let batch = statsig.addr();
        for concurrent in [1, 64, 1_000, 10_000] {
            group.throughput(Throughput::Elements(concurrent as u64));
            group.bench_function(BenchmarkId::new("bare ping", concurrent), |bencher| {
                let ping = || system.block_on(pings(ponger, concurrent));
                bencher.iter_custom(|rounds| (0..rounds).map(|_| time(concurrent, ping)).sum());
            });
            for asked in asked {
                group.bench_function(BenchmarkId::new(asked.what, concurrent), |bencher| {
                    let check = || system.block_on(checks(&batch, asked, concurrent));
                    bencher
                        .iter_custom(|rounds| (0..rounds).map(|_| time(concurrent, check)).sum());
                });
            }
        }
    }
}

/// Returns the fastest round, the first quartile, the median and the third quartile, in nanoseconds
/// per request.
fn quartiles(mut rounds: Vec<Duration>, concurrent: usize) -> [f64; 4] {
    rounds.sort_unstable();
    let at = |quarter: usize| rounds[(rounds.len() - 1) * quarter / 4].as_nanos() as f64;
    [0, 1, 2, 3].map(|quarter| at(quarter) / concurrent as f64)
}

fn table(system: &SystemRunner, places: &[Place], asked: &[Asked]) {
    const CONCURRENT: usize = 10_000;
    const ROUNDS: usize = 41;
    println!(
        "\n{CONCURRENT} concurrent, ns for each request: fastest round, median (quartiles); and how \
         many times the ping's, fastest and median"
    );
    for Place { name, statsig, ponger } in places {
        let batch = statsig.addr();
        let mut rounds = vec![Vec::new(); 1 + asked.len()];
        for _ in 0..ROUNDS {
            rounds[0].push(time(CONCURRENT, || system.block_on(pings(ponger, CONCURRENT))));
            for (rounds, asked) in rounds[1..].iter_mut().zip(asked) {
                let check = || system.block_on(checks(&batch, asked, CONCURRENT));
                rounds.push(time(CONCURRENT, check));
            }
        }
        let whats = ["bare ping"].into_iter().chain(asked.iter().map(|asked| asked.what));
        let mut ping = None;
        for (what, rounds) in whats.zip(rounds) {
            let [fastest, low, median, high] = quartiles(rounds, CONCURRENT);
            let (fastest_ping, median_ping) = *ping.get_or_insert((fastest, median));
            let (times, usual_times) = (fastest / fastest_ping, median / median_ping);
            println!(
                "{name:16} {what:26} {fastest:5.0} {median:6.0} ({low:.0} to {high:.0}) \
                 {times:6.2} {usual_times:6.2}"
            );
        }
    }
}

fn main() {
    let asked = [
        Asked::new("one user, one shared name", 1, 1),
        Asked::new("100 users by 100 names", 100, 100),
    ];
    let system = actix_rt::System::new();
    let places = places(&system);
    if !env::args().any(|argument| argument == "table") {
        let mut criterion = Criterion::default().configure_from_args();
        round_trips(&mut criterion, &system, &places, &asked);
        criterion.final_summary();
    }
    table(&system, &places, &asked);
}

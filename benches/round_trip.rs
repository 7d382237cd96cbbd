//! A request's way through the `BatchActor` and back, with a transport that answers at once, beside
//! a bare actix ping under the same number of concurrent senders: what the component itself costs,
//! with HTTP left out. A flush is sent with each round, so that the interval is not what is measured.
//!
//! `cargo bench --all-features --bench round_trip`

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use actix::{Actor, Addr, Context, Handler, Message};
use actix_statsig::{
    BatchActor, Call, CheckGates, Config, Evaluation, Flush, GateEvaluation, Statsig, User,
};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use futures_util::future::join_all;

/// Answers every call at once.
struct AtOnce;

impl Actor for AtOnce {
    type Context = Context<Self>;
}

impl Handler<Call> for AtOnce {
    type Result = ();

    fn handle(&mut self, call: Call, _: &mut Context<Self>) {
        let names = call.request().names.iter();
        let open =
            names.map(|name| Some(Evaluation::from(GateEvaluation::new(name.clone(), true))));
        let open = open.collect();
        call.complete(Ok(open));
    }
}

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

async fn pings(ponger: &Addr<Ponger>, concurrent: usize) -> usize {
    let pings = (0..concurrent).map(|_| ponger.send(Ping));
    join_all(pings).await.into_iter().map(|pong| pong.expect("a pong")).sum()
}

async fn checks(batch: &Addr<BatchActor>, users: &[User], concurrent: usize) -> usize {
    let checks = (0..concurrent).map(|n| {
        let names = ["a-gate-with-a-long-name"];
        batch.send(CheckGates::new(users[n % users.len()].clone(), names))
    });
    let checks: Vec<_> = checks.collect();
    let (answers, flushed) = tokio::join!(join_all(checks), batch.send(Flush));
    flushed.expect("a flush");
    answers.into_iter().map(|gates| gates.expect("alive").expect("an answer").len()).sum()
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn round_trips(criterion: &mut Criterion) {
    let config = || {
        Config::builder("secret-key")
            .max_pending(1_000_000)
            .cache_ttl(Duration::ZERO)
            .build()
            .expect("valid")
    };
    let users: Vec<_> = (0..100).map(|n| User::new(format!("u-{n}")).expect("valid")).collect();
    let system = actix::System::new();
    let here = system.block_on(async {
        Statsig::start_here_with(config(), || Ok(AtOnce.start().recipient())).expect("started")
    });
    let there = Statsig::start_with(config(), || Ok(AtOnce.start().recipient())).expect("started");
    let ponger = system.block_on(async { Ponger.start() });
    let arbiter = system.block_on(async { actix_rt::Arbiter::new() });
    let far_ponger = Ponger::start_in_arbiter(&arbiter.handle(), |_| Ponger);

    for (place, statsig, ponger) in
        [("same arbiter", here, ponger), ("across arbiters", there, far_ponger)]
    {
        let mut group = criterion.benchmark_group(format!("round trip, {place}"));
        group.sample_size(20);
        let batch = statsig.addr();
        for concurrent in [1, 64, 1_000, 10_000] {
            group.throughput(Throughput::Elements(concurrent as u64));
            group.bench_function(BenchmarkId::new("bare ping", concurrent), |bencher| {
                bencher.iter_custom(|rounds| {
                    let start = Instant::now();
                    for _ in 0..rounds {
                        let answered = system.block_on(pings(&ponger, concurrent));
                        assert_eq!(answered, concurrent);
                    }
                    start.elapsed()
                });
            });
            for (what, users) in [("one user", &users[..1]), ("100 users", &users[..])] {
                group.bench_function(BenchmarkId::new(what, concurrent), |bencher| {
                    bencher.iter_custom(|rounds| {
                        let start = Instant::now();
                        for _ in 0..rounds {
                            let answered = system.block_on(checks(&batch, users, concurrent));
                            assert_eq!(answered, concurrent);
                        }
                        start.elapsed()
                    });
                });
            }
        }
    }
}

criterion_group!(benches, round_trips);
criterion_main!(benches);

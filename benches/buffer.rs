//! What the batch's decisions cost for each request, as the number of waiting requests grows from 10
//! to 100,000: taking a request in, making calls of all, and dealing the answers out. The cost for
//! each should hardly grow.
//!
//! `cargo bench --all-features --bench buffer`

use std::{hint::black_box, sync::Arc, time::Instant};

use actix_statsig::{CallKind, FlushPolicy, User, test_util::PureBuffer};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

type Asked = Vec<(User, Arc<str>)>;
type Asking = fn(usize) -> Asked;

fn user(n: usize) -> User {
    User::new(format!("user-{n:06}")).expect("a valid user")
}

fn name(n: usize) -> Arc<str> {
    format!("gate-number-{n:08}").into()
}

/// One user, a new name each.
fn by_name(requests: usize) -> Asked {
    let user = user(0);
    (0..requests).map(|n| (user.clone(), name(n))).collect()
}

/// One name, a new user each.
fn by_user(requests: usize) -> Asked {
    let name = name(0);
    (0..requests).map(|n| (user(n), Arc::clone(&name))).collect()
}

/// One user and one name: everybody waits for the same.
fn shared(requests: usize) -> Asked {
    vec![(user(0), name(0)); requests]
}

fn run(asked: Asked, deadline: Instant) -> usize {
    let mut buffer = PureBuffer::new(100, FlushPolicy::Interval);
    for (user, name) in asked {
        buffer.ask(user, CallKind::CheckGate, vec![name], deadline);
    }
    let calls = buffer.flush_all();
    calls.iter().map(|(id, call)| buffer.answer(*id, call, deadline).len()).sum()
}

#[expect(clippy::disallowed_methods, reason = "a benchmark is no decision")]
fn decisions(criterion: &mut Criterion) {
    let deadline = Instant::now();
    let kinds: [(&str, Asking); 3] =
        [("a new name each", by_name), ("a new user each", by_user), ("all the same", shared)];
    for (kind, ask) in kinds {
        let mut group = criterion.benchmark_group(format!("buffer, {kind}"));
        for requests in [10, 100, 1_000, 10_000, 100_000] {
            let asked = ask(requests);
            assert_eq!(run(asked.clone(), deadline), requests, "everybody is answered");
            group.throughput(Throughput::Elements(requests as u64));
            group.sample_size(if requests > 10_000 { 10 } else { 30 });
            group.bench_function(BenchmarkId::from_parameter(requests), |bencher| {
                bencher.iter_batched(
                    || asked.clone(),
                    |asked| black_box(run(asked, deadline)),
                    BatchSize::PerIteration,
                );
            });
        }
    }
}

criterion_group!(benches, decisions);
criterion_main!(benches);

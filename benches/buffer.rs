//! Measures how the cost of the batch's decisions grows: adding requests, making calls for all of
//! them, and delivering the answers. The cost is per name of a request. It should hardly grow with
//! the number of requests (100 to 100,000), users (1 to 10,000) or names (1 to 100, shared by 1 to
//! 1,000 requests).
//!
//! ```sh
//! cargo bench --all-features --bench buffer    # time, by criterion
//! benches/instructions.sh                      # instructions, by callgrind
//! ```

#![expect(clippy::print_stdout, reason = "prints the scenarios for instructions.sh")]

use std::{env, hint::black_box, sync::Arc, time::Instant};

use actix_statsig::{CallKind, FlushPolicy, User, test_util::PureBuffer};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};

/// The requests of one round, in order.
type Requests = Vec<(User, Vec<Arc<str>>)>;

struct Scenario {
    /// Names the quantity that grows.
    name: &'static str,
    /// The value of that quantity.
    size: usize,
    requests: Requests,
}

fn user(n: usize) -> User {
    User::new(format!("user-{n:06}")).expect("a valid user")
}

fn name(n: usize) -> Arc<str> {
    format!("gate-number-{n:08}").into()
}

fn distinct_names(count: usize) -> Requests {
    let user = user(0);
    (0..count).map(|n| (user.clone(), vec![name(n)])).collect()
}

fn distinct_users(count: usize) -> Requests {
    let name = name(0);
    (0..count).map(|n| (user(n), vec![Arc::clone(&name)])).collect()
}

fn same_request(count: usize) -> Requests {
    vec![(user(0), vec![name(0)]); count]
}

/// 10,000 requests, each for another name, from users that take turns. With 10,000 users, each
/// request is a call of its own, which costs more than a shared call.
fn by_users(users: usize) -> Requests {
    const REQUESTS: usize = 10_000;
    let distinct: Vec<_> = (0..users).map(user).collect();
    (0..REQUESTS).map(|n| (distinct[n % users].clone(), vec![name(n / users)])).collect()
}

/// Requests of one user, all for the same names.
fn same_names<const NAMES: usize>(count: usize) -> Requests {
    vec![(user(0), (0..NAMES).map(name).collect()); count]
}

fn scenarios() -> Vec<Scenario> {
    type Make = fn(usize) -> Requests;
    let requests: &[usize] = &[100, 1_000, 10_000, 100_000];
    let waiters: &[usize] = &[1, 10, 100, 1_000];
    let kinds: [(&str, Make, &[usize]); 7] = [
        ("requests, a new name each", distinct_names, requests),
        ("requests, a new user each", distinct_users, requests),
        ("requests, all the same", same_request, requests),
        ("users, 10,000 requests", by_users, &[1, 10, 100, 1_000, 10_000]),
        ("requests for 1 name", same_names::<1>, waiters),
        ("requests for 10 names", same_names::<10>, waiters),
        ("requests for 100 names", same_names::<100>, waiters),
    ];
    let scenarios = kinds.into_iter().flat_map(|(name, make, sizes)| {
        sizes.iter().map(move |&size| Scenario { name, size, requests: make(size) })
    });
    scenarios.collect()
}

/// The number of names, duplicates included.
fn weight(requests: &Requests) -> usize {
    requests.iter().map(|(_, names)| names.len()).sum()
}

/// The measured code. [`instructions.sh`](instructions.sh) finds it by its name.
#[inline(never)]
fn decide(requests: Requests, deadline: Instant) -> usize {
    let mut buffer = PureBuffer::new(100, FlushPolicy::Interval);
    for (user, names) in requests {
        buffer.add(user, CallKind::CheckGate, names, deadline);
    }
    let calls = buffer.flush_all();
    calls.iter().map(|(id, call)| buffer.answer(*id, call, deadline).len()).sum()
}

fn times(criterion: &mut Criterion, deadline: Instant) {
    for Scenario { name, size, requests } in scenarios() {
        let mut group = criterion.benchmark_group(name);
        assert_eq!(decide(requests.clone(), deadline), requests.len(), "every request is answered");
        group.throughput(Throughput::Elements(weight(&requests) as u64));
        group.sample_size(if weight(&requests) > 10_000 { 10 } else { 30 });
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter_batched(
                || requests.clone(),
                |requests| black_box(decide(requests, deadline)),
                BatchSize::PerIteration,
            );
        });
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark may read the clock")]
fn main() {
    let deadline = Instant::now();
    let arguments: Vec<_> = env::args().skip(1).collect();
    match &*arguments.iter().map(String::as_str).collect::<Vec<_>>() {
        // For `instructions.sh`: lists the scenarios, or runs one of them once.
        ["list", ..] => {
            for (number, Scenario { name, size, requests }) in scenarios().iter().enumerate() {
                println!("{number}\t{}\t{size}\t{name}", weight(requests));
            }
        }
        ["once", number, ..] => {
            let number: usize = number.parse().expect("a number from the list");
            let Scenario { requests, .. } = scenarios().swap_remove(number);
            black_box(decide(requests, deadline));
        }
        _ => {
            let mut criterion = Criterion::default().configure_from_args();
            times(&mut criterion, deadline);
            criterion.final_summary();
        }
    }
}

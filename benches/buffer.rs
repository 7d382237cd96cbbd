//! How the cost of the batch's decisions grows: taking requests in, making calls of all, and dealing
//! the answers out, for each request (for each name of it, where it asks for several). It should
//! hardly grow: with 100 to 100,000 requests waiting, with 1 to 10,000 users, with 1 to 100 names by
//! 1 to 1,000 requests each.
//!
//! ```sh
//! cargo bench --all-features --bench buffer    # time, by criterion
//! benches/instructions.sh                      # instructions, by callgrind
//! ```

#![expect(clippy::print_stdout, reason = "a measurement is there to be read")]

use std::{env, hint::black_box, sync::Arc, time::Instant};

use actix_statsig::{CallKind, FlushPolicy, User, test_util::PureBuffer};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};

/// What is asked in one round, in this order.
type Asked = Vec<(User, Vec<Arc<str>>)>;

struct Scenario {
    /// What grows, and what it is now.
    name: &'static str,
    size: usize,
    asked: Asked,
}

fn user(n: usize) -> User {
    User::new(format!("user-{n:06}")).expect("a valid user")
}

fn name(n: usize) -> Arc<str> {
    format!("gate-number-{n:08}").into()
}

fn one_user_a_new_name_each(requests: usize) -> Asked {
    let user = user(0);
    (0..requests).map(|n| (user.clone(), vec![name(n)])).collect()
}

fn one_name_a_new_user_each(requests: usize) -> Asked {
    let name = name(0);
    (0..requests).map(|n| (user(n), vec![Arc::clone(&name)])).collect()
}

fn all_the_same(requests: usize) -> Asked {
    vec![(user(0), vec![name(0)]); requests]
}

/// 10,000 requests of so many users who take turns, each time for another name. With 10,000 users
/// each request is a call of its own, which costs more than to share one.
fn by_users(users: usize) -> Asked {
    const REQUESTS: usize = 10_000;
    let known: Vec<_> = (0..users).map(user).collect();
    (0..REQUESTS).map(|n| (known[n % users].clone(), vec![name(n / users)])).collect()
}

/// So many requests of one user, each for the same names.
fn crowd<const NAMES: usize>(requests: usize) -> Asked {
    vec![(user(0), (0..NAMES).map(name).collect()); requests]
}

fn scenarios() -> Vec<Scenario> {
    type Asking = fn(usize) -> Asked;
    let requests: &[usize] = &[100, 1_000, 10_000, 100_000];
    let waiters: &[usize] = &[1, 10, 100, 1_000];
    let kinds: [(&str, Asking, &[usize]); 7] = [
        ("requests, a new name each", one_user_a_new_name_each, requests),
        ("requests, a new user each", one_name_a_new_user_each, requests),
        ("requests, all the same", all_the_same, requests),
        ("users, 10,000 requests", by_users, &[1, 10, 100, 1_000, 10_000]),
        ("requests for 1 name", crowd::<1>, waiters),
        ("requests for 10 names", crowd::<10>, waiters),
        ("requests for 100 names", crowd::<100>, waiters),
    ];
    let scenarios = kinds.into_iter().flat_map(|(name, asking, sizes)| {
        sizes.iter().map(move |&size| Scenario { name, size, asked: asking(size) })
    });
    scenarios.collect()
}

/// How many names are asked for, duplicates included.
fn weight(asked: &Asked) -> usize {
    asked.iter().map(|(_, names)| names.len()).sum()
}

/// What is measured; [`instructions.sh`](instructions.sh) knows it by its name.
#[inline(never)]
fn decide(asked: Asked, deadline: Instant) -> usize {
    let mut buffer = PureBuffer::new(100, FlushPolicy::Interval);
    for (user, names) in asked {
        buffer.add(user, CallKind::CheckGate, names, deadline);
    }
    let calls = buffer.flush_all();
    calls.iter().map(|(id, call)| buffer.answer(*id, call, deadline).len()).sum()
}

fn times(criterion: &mut Criterion, deadline: Instant) {
    for Scenario { name, size, asked } in scenarios() {
        let mut group = criterion.benchmark_group(name);
        assert_eq!(decide(asked.clone(), deadline), asked.len(), "everybody is answered");
        group.throughput(Throughput::Elements(weight(&asked) as u64));
        group.sample_size(if weight(&asked) > 10_000 { 10 } else { 30 });
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter_batched(
                || asked.clone(),
                |asked| black_box(decide(asked, deadline)),
                BatchSize::PerIteration,
            );
        });
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark is no decision")]
fn main() {
    let deadline = Instant::now();
    let arguments: Vec<_> = env::args().skip(1).collect();
    match &*arguments.iter().map(String::as_str).collect::<Vec<_>>() {
        // For `instructions.sh`: which there are, and one of them once.
        ["list", ..] => {
            for (number, Scenario { name, size, asked }) in scenarios().iter().enumerate() {
                println!("{number}\t{}\t{size}\t{name}", weight(asked));
            }
        }
        ["once", number, ..] => {
            let number: usize = number.parse().expect("a number from the list");
            let Scenario { asked, .. } = scenarios().swap_remove(number);
            black_box(decide(asked, deadline));
        }
        _ => {
            let mut criterion = Criterion::default().configure_from_args();
            times(&mut criterion, deadline);
            criterion.final_summary();
        }
    }
}

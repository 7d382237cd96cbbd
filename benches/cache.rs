//! Measures the cost of a cached answer through the handle: `check_gate` for a prepared user, with
//! one hot key and with ten thousand keys, on one thread and on two at once. Before that, it prints
//! the cache's hit ratio under a Zipf workload for a cache with room for only a part of the keys.
//!
//! `cargo bench --all-features --bench cache`

#![expect(clippy::print_stdout, reason = "a measurement is there to be read")]

mod support;

use std::{
    hint::black_box,
    pin::pin,
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use actix_statsig::{Config, ConfigBuilder, FlushPolicy, Statsig, User};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group};
use rand::{SeedableRng, rngs::StdRng};
use rand_distr::{Distribution, Zipf};
use support::AtOnce;

fn start(settings: ConfigBuilder) -> Statsig {
    let config = settings.max_pending(1_000_000).build().expect("valid");
    Statsig::builder(config).transport(AtOnce::factory).start().expect("started")
}

fn settings() -> ConfigBuilder {
    // Longer than any benchmark, so that every answer comes from the cache.
    Config::builder("secret-key").cache_ttl(Duration::from_secs(24 * 60 * 60))
}

/// A user, and a gate that is cached for that user.
type Question = (User, Arc<str>);

fn questions(count: usize) -> Vec<Question> {
    let question = |n| {
        let user = User::builder().user_id(format!("user-{n:06}")).country("NL").build();
        (user.expect("valid"), format!("gate-number-{n:08}").into())
    };
    (0..count).map(question).collect()
}

/// Returns the answer, if it is ready at once.
fn now_or_never<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => Some(answer),
        Poll::Pending => None,
    }
}

fn hit(statsig: &Statsig, (user, gate): &Question) -> bool {
    now_or_never(statsig.check_gate(user, &**gate)).expect("from the cache").expect("an answer")
}

/// A step that visits every question, in an order that no prefetcher predicts.
const STRIDE: usize = 7_919;

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn hits(statsig: &Statsig, questions: &[Question], mut at: usize, count: u64) -> Duration {
    let start = Instant::now();
    for _ in 0..count {
        at = (at + STRIDE) % questions.len();
        black_box(hit(statsig, black_box(&questions[at])));
    }
    start.elapsed()
}

fn cache_hit(criterion: &mut Criterion) {
    let statsig = start(settings());
    let questions = questions(10_000);
    actix_rt::System::new().block_on(async {
        for (user, gate) in &questions {
            statsig.check_gate(user, gate.clone()).await.expect("an answer");
        }
    });
    let mut group = criterion.benchmark_group("cache hit");
    group.throughput(Throughput::Elements(1));
    for (what, questions) in [("one hot key", &questions[..1]), ("10,000 keys", &questions[..])] {
        group.bench_function(BenchmarkId::new("one thread", what), |bencher| {
            bencher.iter_custom(|count| hits(&statsig, questions, 0, count));
        });
        group.bench_function(BenchmarkId::new("two threads", what), |bencher| {
            bencher.iter_custom(|count| beside_another(&statsig, questions, count));
        });
    }
}

/// The same, while another thread asks the same questions.
fn beside_another(statsig: &Statsig, questions: &[Question], count: u64) -> Duration {
    let (begin, is_over) = (Barrier::new(2), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            begin.wait();
            while !is_over.load(Relaxed) {
                hits(statsig, questions, questions.len() / 2, 1_000);
            }
        });
        begin.wait();
        let took = hits(statsig, questions, 0, count);
        is_over.store(true, Relaxed);
        took
    })
}

/// Prints the share of questions, drawn by Zipf's law, that caches of several sizes answer.
fn hit_ratios() {
    const QUESTIONS: usize = 100_000;
    const ASKED: u64 = 300_000;
    println!("{ASKED} checks among {QUESTIONS} by Zipf's law (exponent 1), answers kept for ever:");
    println!("| entries | answered by the cache | if it had kept the most asked from the start |");
    println!("|---|---|---|");
    let questions = questions(QUESTIONS);
    let zipf = Zipf::new(QUESTIONS as f64, 1.0).expect("valid");
    let harmonic = |n: usize| (1..=n).map(|rank| 1.0 / rank as f64).sum::<f64>();
    for entries in [100, 1_000, 10_000, QUESTIONS] {
        let settings = settings().cache_entries(entries).flush_policy(FlushPolicy::Adaptive);
        let config = settings.build().expect("valid");
        let stats = actix_rt::System::new().block_on(async {
            let statsig =
                Statsig::builder(config).transport(AtOnce::factory).start_in_current_arbiter();
            let statsig = statsig.expect("started");
            let mut rng = StdRng::seed_from_u64(1);
            for _ in 0..ASKED {
                let (user, gate) = &questions[zipf.sample(&mut rng) as usize - 1];
                statsig.check_gate(user, gate.clone()).await.expect("an answer");
            }
            statsig.stats()
        });
        assert_eq!(stats.cached + stats.calls, ASKED, "every check is a hit or a call");
        let ideal = harmonic(entries) / harmonic(QUESTIONS);
        let ratio = stats.cached as f64 / ASKED as f64;
        println!("| {entries} | {:.1} % | {:.1} % |", 100.0 * ratio, 100.0 * ideal);
    }
}

criterion_group!(benches, cache_hit);

fn main() {
    hit_ratios();
    benches();
    Criterion::default().configure_from_args().final_summary();
}

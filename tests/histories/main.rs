//! Long histories in virtual time: hours of work with faults, panics, restarts, callers that leave,
//! and shutdowns. A seed draws each history, and a simple model checks it. Every request gets
//! exactly one answer. Either the answer is right (user, exposure mode, names, order, and the
//! source of each evaluation), or it is an error that an event in the history explains. Each call
//! is made in time and has a waiting caller. At quiet moments the counters add up.
//!
//! `cargo test` runs the first few hundred seeds. To run more, or one that failed:
//!
//! ```text
//! STATSIG_CHAOS_SEEDS=0..20000 cargo test --release --all-features --test histories
//! STATSIG_CHAOS_SEEDS=1234..1235 cargo test --all-features --test histories
//! ```
//!
//! `plan.rs` draws the settings and the steps, `fate.rs` decides how each call ends, `life.rs` runs
//! the history, and `model/` checks it: `asking.rs` the calls, `keeping.rs` the cache, `reasons.rs`
//! the errors, and `accounts.rs` the counters.
//!
//! A binary of its own, because it uses all processors and silences the panics that it injects.
#![cfg(feature = "test-util")]

mod fate;
mod life;
mod model;
mod plan;
#[path = "../support/mod.rs"]
mod support;

use std::{
    any::Any,
    collections::BTreeMap,
    env,
    ops::Range,
    panic,
    sync::{
        Arc, Once,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc,
    },
    thread,
    time::Duration,
};

use life::{Lived, live};

const SEEDS: Range<u64> = 0..300;

#[test]
fn promises_1_to_6_hold_through_long_histories() {
    let seeds = env::var("STATSIG_CHAOS_SEEDS").map_or(SEEDS, |seeds| read(&seeds));
    let many = seeds.end - seeds.start >= SEEDS.end;
    let mut tally = BTreeMap::new();
    let (mut restarts, mut transports) = (0, 0);
    for (seed, lived) in live_through(seeds) {
        let Lived { violations, .. } = &lived;
        assert!(
            violations.is_empty(),
            "seed {seed}: {} violations\n  {}\nSTATSIG_CHAOS_SEEDS={seed}..{} \
             cargo test --all-features --test histories\nreplays it",
            violations.len(),
            violations.iter().take(10).map(String::as_str).collect::<Vec<_>>().join("\n  "),
            seed + 1,
        );
        for (told, times) in lived.tally {
            *tally.entry(told).or_insert(0) += times;
        }
        restarts += lived.restarts;
        transports += lived.transports;
    }
    println!("{restarts} restarts, {transports} transports, {tally:#?}");
    // If an outcome no longer occurs, the suite no longer tests it.
    if many {
        for told in EVERYTHING {
            assert!(tally.contains_key(told), "no request got {told:?}: {tally:?}");
        }
        assert!(restarts > 0 && transports > 0);
    }
}

#[test]
fn seed_replays() {
    for seed in [1, 2, 3] {
        let [mut first, mut second] = [live(seed).trace, live(seed).trace];
        // Events at the same moment may come in any order.
        first.sort_unstable();
        second.sort_unstable();
        assert_eq!(first, second, "seed {seed}");
    }
}

const EVERYTHING: [&str; 18] = [
    "answered",
    "from the network",
    "from the cache",
    "stale",
    "mailbox_closed",
    "shutting_down",
    "invalid_name",
    "overloaded",
    "missing_name",
    "timeout",
    "attempt_timeout",
    "connect",
    "intermediary",
    "unauthorized",
    "refused",
    "unavailable",
    "invalid_response",
    "internal",
];

/// Parses `a..b`, or a count.
fn read(seeds: &str) -> Range<u64> {
    let number = |text: &str| text.trim().parse().ok();
    let range = match seeds.split_once("..") {
        Some((from, to)) => number(from).zip(number(to)),
        None => number(seeds).map(|count| (0, count)),
    };
    let (from, to) = range.expect("STATSIG_CHAOS_SEEDS is a count or `from..to`");
    from..to
}

/// Runs as many histories at once as there are processors. Panics if no result comes for a long
/// time, in real time, because a history then spins.
fn live_through(seeds: Range<u64>) -> impl Iterator<Item = (u64, Lived)> {
    quiet_panics();
    let workers = thread::available_parallelism().map_or(1, Into::into);
    let next = Arc::new(AtomicU64::new(seeds.start));
    let (send, lived) = mpsc::channel();
    for _ in 0..workers {
        let (next, send) = (Arc::clone(&next), send.clone());
        thread::spawn(move || {
            loop {
                let seed = next.fetch_add(1, Relaxed);
                if seed >= seeds.end || send.send((seed, live(seed))).is_err() {
                    return;
                }
            }
        });
    }
    drop(send);
    let patience = Duration::from_secs(120);
    let mut left = seeds.end - seeds.start;
    std::iter::from_fn(move || {
        left = left.checked_sub(1)?;
        let next = next.load(Relaxed);
        Some(lived.recv_timeout(patience).unwrap_or_else(|error| {
            panic!("{error}: one of the {workers} seeds before {next} hangs or broke")
        }))
    })
}

/// Thousands of the panics are injected on purpose.
fn quiet_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let loud = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !is_meant(panic.payload()) {
                loud(panic);
            }
        }));
    });
}

fn is_meant(payload: &(dyn Any + Send)) -> bool {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.is_some_and(|text| text.contains("the script says so") || text.contains("a test has this"))
}

//! The steps of a history, drawn from its seed before it begins.

use std::{sync::Arc, time::Duration};

use actix_statsig::{CallKind, ConfigBuilder, FlushPolicy, Tier, User};
use fastrand::Rng;

use crate::{fate::Weather, support::config};

pub(crate) struct Plan {
    pub(crate) settings: Settings,
    /// Each step, and the time since the step before it.
    pub(crate) steps: Vec<(Duration, Step)>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) flush_interval: Duration,
    pub(crate) timeout: Duration,
    pub(crate) batch_size: usize,
    pub(crate) max_pending: usize,
    pub(crate) exposure: bool,
    pub(crate) flush_policy: FlushPolicy,
    pub(crate) transports: usize,
    pub(crate) cache: Cache,
}

/// How long and how much the cache keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cache {
    /// Zero if the cache is off.
    pub(crate) ttl: Duration,
    pub(crate) entries: usize,
    /// How much longer an entry may answer while Statsig fails.
    pub(crate) stale: Duration,
}

pub(crate) enum Step {
    Ask(Question),
    /// Requests a flush, and waits for its end or leaves at once.
    Flush {
        stays: bool,
    },
    Panic {
        failpoint: &'static str,
        times: u32,
    },
    Weather(Weather),
    /// Checks the bounds in the middle of the work.
    Look,
    /// Waits until nothing is pending, and checks the counters.
    Quiet,
    ShutDown {
        limit: Duration,
    },
}

/// A request to make.
#[derive(Clone)]
pub(crate) struct Question {
    pub(crate) who: usize,
    pub(crate) kind: CallKind,
    pub(crate) names: Vec<Arc<str>>,
    pub(crate) exposure: Option<bool>,
    pub(crate) bypass_cache: bool,
    pub(crate) through: Through,
    /// When the caller leaves if it has no answer by then.
    pub(crate) patience: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Through {
    Handle,
    Address,
    /// `do_send`, with no caller waiting.
    Nobody,
}

/// The `BatchActor`'s `FAILPOINTS`; a scripted transport has no others.
const FAILPOINTS: [&str; 5] =
    ["batch.request", "batch.flush", "batch.shutdown", "batch.timer", "batch.completion"];

impl Plan {
    pub(crate) fn draw(rng: &mut Rng, people: usize) -> Self {
        let settings = Settings::draw(rng);
        let mut steps = vec![(Duration::ZERO, Step::Weather(Weather::draw(rng)))];
        let rounds = rng.usize(40..160);
        // Some histories end with a shutdown, some have one in the middle, and some have none.
        let shutdowns: Vec<usize> = match rng.u8(0..4) {
            0 => vec![rounds - rng.usize(1..rounds / 4)],
            1 => vec![rounds - 1; rng.usize(1..3)],
            _ => Vec::new(),
        };
        // Half of the histories have no panics, or every history would be about panics.
        let panics = rng.bool();
        let ask = |rng: &mut Rng| Step::Ask(Question::draw(rng, people));
        for round in 0..rounds {
            for _ in shutdowns.iter().filter(|at| **at == round) {
                let limit = settings.timeout.mul_f64(rng.f64() * 1.5);
                steps.push((gap(rng), Step::ShutDown { limit }));
                steps.extend((0..rng.usize(0..20)).map(|_| (gap_at_work(rng), ask(rng))));
            }
            let step = match rng.u8(0..100) {
                0..4 => Step::Quiet,
                4..8 => Step::Weather(Weather::draw(rng)),
                8..13 => Step::Flush { stays: rng.bool() },
                13..19 if panics => {
                    let failpoint = rng.choice(FAILPOINTS).expect("some");
                    let times = if rng.u8(0..4) > 0 { 1 } else { rng.u32(2..4) };
                    Step::Panic { failpoint, times }
                }
                19..24 => Step::Look,
                24..30 => {
                    let burst = rng.usize(5..60);
                    steps.extend((0..burst).map(|_| (Duration::ZERO, ask(rng))));
                    Step::Look
                }
                _ => ask(rng),
            };
            steps.push((gap(rng), step));
        }
        Self { settings, steps }
    }
}

impl Settings {
    fn draw(rng: &mut Rng) -> Self {
        let timeout = Duration::from_millis(rng.u64(50..10_000));
        let usual = rng.bool();
        let longest_interval = (timeout / 3).as_millis() as u64;
        Self {
            timeout,
            flush_interval: Duration::from_millis(if usual {
                5
            } else {
                rng.u64(1..longest_interval)
            }),
            batch_size: if usual { 100 } else { rng.usize(1..=100) },
            max_pending: rng.choice([20, 200, 1_000, 10_000]).expect("some"),
            exposure: rng.bool(),
            flush_policy: match rng.bool() {
                true => FlushPolicy::Adaptive,
                false => FlushPolicy::Interval,
            },
            transports: rng.usize(1..=3),
            cache: Cache::draw(rng),
        }
    }

    pub(crate) fn config(&self) -> ConfigBuilder {
        config()
            .flush_interval(self.flush_interval)
            .timeout(self.timeout)
            .batch_size(self.batch_size)
            .max_pending(self.max_pending)
            .exposure_logging(self.exposure)
            .flush_policy(self.flush_policy)
            .transports(self.transports)
            .cache_ttl(self.cache.ttl)
            .cache_entries(self.cache.entries)
            .stale_if_error(self.cache.stale)
    }
}

impl Cache {
    fn draw(rng: &mut Rng) -> Self {
        let milliseconds = Duration::from_millis;
        Self {
            ttl: match rng.u8(0..4) {
                0 => Duration::ZERO,
                1 => milliseconds(rng.u64(1..100)),
                2 => milliseconds(rng.u64(1..5_000)),
                _ => milliseconds(rng.u64(5_000..600_000)),
            },
            entries: if rng.u8(0..4) == 0 { rng.usize(1..20) } else { 100_000 },
            stale: match rng.u8(0..3) {
                0 => Duration::ZERO,
                1 => milliseconds(rng.u64(1..5_000)),
                _ => milliseconds(3_600_000),
            },
        }
    }
}

impl Question {
    fn draw(rng: &mut Rng, people: usize) -> Self {
        let kind = if rng.u8(0..4) > 0 { CallKind::CheckGate } else { CallKind::GetConfig };
        let through = match rng.u8(0..20) {
            0 => Through::Nobody,
            1..10 => Through::Address,
            _ => Through::Handle,
        };
        Self {
            // Some users occur often, so that their names meet in a batch and in flight.
            who: if rng.bool() { rng.usize(0..3) } else { rng.usize(0..people) },
            kind,
            names: names(rng, kind),
            exposure: if rng.u8(0..3) > 0 { None } else { Some(rng.bool()) },
            bypass_cache: rng.u8(0..8) == 0,
            through,
            patience: (rng.u8(0..6) == 0).then(|| match rng.u8(0..3) {
                0 => Duration::ZERO,
                1 => Duration::from_millis(rng.u64(1..10)),
                _ => Duration::from_millis(rng.u64(1..3_000)),
            }),
        }
    }
}

/// Users that differ in one field each.
pub(crate) fn people() -> Vec<User> {
    let base = || User::builder().user_id("u");
    let mut people = vec![base(), User::builder().custom_id("u", "u")];
    for value in ["AA", "BB", "CC"] {
        people.extend([
            User::builder().user_id(value),
            base().email(value),
            base().ip(value),
            base().user_agent(value),
            base().country(value),
            base().locale(value),
            base().app_version(value),
            base().custom("plan", value),
            base().private_attribute("plan", value),
            base().custom_id("plan", value),
        ]);
    }
    let tiers = [Tier::Production, Tier::Staging, Tier::Development];
    people.extend(tiers.map(|tier| base().environment(tier)));
    people.extend([
        base().custom("plan", 1),
        base().custom("plan", "1"),
        base().custom("plan", true),
    ]);
    people.into_iter().map(|user| user.build().expect("a valid user")).collect()
}

fn names(rng: &mut Rng, kind: CallKind) -> Vec<Arc<str>> {
    let (pool, many) = match kind {
        CallKind::CheckGate => (160, 150),
        // Each of these names takes a call of its own.
        CallKind::GetConfig => (12, 12),
        other => unreachable!("{other:?}"),
    };
    let count = match rng.u8(0..50) {
        0 => 0,
        1..36 => rng.usize(1..4),
        36..46 => rng.usize(1..many.min(20)),
        _ => rng.usize(1..=many),
    };
    // Drawn from a small pool, so that names repeat within and across requests.
    let from = rng.usize(0..pool);
    let width = if rng.bool() { 4 } else { pool };
    let name = |n: usize| format!("name {}", (from + n) % pool);
    let mut names: Vec<Arc<str>> = (0..count).map(|_| name(rng.usize(0..width)).into()).collect();
    if rng.u8(0..40) == 0 && !names.is_empty() {
        let at = rng.usize(0..names.len());
        names[at] = rng.choice(["", "a", "a/b", "line\nbreak", "\u{fc}ber"]).expect("some").into();
    }
    names
}

/// Mostly no gap, now and then a pause, rarely a long one.
fn gap(rng: &mut Rng) -> Duration {
    match rng.u8(0..50) {
        0 => Duration::from_secs(rng.u64(60..3_600)),
        1..6 => Duration::from_millis(rng.u64(100..5_000)),
        6..20 => Duration::ZERO,
        _ => gap_at_work(rng),
    }
}

fn gap_at_work(rng: &mut Rng) -> Duration {
    Duration::from_millis(rng.u64(0..12))
}

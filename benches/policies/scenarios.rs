//! The simulated patterns, rates and settings.

use std::time::Duration;

use actix_statsig::FlushPolicy;

use crate::{
    network::Latency,
    simulation::Setup,
    workload::{Names, Page, Workload},
};

/// A workload and a network, simulated with each policy and interval.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) pattern: &'static str,
    pub(crate) workload: Workload,
    pub(crate) latency: Latency,
    pub(crate) max_in_flight: Option<usize>,
    pub(crate) batch_size: usize,
}

pub(crate) const PATTERNS: [&str; 5] = [
    "one check",
    "8 checks at once",
    "8 checks, 1 ms apart",
    "8 checks, one by one",
    "10 users, 10,000 gates",
];

pub(crate) const RATES: [f64; 4] = [10.0, 1e3, 1e5, 1e6];
pub(crate) const INTERVALS: [u64; 6] = [1, 2, 5, 10, 20, 50];
pub(crate) const POLICIES: [FlushPolicy; 2] = [FlushPolicy::Interval, FlushPolicy::Adaptive];

const FAR: Latency = Latency { median: Duration::from_millis(30), sigma: 0.5 };
const NEAR: Latency = Latency { median: Duration::from_millis(5), sigma: 0.5 };

impl Scenario {
    fn new(pattern: &'static str, rate: f64) -> Self {
        let many = (rate as usize).clamp(10_000, 1_000_000);
        let (page, users, names) = match PATTERNS.iter().position(|other| *other == pattern) {
            Some(1) => (Page::Together(8), many, 500),
            Some(2) => (Page::Spread(8, Duration::from_millis(1)), many, 500),
            Some(3) => (Page::InTurn(8), many, 500),
            Some(4) => (Page::OneCheck, 10, 10_000),
            _ => (Page::OneCheck, many, 500),
        };
        let workload = Workload { rate, users, names: Names::Zipf(names), page, in_bursts: false };
        Self { pattern, workload, latency: FAR, max_in_flight: None, batch_size: 100 }
    }

    /// The number of checks: enough to cover many intervals and latencies at this rate.
    pub(crate) fn checks(&self) -> u32 {
        (self.workload.rate / 2.0).clamp(100_000.0, 500_000.0) as u32
    }

    pub(crate) fn setup(&self, policy: FlushPolicy, flush_interval: u64) -> Setup {
        let &Self { latency, max_in_flight, batch_size, .. } = self;
        let flush_interval = Duration::from_millis(flush_interval);
        Setup { policy, flush_interval, batch_size, latency, max_in_flight }
    }

    /// Returns the scenario's title: its pattern, rate and special settings.
    pub(crate) fn title(&self) -> String {
        let Workload { rate, users, in_bursts, .. } = self.workload;
        let mut title = format!("{}: {}/s", self.pattern, in_words(rate));
        if users > 10 {
            title += &format!(", {} users", in_words(users as f64));
        }
        title += &format!(", calls of {} ms", self.latency.median.as_millis());
        if in_bursts {
            title += ", in bursts of 10 times the rate";
        }
        if let Some(places) = self.max_in_flight {
            title += &format!(", {places} calls in flight at most");
        }
        if self.batch_size != 100 {
            title += &format!(", batch_size {}", self.batch_size);
        }
        title
    }
}

/// Returns the scenarios with a panel: every pattern at every rate.
pub(crate) fn panels() -> Vec<Scenario> {
    let rates = RATES.into_iter();
    rates.flat_map(|rate| PATTERNS.map(|pattern| Scenario::new(pattern, rate))).collect()
}

/// Returns the scenarios without a panel: a near server, bursts, a limit on calls in flight, small
/// batches.
pub(crate) fn further() -> Vec<Scenario> {
    let mut scenarios = Vec::new();
    for rate in [1e3, 1e5] {
        let near =
            PATTERNS.map(|pattern| Scenario { latency: NEAR, ..Scenario::new(pattern, rate) });
        scenarios.extend(near);
    }
    for pattern in [PATTERNS[0], PATTERNS[2]] {
        let mut bursts = Scenario::new(pattern, 1e5);
        bursts.workload.in_bursts = true;
        scenarios.push(bursts);
    }
    // 64 places and calls of 34 ms on average allow at most 1,880 calls per second.
    scenarios.push(Scenario { max_in_flight: Some(64), ..Scenario::new(PATTERNS[2], 5e3) });
    for batch_size in [10, 50] {
        scenarios.push(Scenario { batch_size, ..Scenario::new(PATTERNS[4], 1e5) });
    }
    scenarios
}

pub(crate) fn in_words(rate: f64) -> String {
    let digits = format!("{rate:.0}");
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

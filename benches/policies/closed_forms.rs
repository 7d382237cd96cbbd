//! Checks the simulator against workloads that are simple enough to be worked out by hand.

use std::time::Duration;

use actix_statsig::FlushPolicy;

use crate::{
    network::Latency,
    simulation::{Measured, Setup, simulate},
    workload::{Names, Page, Workload},
};

const CHECKS: u32 = 100_000;
const RATE: f64 = 200.0;
const INTERVAL: Duration = Duration::from_millis(5);
const LATENCY: Latency = Latency { median: Duration::from_millis(30), sigma: 0.5 };
const STEADY: Latency = Latency { sigma: 0.0, ..LATENCY };
/// Longer than any simulation here.
const NEVER: Duration = Duration::from_secs(1 << 30);

/// One user, each check on its own.
const ALONE: Workload = Workload {
    rate: RATE,
    users: 1,
    names: Names::Zipf(1),
    page: Page::OneCheck,
    in_bursts: false,
};

pub(crate) fn hold() {
    let interval = |names| run(FlushPolicy::Interval, INTERVAL, LATENCY, names);
    let (t, l) = (INTERVAL.as_secs_f64(), LATENCY.mean().as_secs_f64());

    // One name: the first check waits for the interval, later checks wait for the rest of it, and
    // checks during the call join the call. Then the cycle repeats.
    let checks = 1.0 + RATE * (t + l);
    let one_name = interval(Names::Zipf(1));
    agree("calls, one name", one_name.calls_per_check(), 1.0 / checks);
    agree("wait, one name", mean(&one_name), (t + RATE * t * t / 2.0) / checks);
    assert!(
        one_name.longest <= INTERVAL + Duration::from_micros(50),
        "no longer than the interval"
    );

    // A new name for each check: no check joins a call, so only the interval collects checks.
    let checks = 1.0 + RATE * t;
    let new_names = interval(Names::New);
    agree("calls, new names", new_names.calls_per_check(), 1.0 / checks);
    agree("wait, new names", mean(&new_names), (t + RATE * t * t / 2.0) / checks);

    // Adaptive: the first check is flushed at once, and checks during the call join it.
    let one_name = run(FlushPolicy::Adaptive, NEVER, LATENCY, Names::Zipf(1));
    agree("calls, adaptive, one name", one_name.calls_per_check(), 1.0 / (1.0 + RATE * l));
    assert!(one_name.longest <= Duration::from_micros(1), "nobody waits");

    // A new name for each check: a call takes the checks that arrived during the previous call or,
    // if there were none, the next check.
    let l = STEADY.mean().as_secs_f64();
    let checks = RATE * l + (-RATE * l).exp();
    let new_names = run(FlushPolicy::Adaptive, NEVER, STEADY, Names::New);
    agree("calls, adaptive, new names", new_names.calls_per_check(), 1.0 / checks);
    agree("wait, adaptive, new names", mean(&new_names), RATE * l * l / 2.0 / checks);
}

fn run(policy: FlushPolicy, flush_interval: Duration, latency: Latency, names: Names) -> Measured {
    let setup = Setup { policy, flush_interval, batch_size: 100, latency, max_in_flight: None };
    simulate(Workload { names, ..ALONE }, setup, CHECKS, 1)
}

fn mean(measured: &Measured) -> f64 {
    measured.mean_added().as_secs_f64()
}

fn agree(what: &str, simulated: f64, expected: f64) {
    let off = (simulated / expected - 1.0).abs();
    assert!(off < 0.02, "{what}: {simulated} is not {expected}");
}

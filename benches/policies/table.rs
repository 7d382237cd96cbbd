//! Prints the figures as a table.

use std::time::Duration;

use crate::{
    scenarios::{INTERVALS, Scenario},
    simulation::Measured,
};

/// By interval, then by policy.
pub(crate) type Figures = Vec<Vec<Measured>>;

/// The component's `timeout`, which ends longer waits.
const TIMEOUT: Duration = Duration::from_secs(3);

pub(crate) fn print(scenario: &Scenario, figures: &Figures) {
    println!("\n{}", scenario.title());
    println!("               Interval                            Adaptive");
    println!("  interval     calls/check       p50       p99     calls/check       p50       p99");
    for (interval, policies) in INTERVALS.iter().zip(figures) {
        let policies: Vec<_> = policies.iter().map(policy).collect();
        println!("  {interval:>5} ms  {}", policies.join(""));
    }
}

fn policy(measured: &Measured) -> String {
    let [median, slow] = [0.5, 0.99].map(|quantile| duration(measured.added_at(quantile)));
    format!("{:>16.4}{median:>10}{slow:>10}", measured.calls_per_check())
}

fn duration(duration: Duration) -> String {
    match duration {
        long if long > TIMEOUT => "> 3 s".to_owned(),
        long if long >= Duration::from_millis(100) => format!("{} ms", long.as_millis()),
        _ => format!("{:.3} ms", duration.as_secs_f64() * 1e3),
    }
}

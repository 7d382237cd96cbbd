//! When should the buffer be flushed? Simulates the component's own buffer in virtual time.
//! Compares the latency that a flush policy adds with the HTTP calls that it makes per check, for
//! both policies and several settings, from 10 to a million checks per second.
//!
//! ```text
//! cargo bench --features test-util --bench policies             # a few minutes: draws docs/policies.svg
//! cargo bench --features test-util --bench policies -- --quick  # a few seconds: draws nothing
//! ```
//!
//! Only checks that no cache answers are simulated. The same seeds give the same figures.
#![expect(clippy::print_stdout, reason = "a measurement is there to be read")]

mod agenda;
mod chart;
mod closed_forms;
mod network;
mod scenarios;
mod simulation;
mod table;
mod workload;

use std::{
    env,
    error::Error,
    fs,
    sync::{
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc,
    },
    thread,
    time::Duration,
};

use crate::{
    scenarios::{INTERVALS, POLICIES, Scenario},
    simulation::simulate,
    table::Figures,
};

const PICTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/policies.svg");
const SEED: u64 = 4;
/// The time that the mailbox may add, before a check is in the buffer and after its call has
/// returned.
const IN_QUEUE: Duration = Duration::from_millis(1);

fn main() -> Result<(), Box<dyn Error>> {
    let is_quick = env::args().any(|arg| arg == "--quick");
    closed_forms::hold();
    println!("The simulator agrees with what can be worked out by hand.");

    let panels = scenarios::panels();
    let shown = panels.len();
    let all: Vec<_> = panels.into_iter().chain(scenarios::further()).collect();
    let figures = measure(&all, if is_quick { 20 } else { 1 });
    let measured: Vec<_> = all.into_iter().zip(figures).collect();
    for (scenario, figures) in &measured {
        table::print(scenario, figures);
    }
    if !is_quick {
        fs::write(PICTURE, chart::draw(&measured[..shown])?)?;
        println!("\ndrawn: {PICTURE}");
    }
    Ok(())
}

/// Simulates every scenario with every setting, on all cores.
fn measure(scenarios: &[Scenario], part: u32) -> Vec<Figures> {
    let next = AtomicUsize::new(0);
    let (done, results) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            let (next, done) = (&next, done.clone());
            scope.spawn(move || {
                while let at = next.fetch_add(1, Relaxed)
                    && let Some(scenario) = scenarios.get(at)
                {
                    done.send((at, figures(scenario, part))).expect("somebody to tell");
                }
            });
        }
    });
    drop(done);
    let mut results: Vec<_> = results.iter().collect();
    results.sort_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, figures)| figures).collect()
}

fn figures(scenario: &Scenario, part: u32) -> Figures {
    let checks = scenario.checks() / part;
    let run = |policy, interval| {
        let setup = scenario.setup(policy, interval);
        let measured = simulate(scenario.workload, setup, checks, SEED);
        assert!(
            scenario.max_in_flight.is_some() || measured.longest <= setup.flush_interval + IN_QUEUE,
            "{}: {:?} in the buffer, {setup:?}",
            scenario.title(),
            measured.longest,
        );
        measured
    };
    let by_interval = INTERVALS.iter();
    by_interval.map(|interval| POLICIES.map(|policy| run(policy, *interval)).into()).collect()
}

//! Compares actix-statsig, the crate `statsig-client`, and a bare awc call for each check, in one
//! run:
//!
//! ```sh
//! cargo run --release --manifest-path benches/peers/Cargo.toml
//! ```
//!
//! The run takes two and a half minutes, or one with `-- --quick`. Each measurement has a process
//! of its own, and so has its server. So the CPU time is the client's alone, and no measurement
//! affects the next. `measure SCENARIO PEER SECONDS` makes one measurement, for a profiler.
#![forbid(unsafe_code)]

mod clock;
mod load;
mod peers;
mod report;
mod results;
mod scenario;
mod server;
mod targets;
mod upstream;

use std::{env, error::Error, process::Command, time::Duration};

use load::Measured;
use peers::Peer;
use results::Results;
use scenario::Scenario;

const USAGE: &str = "usage: [--quick] | measure SCENARIO PEER SECONDS";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => compare(5, 0.8),
        ["--quick"] => compare(2, 0.3),
        ["measure", scenario, peer, seconds] => {
            let (scenario, peer) = (Scenario::named(scenario)?, Peer::named(peer)?);
            let window = Duration::try_from_secs_f64(seconds.parse()?)?;
            println!("{}", peers::measure(peer, scenario, window)?.to_line());
            Ok(())
        }
        ["serve", milliseconds] => Ok(server::run(Duration::from_millis(milliseconds.parse()?))?),
        _ => Err(USAGE.into()),
    }
}

/// Measures each peer in each scenario, round after round, so that other load on the machine
/// affects all peers alike.
fn compare(rounds: usize, seconds: f64) -> Result<(), Box<dyn Error>> {
    let mut results = Results::default();
    for round in 1..=rounds {
        for scenario in Scenario::ALL {
            for peer in Peer::ALL.into_iter().filter(|peer| peer.can(scenario)) {
                eprintln!("round {round} of {rounds}: {}, {}", scenario.name(), peer.name());
                results.add(scenario, peer, in_own_process(scenario, peer, seconds)?);
            }
        }
    }
    report::print(&results);
    targets::print(&results);
    Ok(())
}

fn in_own_process(
    scenario: Scenario,
    peer: Peer,
    seconds: f64,
) -> Result<Measured, Box<dyn Error>> {
    let mut command = Command::new(env::current_exe()?);
    command.args(["measure", scenario.name(), peer.name(), &seconds.to_string()]);
    let output = command.stderr(std::process::Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("{}, {}: {}", scenario.name(), peer.name(), output.status).into());
    }
    Measured::from_line(&String::from_utf8(output.stdout)?)
}

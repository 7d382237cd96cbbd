//! A table for each scenario.

use crate::{
    peers::Peer,
    results::{Of, Results, Spread},
    scenario::Scenario,
};

pub fn print(results: &Results) {
    println!("Medians over the rounds, and in brackets the least and the most.");
    println!("Ratios are ours ÷ the peer's in the same round, `start` / `start_in_current_arbiter`.");
    for scenario in Scenario::ALL {
        println!("\n### {}\n", scenario.title());
        println!(
            "| client | checks/s | p50 | p99 | calls a check | CPU a check \
             | ratio of rates | of p50 | of CPU |"
        );
        println!("|---|---|---|---|---|---|---|---|---|");
        for peer in Peer::ALL {
            let cell = |of: Of, show: fn(f64) -> String| {
                results.spread(scenario, peer, of).map_or_else(none, |spread| spread.show(show))
            };
            println!(
                "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
                peer.title(),
                cell(|m| m.rate, count),
                cell(|m| m.p50, time),
                cell(|m| m.p99, time),
                cell(|m| m.calls, |calls| format!("{calls:.4}")),
                cell(|m| m.cpu, time),
                ratios(results, scenario, peer, |m| m.rate),
                ratios(results, scenario, peer, |m| m.p50),
                ratios(results, scenario, peer, |m| m.cpu),
            );
        }
    }
}

impl Spread {
    fn show(self, show: fn(f64) -> String) -> String {
        format!("{} ({}–{})", show(self.median), show(self.min), show(self.max))
    }
}

fn ratios(results: &Results, scenario: Scenario, peer: Peer, of: Of) -> String {
    let ratios = Peer::OURS.map(|ours| results.ratio(scenario, ours, peer, of));
    match ratios {
        [Some(start), Some(start_here)] if !Peer::OURS.contains(&peer) => {
            format!("{} / {}", times(start.median), times(start_here.median))
        }
        _ => none(),
    }
}

fn none() -> String {
    "–".to_owned()
}

/// Formats a ratio with three significant digits.
pub fn times(ratio: f64) -> String {
    match ratio {
        ratio if ratio >= 100.0 => format!("{ratio:.0}"),
        ratio if ratio >= 10.0 => format!("{ratio:.1}"),
        ratio if ratio >= 0.01 => format!("{ratio:.2}"),
        ratio => format!("{ratio:.5}"),
    }
}

fn count(number: f64) -> String {
    let digits = format!("{number:.0}");
    let (first, rest) = digits.split_at((digits.len() - 1) % 3 + 1);
    let thousands = rest.as_bytes().chunks(3).map(|three| String::from_utf8_lossy(three));
    thousands.fold(first.to_owned(), |number, three| number + "," + &three)
}

fn time(microseconds: f64) -> String {
    match microseconds {
        t if t < 1.0 => format!("{:.0} ns", t * 1e3),
        t if t < 100.0 => format!("{t:.1} µs"),
        t if t < 1e3 => format!("{t:.0} µs"),
        t if t < 1e6 => format!("{:.1} ms", t / 1e3),
        t => format!("{:.1} s", t / 1e6),
    }
}

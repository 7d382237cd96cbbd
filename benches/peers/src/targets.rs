//! The targets for actix-statsig, and whether they were met.

use crate::{
    peers::Peer,
    report::times,
    results::{Of, Results},
    scenario::Scenario,
};

enum Bound {
    AtLeast(f64),
    AtMost(f64),
}
use Bound::{AtLeast, AtMost};

/// A bound on the median ratio, ours ÷ the peer's.
struct Target {
    scenario: Scenario,
    peer: Peer,
    what: &'static str,
    of: Of,
    bound: Bound,
}

const TARGETS: [Target; 11] = {
    use {Peer::*, Scenario::*};
    [
        target(SameAgain, StatsigClient, "checks a second", |m| m.rate, AtLeast(10.0)),
        target(NewNames, StatsigClient, "CPU a check", |m| m.cpu, AtMost(0.2)),
        target(NewNames, StatsigClient, "checks a second", |m| m.rate, AtLeast(2.5)),
        target(NewNames, StatsigClient, "calls a check", |m| m.calls, AtMost(1.0)),
        target(NewNamesUncached, StatsigClient, "CPU a check", |m| m.cpu, AtMost(0.2)),
        target(NewNamesUncached, StatsigClient, "checks a second", |m| m.rate, AtLeast(2.5)),
        target(NewNamesUncached, StatsigClient, "calls a check", |m| m.calls, AtMost(1.0)),
        target(NewUsers, Naive, "checks a second", |m| m.rate, AtLeast(1.0)),
        target(NewUsers, Naive, "CPU a check", |m| m.cpu, AtMost(1.2)),
        target(NewUsers, StatsigClient, "checks a second", |m| m.rate, AtLeast(80.0)),
        target(Alone, Naive, "p50", |m| m.p50, AtMost(1.05)),
    ]
};

const fn target(
    scenario: Scenario,
    peer: Peer,
    what: &'static str,
    of: Of,
    bound: Bound,
) -> Target {
    Target { scenario, peer, what, of, bound }
}

pub fn print(results: &Results) {
    println!("\n### Targets\n");
    println!("| scenario | ours ÷ the peer's | target | `start` | `start_in_current_arbiter` |");
    println!("|---|---|---|---|---|");
    for target in &TARGETS {
        let bound = match target.bound {
            AtLeast(bound) => format!("at least {bound}"),
            AtMost(bound) => format!("at most {bound}"),
        };
        let [start, start_here] = Peer::OURS.map(|ours| target.verdict(results, ours));
        let (what, peer) = (target.what, target.peer.title());
        println!(
            "| {} | {what}, {peer} | {bound} | {start} | {start_here} |",
            target.scenario.title()
        );
    }
}

impl Target {
    fn verdict(&self, results: &Results, ours: Peer) -> String {
        let Some(ratio) = results.ratio(self.scenario, ours, self.peer, self.of) else {
            return "–".to_owned();
        };
        let is_met = match self.bound {
            AtLeast(bound) => ratio.median >= bound,
            AtMost(bound) => ratio.median <= bound,
        };
        format!("{}, {}", times(ratio.median), if is_met { "met" } else { "missed" })
    }
}

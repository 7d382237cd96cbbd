//! The results of all rounds.

use std::collections::BTreeMap;

use crate::{load::Measured, peers::Peer, scenario::Scenario};

/// The measurements, one for each round.
#[derive(Default)]
pub struct Results(BTreeMap<(Scenario, Peer), Vec<Measured>>);

/// One number of each measurement.
pub type Of = fn(&Measured) -> f64;

/// The median of several values, with the least and the most.
#[derive(Clone, Copy)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Results {
    pub fn add(&mut self, scenario: Scenario, peer: Peer, measured: Measured) {
        self.0.entry((scenario, peer)).or_default().push(measured);
    }

    pub fn spread(&self, scenario: Scenario, peer: Peer, of: Of) -> Option<Spread> {
        Spread::of(self.rounds(scenario, peer).iter().map(of))
    }

    /// Returns the ratios of one peer to the other, each within one round.
    pub fn ratio(&self, scenario: Scenario, peer: Peer, other: Peer, of: Of) -> Option<Spread> {
        let rounds = self.rounds(scenario, peer).iter().zip(self.rounds(scenario, other));
        Spread::of(rounds.map(|(one, other)| of(one) / of(other)))
    }

    fn rounds(&self, scenario: Scenario, peer: Peer) -> &[Measured] {
        self.0.get(&(scenario, peer)).map_or(&[], Vec::as_slice)
    }
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<_> = values.collect();
        values.sort_unstable_by(f64::total_cmp);
        let (&min, &max) = (values.first()?, values.last()?);
        let middle = values.len() / 2;
        let median = match values.len() % 2 {
            0 => f64::midpoint(values[middle - 1], values[middle]),
            _ => values[middle],
        };
        Some(Self { median, min, max })
    }
}

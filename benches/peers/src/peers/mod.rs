//! The compared clients, each set up as its own documentation says.

mod naive;
mod ours;
mod statsig_client;

use std::{error::Error, time::Duration};

use crate::{
    load::{Load, Measured},
    scenario::Scenario,
    upstream::Upstream,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    /// actix-statsig on a thread of its own.
    Start,
    /// actix-statsig on its callers' arbiter.
    StartHere,
    StatsigClient,
    /// A call over awc for each check.
    Naive,
}

impl Peer {
    pub const ALL: [Self; 4] = [Self::Start, Self::StartHere, Self::StatsigClient, Self::Naive];
    pub const OURS: [Self; 2] = [Self::Start, Self::StartHere];

    pub fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::StartHere => "start-here",
            Self::StatsigClient => "statsig-client",
            Self::Naive => "naive",
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Self::Start => "actix-statsig, `start`",
            Self::StartHere => "actix-statsig, `start_in_current_arbiter`",
            Self::StatsigClient => "statsig-client 0.1.0",
            Self::Naive => "a call of awc for each check",
        }
    }

    pub fn named(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|peer| peer.name() == name);
        found.ok_or_else(|| format!("there is no peer {name}"))
    }

    /// Whether the peer can run the scenario: a client that makes a call for each check has no
    /// cache to hit.
    pub fn can(self, scenario: Scenario) -> bool {
        (self, scenario) != (Self::Naive, Scenario::SameAgain)
    }
}

/// Measures one peer in this process, against a server in another.
pub fn measure(
    peer: Peer,
    scenario: Scenario,
    window: Duration,
) -> Result<Measured, Box<dyn Error>> {
    let run = Run { scenario, window, upstream: Upstream::start(scenario.delay())? };
    match peer {
        Peer::Start => ours::measure(run, actix_statsig::Statsig::start),
        Peer::StartHere => ours::measure(run, actix_statsig::Statsig::start_in_current_arbiter),
        Peer::StatsigClient => statsig_client::measure(run),
        Peer::Naive => naive::measure(run),
    }
}

/// One measurement, before it begins.
struct Run {
    scenario: Scenario,
    window: Duration,
    upstream: Upstream,
}

impl Run {
    fn load(&self) -> Load {
        Load::new(self.scenario)
    }

    async fn measure(mut self, load: &Load) -> Result<Measured, Box<dyn Error>> {
        load.measure(&mut self.upstream, self.window).await
    }
}

const API_KEY: &str = "secret-key";

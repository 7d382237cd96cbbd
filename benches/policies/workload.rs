//! The workload: which users make which checks, and when.

use std::{sync::Arc, time::Duration};

use actix_statsig::User;
use rand::{SeedableRng, rngs::StdRng};
use rand_distr::{Distribution, Exp1, Zipf};

/// Pages arrive by a Poisson process. Each is about one user and makes a few checks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Workload {
    /// Checks per second.
    pub(crate) rate: f64,
    /// Users, drawn by Zipf's law with exponent 1.
    pub(crate) users: usize,
    pub(crate) names: Names,
    pub(crate) page: Page,
    /// Whether all pages arrive in a tenth of the time, at ten times the rate.
    pub(crate) in_bursts: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Names {
    /// This many names, drawn by Zipf's law with exponent 1.
    Zipf(usize),
    /// Each check asks for a new name.
    New,
}

/// How the checks of a page follow one another.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Page {
    OneCheck,
    /// This many checks at the same instant.
    Together(u32),
    /// This many checks, with exponential gaps of this mean.
    Spread(u32, Duration),
    /// This many checks, each made when the previous one is answered.
    InTurn(u32),
}

impl Page {
    pub(crate) fn checks(self) -> u32 {
        match self {
            Self::OneCheck => 1,
            Self::Together(checks) | Self::Spread(checks, _) | Self::InTurn(checks) => checks,
        }
    }
}

/// Draws a workload. The same seed draws the same pages, however they are answered.
pub(crate) struct Source {
    workload: Workload,
    page_times: StdRng,
    choices: StdRng,
    user_law: Zipf<f64>,
    users: Vec<Option<User>>,
    name_law: Option<Zipf<f64>>,
    names: Vec<Arc<str>>,
    new_names: usize,
    /// How long pages have been arriving, without the pauses between bursts.
    active: Duration,
}

const BURST: Duration = Duration::from_millis(100);
/// A burst begins every ten burst lengths.
const BURST_EVERY: u32 = 10;

impl Source {
    pub(crate) fn new(workload: Workload, seed: u64) -> Self {
        let zipf = |n: usize| Zipf::new(n as f64, 1.0).expect("a law for at least one");
        let names = match workload.names {
            Names::Zipf(names) => names,
            Names::New => 0,
        };
        Self {
            workload,
            page_times: StdRng::seed_from_u64(seed),
            choices: StdRng::seed_from_u64(!seed),
            user_law: zipf(workload.users),
            users: vec![None; workload.users],
            name_law: (names > 0).then(|| zipf(names)),
            names: (0..names).map(name).collect(),
            new_names: 0,
            active: Duration::ZERO,
        }
    }

    /// Returns when the next page arrives, and its user's number.
    pub(crate) fn page(&mut self) -> (Duration, usize) {
        let Workload { rate, page, in_bursts, .. } = self.workload;
        let mut gap = f64::from(page.checks()) / rate;
        if in_bursts {
            gap /= f64::from(BURST_EVERY);
        }
        let gap = self.exponential(Duration::from_secs_f64(gap));
        self.active += gap;
        let bursts = u32::try_from(self.active.as_nanos() / BURST.as_nanos()).expect("few bursts");
        let pauses = if in_bursts { BURST * (BURST_EVERY - 1) * bursts } else { Duration::ZERO };
        let user = self.user_law.sample(&mut self.page_times) as usize - 1;
        (self.active + pauses, user)
    }

    pub(crate) fn exponential(&mut self, mean: Duration) -> Duration {
        let factor: f64 = Exp1.sample(&mut self.page_times);
        mean.mul_f64(factor)
    }

    pub(crate) fn user(&mut self, number: usize) -> User {
        let new = || User::new(format!("user-{number}")).expect("a valid user");
        self.users[number].get_or_insert_with(new).clone()
    }

    pub(crate) fn name(&mut self) -> Arc<str> {
        match &self.name_law {
            Some(law) => Arc::clone(&self.names[law.sample(&mut self.choices) as usize - 1]),
            None => {
                self.new_names += 1;
                name(self.new_names)
            }
        }
    }
}

fn name(number: usize) -> Arc<str> {
    format!("gate-{number}").into()
}

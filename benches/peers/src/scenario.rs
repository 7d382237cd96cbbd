//! The scenarios: the checks, the number of callers, and the server's delay.

use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scenario {
    /// The same check again and again: a hit, where there is a cache.
    SameAgain,
    /// Many callers, one user, a new gate name each check.
    NewNames,
    /// The same, without the cost of the caches.
    NewNamesUncached,
    /// Many callers, a new user each check.
    NewUsers,
    /// One caller, a new user each check.
    Alone,
}

impl Scenario {
    pub const ALL: [Self; 5] =
        [Self::SameAgain, Self::NewNames, Self::NewNamesUncached, Self::NewUsers, Self::Alone];

    pub fn name(self) -> &'static str {
        match self {
            Self::SameAgain => "same-again",
            Self::NewNames => "new-names",
            Self::NewNamesUncached => "new-names-uncached",
            Self::NewUsers => "new-users",
            Self::Alone => "alone",
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Self::SameAgain => "The same check again and again, prepared user",
            Self::NewNames => {
                "1,000 callers, one user, a new gate name each check, server 0 ms, caches as by \
                 default"
            }
            Self::NewNamesUncached => {
                "1,000 callers, one user, a new gate name each check, server 0 ms, no caches"
            }
            Self::NewUsers => {
                "1,000 callers, a new user each check, server 5 ms, up to 100 connections, no caches"
            }
            Self::Alone => "One caller, a new user each check, server 5 ms, no caches",
        }
    }

    pub fn named(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|scenario| scenario.name() == name);
        found.ok_or_else(|| format!("there is no scenario {name}"))
    }

    /// Whether evaluations are cached. Only a repeated check can hit the cache; a new check may pay
    /// for filling it.
    pub fn is_cached(self) -> bool {
        matches!(self, Self::SameAgain | Self::NewNames)
    }

    /// The number of tasks. Each makes its next check as soon as it has an answer.
    pub fn callers(self) -> u64 {
        match self {
            Self::SameAgain | Self::Alone => 1,
            Self::NewNames | Self::NewNamesUncached | Self::NewUsers => 1_000,
        }
    }

    /// How long the server takes for an answer.
    pub fn delay(self) -> Duration {
        match self {
            Self::SameAgain | Self::NewNames | Self::NewNamesUncached => Duration::ZERO,
            Self::NewUsers | Self::Alone => Duration::from_millis(5),
        }
    }

    /// The number of checks that are timed together, because reading the clock takes as long as a
    /// cache hit.
    pub fn checks_a_sample(self) -> u64 {
        match self {
            Self::SameAgain => 100,
            _ => 1,
        }
    }
}

/// The gate in scenarios where the name is always the same.
pub const GATE: &str = "new_checkout";

/// Returns the gate that only the check with this number asks for.
pub fn gate(number: u64) -> String {
    format!("gate_{number}")
}

/// Returns the user that only the check with this number is about.
pub fn user_id(number: u64) -> String {
    format!("user-{number}")
}

/// The country of every user.
pub const COUNTRY: &str = "NL";

//! What is asked, by how many callers, of how fast a server.

use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scenario {
    /// The same check again and again: a hit, where there is a cache.
    SameAgain,
    /// Many callers, one user, a new gate name each check.
    NewNames,
    /// The same without what the caches cost.
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

    /// Whether evaluations are kept. Only a check that is made again finds one; a new one may have to
    /// pay for keeping it.
    pub fn is_cached(self) -> bool {
        matches!(self, Self::SameAgain | Self::NewNames)
    }

    /// Tasks that each ask the next check as soon as they have an answer.
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

    /// Checks that are timed together: reading the clock takes as long as a hit.
    pub fn checks_a_sample(self) -> u64 {
        match self {
            Self::SameAgain => 100,
            _ => 1,
        }
    }
}

/// The gate that is asked for where the name is always the same.
pub const GATE: &str = "new_checkout";

/// A gate that only the check of this number asks for.
pub fn gate(number: u64) -> String {
    format!("gate_{number}")
}

/// A user whom only the check of this number is about.
pub fn user_id(number: u64) -> String {
    format!("user-{number}")
}

/// Every user's.
pub const COUNTRY: &str = "NL";

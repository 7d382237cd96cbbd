//! Where an evaluation came from.

use std::time::Duration;

/// Where an evaluation came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// From Statsig, for this request or for one it was joined with.
    #[default]
    Network,
    /// Kept from an earlier answer, not longer than [`cache_ttl`](crate::Config::cache_ttl).
    Cache {
        /// The time since that answer, in whole milliseconds.
        age: Duration,
    },
    /// Kept for longer than that, and given because Statsig fails
    /// ([`stale_if_error`](crate::Config::stale_if_error)).
    Stale {
        /// The time since that answer, in whole milliseconds.
        age: Duration,
    },
}

/// [`Source`] in a third of its size: every waiter's evaluation has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Network,
    Cache { age_ms: u32 },
    Stale { age_ms: u32 },
}

impl Origin {
    pub(crate) fn is_stale(self) -> bool {
        matches!(self, Self::Stale { .. })
    }
}

impl From<Origin> for Source {
    fn from(origin: Origin) -> Self {
        let age = |ms: u32| Duration::from_millis(ms.into());
        match origin {
            Origin::Network => Self::Network,
            Origin::Cache { age_ms } => Self::Cache { age: age(age_ms) },
            Origin::Stale { age_ms } => Self::Stale { age: age(age_ms) },
        }
    }
}

//! The source of an evaluation.

use std::time::Duration;

/// The source of an evaluation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// A call to Statsig, for this request or for one that it joined.
    #[default]
    Network,
    /// The cache, within [`cache_ttl`](crate::Config::cache_ttl).
    Cache {
        /// The time since Statsig's answer, in whole milliseconds.
        age: Duration,
    },
    /// The cache, after `cache_ttl`, because Statsig fails
    /// ([`stale_if_error`](crate::Config::stale_if_error)).
    Stale {
        /// The time since Statsig's answer, in whole milliseconds.
        age: Duration,
    },
}

/// A [`Source`] in a third of the size, because each waiter's evaluation has one.
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

//! When what is buffered leaves.

use std::fmt;

/// When what is buffered leaves for Statsig.
///
/// [`flush_interval`](crate::Config::flush_interval) and [`batch_size`](crate::Config::batch_size)
/// are upper bounds in both policies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FlushPolicy {
    /// When the interval has run, or a user's distinct names reach the batch size. The default: the
    /// fewest calls where a user's questions are asked within a few milliseconds of each other but
    /// not at once, for a delay of up to the interval.
    #[default]
    Interval,
    /// At once if no call for the user is in flight, otherwise when that call returns: no delay is
    /// added while little is asked, and the busier a user is, the fuller the batches.
    Adaptive,
}

impl FlushPolicy {
    pub(super) const ALL: [Self; 2] = [Self::Interval, Self::Adaptive];
}

/// Writes what [`Config::from_env`](crate::Config::from_env) reads.
impl fmt::Display for FlushPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interval => "interval",
            Self::Adaptive => "adaptive",
        })
    }
}

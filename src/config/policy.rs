//! When buffered requests are flushed.

use std::fmt;

/// When buffered requests are flushed, that is, sent to Statsig as calls.
///
/// [`flush_interval`](crate::Config::flush_interval) and [`batch_size`](crate::Config::batch_size)
/// are upper bounds in both policies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FlushPolicy {
    /// When the interval ends, or a user's distinct names reach the batch size. This is the
    /// default. This policy makes the fewest calls if a user's checks arrive within a few
    /// milliseconds of each other. It delays each check by up to the interval.
    #[default]
    Interval,
    /// At once if no call for the user is in flight, otherwise when that call returns. A user with
    /// few checks does not wait for the interval, and the busier a user is, the fuller its batches
    /// are.
    Adaptive,
}

impl FlushPolicy {
    pub(super) const ALL: [Self; 2] = [Self::Interval, Self::Adaptive];
}

/// Writes the form that [`Config::from_env`](crate::Config::from_env) reads.
impl fmt::Display for FlushPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interval => "interval",
            Self::Adaptive => "adaptive",
        })
    }
}

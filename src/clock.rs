//! The only place that reads a clock. Decisions get `now` passed in; the actor shells read it here,
//! from tokio, so that a paused runtime drives the whole component in virtual time.

use std::time::{Instant, SystemTime};

/// The monotonic clock, virtual where the current runtime's is.
#[allow(clippy::disallowed_methods)]
pub(crate) fn now() -> Instant {
    actix_rt::time::Instant::now().into_std()
}

/// The wall clock, for a `Retry-After` that names a date.
#[allow(clippy::disallowed_methods)]
pub(crate) fn wall() -> SystemTime {
    SystemTime::now()
}

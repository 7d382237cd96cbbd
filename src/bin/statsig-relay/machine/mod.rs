//! The machine's resources: the limits of the process, and the clock.

pub(crate) mod clock;
pub(crate) mod limits;

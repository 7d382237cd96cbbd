//! The machine's side of the relay: limits of the process, and the clock.

pub(crate) mod clock;
pub(crate) mod limits;

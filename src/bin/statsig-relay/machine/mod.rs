//! What the relay needs from its machine: limits of the process, and the clock.

pub(crate) mod clock;
pub(crate) mod limits;

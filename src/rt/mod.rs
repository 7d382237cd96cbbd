//! What the actors' runtime does not have: an injectable clock, restarts with backoff, yielding,
//! failpoints.

pub(crate) mod clock;
pub(crate) mod failpoint;
pub(crate) mod restarts;
pub(crate) mod slept;
pub(crate) mod turns;

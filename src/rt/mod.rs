//! What the actors' runtime does not have: an injectable clock, restart_backoff with backoff, yielding,
//! failpoints.

pub(crate) mod clock;
pub(crate) mod failpoint;
pub(crate) mod restart_backoff;
pub(crate) mod suspended;
pub(crate) mod yielding;

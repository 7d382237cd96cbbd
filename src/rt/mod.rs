//! Additions to the actors' runtime: an injectable clock, restarts with backoff, yielding, failpoints.

pub(crate) mod clock;
pub(crate) mod failpoint;
pub(crate) mod restart_backoff;
pub(crate) mod suspended;
pub(crate) mod yielding;

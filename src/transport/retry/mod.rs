//! What follows a failed attempt: a retry, a pause, or an open circuit breaker.

pub(super) mod breaker;
mod budget;
mod classify;
mod known_mismatches;
pub(super) mod policy;
mod server_pause;
pub(super) mod shared_health;

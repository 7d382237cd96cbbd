//! What follows from a failed attempt: another, a pause, or an open circuit breaker.

pub(super) mod breaker;
mod budget;
mod known_mismatches;
pub(super) mod policy;
mod pool_health;
mod retry_after;
pub(super) mod shared_health;

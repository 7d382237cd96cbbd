//! What follows from a failed attempt: another, a pause, or an open circuit breaker.

pub(super) mod breaker;
mod budget;
mod calm;
mod health;
mod misnamed;
pub(super) mod policy;
pub(super) mod upstream;

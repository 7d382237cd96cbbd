//! What the component does while Statsig fails, or the network between it and Statsig.

mod faulty_proxy;
mod outage;
mod retry_after;
#[path = "../support/mod.rs"]
mod support;

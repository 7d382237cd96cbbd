//! What the component does while Statsig, or the network to Statsig, fails.

mod faulty_proxy;
mod outage;
mod retry_after;
#[path = "../support/mod.rs"]
mod support;

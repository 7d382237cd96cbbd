//! What the component does while Statsig, or the network before it, is in trouble.

mod faulty_proxy;
mod outage;
mod retry_after;
#[path = "../support/mod.rs"]
mod support;

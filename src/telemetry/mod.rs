//! Observability for the app: statistics, metrics, hooks and spans.

pub(crate) mod fallback;
pub(crate) mod hooks;
pub(crate) mod latency;
#[cfg(feature = "metrics")]
pub mod metrics;
pub(crate) mod spans;
pub(crate) mod stale;
pub(crate) mod stats;
pub(crate) mod striped_counter;

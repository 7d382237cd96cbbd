//! What an app can observe of the component: fallbacks, hooks, metrics, log lines and spans.

mod fallbacks;
mod metrics;
mod span_ends;
mod spans;
mod spans_across;
#[path = "../support/mod.rs"]
mod support;

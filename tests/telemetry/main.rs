//! What an app sees of the component: fallbacks, hooks, metrics, events and spans.

mod fallbacks;
mod metrics;
mod span_ends;
mod spans;
mod spans_across;
#[path = "../support/mod.rs"]
mod support;

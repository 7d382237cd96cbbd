//! When requests are flushed, which of them share a call, and which user is next.

mod adaptive;
mod fairness;
mod flushes;
mod messages;
mod overload;
#[path = "../support/mod.rs"]
mod support;

//! When requests are flushed, which requests share a call, and which user comes next.

mod adaptive;
mod fairness;
mod flushes;
mod messages;
mod overload;
#[path = "../support/mod.rs"]
mod support;

//! Which requests travel together: when they leave the buffer, as which calls, and whose turn it is.

mod adaptive;
mod fairness;
mod flushes;
mod messages;
mod overload;
#[path = "../support/mod.rs"]
mod support;

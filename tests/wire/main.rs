//! What the component sends to Statsig's API, and which answers it accepts.

mod bad_answers;
mod parsers;
#[path = "../support/mod.rs"]
mod support;
mod users;
mod values;
mod who_answered;

//! What the component says to Statsig's API and what it accepts from it.

mod bad_answers;
mod parsers;
#[path = "../support/mod.rs"]
mod support;
mod users;
mod values;
mod who_answered;

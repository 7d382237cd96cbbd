//! The actix-web integration.
#![cfg(all(feature = "web", feature = "test-util"))]

mod app;
mod closed_connection;
mod flags;
mod mixing;
#[cfg(unix)]
mod program;
mod require_gate;
mod serve;
#[path = "../support/mod.rs"]
mod support;

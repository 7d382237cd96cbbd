//! The actix-web integration.
#![cfg(all(feature = "web", feature = "test-util"))]
// Helpers outside a `#[test]` do not count as tests for clippy.
#![allow(clippy::unwrap_used)]

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

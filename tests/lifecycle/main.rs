//! How the component starts, idles, restarts after a panic, and shuts down gracefully.

mod api_key;
mod environment;
mod idle;
mod panics;
mod shutdown;
mod supervision;
#[path = "../support/mod.rs"]
mod support;
mod transports;

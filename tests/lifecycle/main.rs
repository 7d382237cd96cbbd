//! How the component starts, survives panics, idles and shuts down.

mod api_key;
mod environment;
mod idle;
mod panics;
mod shutdown;
mod supervision;
#[path = "../support/mod.rs"]
mod support;
mod transports;

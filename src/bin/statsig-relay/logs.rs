//! Which logs there are, and where they go.

use std::{
    env,
    io::{self, IsTerminal},
};

use tracing_subscriber::EnvFilter;

/// Sends the logs to stderr: stdout is for what the relay has to say.
pub(crate) fn to_stderr() -> Result<(), String> {
    let filter = match env::var("RUST_LOG") {
        Ok(text) => EnvFilter::try_new(&text)
            .map_err(|error| format!("RUST_LOG cannot be {text:?}: {error}"))?,
        // The server tells of each worker that starts or stops.
        Err(_) => EnvFilter::new("info,actix_server=warn"),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
    Ok(())
}

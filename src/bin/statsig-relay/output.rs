//! What the relay says: a line or two on stdout, and its logs on stderr.

use std::{
    env,
    fmt::Display,
    io::{self, IsTerminal, Write},
};

use tracing_subscriber::EnvFilter;

/// Says a line to whoever started the relay, who may have stopped listening.
pub(crate) fn say(line: impl Display) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// Says why the relay cannot go on.
pub(crate) fn complain(line: impl Display) {
    let _ = writeln!(io::stderr(), "statsig-relay: {line}");
}

/// Sends the logs to stderr: stdout is for what the relay has to say.
pub(crate) fn log_to_stderr() -> Result<(), String> {
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

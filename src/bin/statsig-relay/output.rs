//! What the relay says: a line or two on stdout, and its logs on stderr.

use std::{
    fmt::Display,
    io::{self, IsTerminal, Write},
};

use tracing_subscriber::EnvFilter;

use crate::args::Args;

/// What is logged where nobody says: the server would tell of each worker that starts or stops.
pub(crate) const USUAL_WHILE_SERVING: &str = "info,actix_server=warn";

/// A command says on its own what has to be said.
pub(crate) const USUAL_FOR_A_COMMAND: &str = "off";

/// Prints what was asked for: that it could not be written is a failure.
pub(crate) fn print(answer: impl Display) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{answer}")?;
    stdout.flush()
}

/// Says a line to whoever started the relay, who may have stopped listening.
pub(crate) fn say(line: impl Display) {
    let _ = print(line);
}

/// Says on stderr what is no part of a command's answer.
pub(crate) fn mention(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Says why the relay cannot go on.
pub(crate) fn complain(line: impl Display) {
    mention(format_args!("statsig-relay: {line}"));
}

/// Sends the logs to stderr: stdout is for what the relay has to say.
pub(crate) fn log_to_stderr(args: &Args, usual: &str) -> Result<(), String> {
    let filter = match args.given("log") {
        Some(given) => EnvFilter::try_new(given.text()?)
            .map_err(|error| given.cannot_be(&error.to_string()))?,
        None => EnvFilter::new(usual),
    };
    let format = args.given_or_default("log_format");
    // It would say on stderr that stderr cannot be written, which is a panic.
    let log = tracing_subscriber::fmt().log_internal_errors(false);
    let log = log.with_env_filter(filter).with_writer(io::stderr);
    match format.as_ref().map(|given| (given.text(), given)) {
        Some((Ok("json"), _)) => log.json().flatten_event(true).with_current_span(false).init(),
        Some((Ok("text"), _)) | None => log.with_ansi(io::stderr().is_terminal()).init(),
        Some((_, given)) => return Err(given.cannot_be("must be text or json")),
    }
    Ok(())
}

//! What the relay says: a line or two on stdout, and its logs on stderr.

use std::{
    any::Any,
    backtrace::{Backtrace, BacktraceStatus},
    fmt::Display,
    io::{self, IsTerminal, Write},
    panic, thread,
};

use tracing::Level;
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

/// Has panics logged like everything else: where each line is a JSON object, other lines are lost.
/// What is said of them is what is said without this.
pub(crate) fn log_panics() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if !tracing::enabled!(Level::ERROR) {
            return usual(info);
        }
        let thread = thread::current();
        let location = info.location().map(ToString::to_string);
        let backtrace = Backtrace::capture();
        let backtrace = (backtrace.status() == BacktraceStatus::Captured).then_some(backtrace);
        tracing::error!(
            thread = thread.name(),
            location,
            panic = words(info.payload()),
            backtrace = backtrace.map(tracing::field::display),
            "a panic"
        );
    }));
}

fn words(panic: &dyn Any) -> Option<&str> {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
}

#[cfg(test)]
mod tests {
    use std::{io::Read, panic::catch_unwind, thread};

    use serde_json::Value;

    use super::*;

    #[test]
    fn a_panic_is_a_line_of_the_log_with_its_place_and_thread() {
        log_panics();
        let (mut written, writer) = io::pipe().unwrap();
        let log = tracing_subscriber::fmt().json().flatten_event(true);
        let log = log.with_writer(move || writer.try_clone().unwrap()).finish();
        let panics = move || {
            tracing::subscriber::with_default(log, || {
                let _ = catch_unwind(|| panic!("lost {}", 7));
            });
        };
        thread::Builder::new().name("a-worker".to_owned()).spawn(panics).unwrap().join().unwrap();

        let mut text = String::new();
        written.read_to_string(&mut text).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        let line: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&line["level"], &line["thread"]), (&"ERROR".into(), &"a-worker".into()));
        assert_eq!((&line["message"], &line["panic"]), (&"a panic".into(), &"lost 7".into()));
        let place = line["location"].as_str().unwrap();
        assert!(place.starts_with("src/bin/statsig-relay/output.rs:"), "{place}");
    }
}

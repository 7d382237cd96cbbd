//! The relay's outputs: a line or two on stdout, and the log on stderr.

pub(crate) mod bad_requests;
mod line_writer;

use std::{
    any::Any,
    backtrace::{Backtrace, BacktraceStatus},
    fmt::Display,
    io::{self, IsTerminal, Write},
    panic,
    sync::OnceLock,
    thread,
    time::Duration,
};

use tracing::Level;
use tracing_subscriber::{
    EnvFilter, Layer, filter::ParseError, fmt::layer, layer::SubscriberExt, util::SubscriberInitExt,
};

use self::{bad_requests::BadRequestFilter, line_writer::LineWriter};
use crate::args::{LogFormat, LoggingOptions};

/// The default filter while serving. At `info`, the server library would log each worker's start
/// and stop.
pub(crate) const SERVING_FILTER: &str = "info,actix_server=warn";

/// The default filter of a command, which prints its errors itself.
pub(crate) const COMMAND_FILTER: &str = "off";

/// How long the process waits at its end for the reader of each output.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

const DROPPED: &str = "statsig_relay_log_lines_dropped_total";

/// `None` if the thread could not be started. Lines are then written directly.
static LOG: OnceLock<Option<LineWriter>> = OnceLock::new();

static STATUS: OnceLock<Option<LineWriter>> = OnceLock::new();

/// Prints a command's answer on stdout. Fails if it cannot be written.
pub(crate) fn print(answer: impl Display) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{answer}")?;
    stdout.flush()
}

/// Prints a line about the relay's state on stdout, without waiting for a reader.
pub(crate) fn print_status(line: impl Display) {
    let status =
        STATUS.get_or_init(|| LineWriter::start("statsig-status", io::stdout(), |_| {}).ok());
    match status {
        Some(status) => drop(status.push(format!("{line}\n").as_bytes())),
        None => drop(print(line)),
    }
}

/// Prints a line on stderr that is not part of a command's answer.
pub(crate) fn print_note(line: impl Display) {
    log(format!("{line}\n").as_bytes());
}

/// Prints why the process ends.
pub(crate) fn print_error(line: impl Display) {
    print_note(format_args!("statsig-relay: {line}"));
}

/// Waits until the outputs are written, but no longer than a limit, because a reader may have
/// stopped reading.
pub(crate) fn flush() {
    for lines in [&LOG, &STATUS].into_iter().filter_map(OnceLock::get).flatten() {
        lines.flush(FLUSH_LIMIT);
    }
}

pub(crate) fn describe() {
    metrics::describe_counter!(DROPPED, "Log lines dropped because their reader was too slow");
    metrics::counter!(DROPPED).increment(0);
}

/// Writes lines to stderr.
fn log(lines: &[u8]) {
    let log = LOG.get_or_init(|| LineWriter::start("statsig-log", io::stderr(), log_dropped).ok());
    match log {
        Some(log) if log.push(lines) => {}
        Some(_) => metrics::counter!(DROPPED).increment(1),
        None => drop(io::stderr().write_all(lines)),
    }
}

/// Logs the loss as an error, because errors may be among the dropped lines.
fn log_dropped(dropped: u64) {
    tracing::error!(dropped, "log lines were dropped because their reader was too slow");
}

/// A writer that receives each formatted event.
struct Log;

impl Write for Log {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        log(lines);
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Starts logging to stderr. Without `--log`, the default filter applies.
pub(crate) fn log_to_stderr(options: &LoggingOptions, default_filter: &str) -> Result<(), String> {
    let (text, filter) = match &options.log {
        Some(filter) => {
            let text = filter.get()?;
            let invalid = |error: ParseError| filter.invalid(&error.to_string());
            (text.clone(), EnvFilter::try_new(text).map_err(invalid)?)
        }
        None => (default_filter.to_owned(), EnvFilter::new(default_filter)),
    };
    let filter = BadRequestFilter::new(filter, &text);
    // Otherwise a failed write to stderr is reported on stderr, which panics.
    let log = layer().log_internal_errors(false).with_writer(|| Log);
    let log = match options.log_format.get()? {
        LogFormat::Json => log.json().flatten_event(true).with_current_span(false).boxed(),
        LogFormat::Text => log.with_ansi(io::stderr().is_terminal()).boxed(),
    };
    tracing_subscriber::registry().with(log).with(filter).init();
    Ok(())
}

/// Logs panics, as JSON if the log is JSON. If errors are not logged, prints panics as Rust does.
pub(crate) fn log_panics() {
    panic::set_hook(Box::new(|info| {
        let thread = thread::current();
        let backtrace = Backtrace::capture();
        let backtrace = (backtrace.status() == BacktraceStatus::Captured).then_some(backtrace);
        if !tracing::enabled!(Level::ERROR) {
            let (name, backtrace) = (thread.name().unwrap_or("<unnamed>"), backtrace.as_ref());
            let backtrace = backtrace.map(ToString::to_string).unwrap_or_default();
            return print_note(format_args!("thread '{name}' {info}\n{backtrace}"));
        }
        let location = info.location().map(ToString::to_string);
        tracing::error!(
            thread = thread.name(),
            location,
            panic = panic_message(info.payload()),
            backtrace = backtrace.map(tracing::field::display),
            "a panic"
        );
    }));
}

fn panic_message(panic: &dyn Any) -> Option<&str> {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
}

#[cfg(test)]
mod tests {
    use std::{io::Read, panic::catch_unwind, thread};

    use serde_json::Value;

    use super::*;

    #[test]
    fn panic_is_one_log_line_with_place_and_thread() {
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
        assert!(place.starts_with("src/bin/statsig-relay/output/mod.rs:"), "{place}");
    }
}

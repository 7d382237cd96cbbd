//! What the relay says: a line or two on stdout, and its logs on stderr.

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
    EnvFilter, Layer, fmt::layer, layer::SubscriberExt, util::SubscriberInitExt,
};

use self::{bad_requests::Counting, line_writer::Lines};
use crate::args::Args;

/// What is logged where nobody says: the server would tell of each worker that starts or stops.
pub(crate) const USUAL_WHILE_SERVING: &str = "info,actix_server=warn";

/// A command says on its own what has to be said.
pub(crate) const USUAL_FOR_A_COMMAND: &str = "off";

/// The longest the end of the process waits for what it said to be read, for each of its outputs.
const LAST_WORDS: Duration = Duration::from_secs(1);

const DROPPED: &str = "statsig_relay_log_lines_dropped_total";

/// None where its thread could not be started: then it is written directly.
static LOG: OnceLock<Option<Lines>> = OnceLock::new();

static SAID: OnceLock<Option<Lines>> = OnceLock::new();

/// Prints what was asked for: that it could not be written is a failure.
pub(crate) fn print(answer: impl Display) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{answer}")?;
    stdout.flush()
}

/// Says a line to whoever started the relay, who may have stopped listening.
pub(crate) fn say(line: impl Display) {
    let said = SAID.get_or_init(|| Lines::start("statsig-says", io::stdout(), |_| {}).ok());
    match said {
        Some(said) => drop(said.push(format!("{line}\n").as_bytes())),
        None => drop(print(line)),
    }
}

/// Says on stderr what is no part of a command's answer.
pub(crate) fn mention(line: impl Display) {
    log(format!("{line}\n").as_bytes());
}

/// Says why the relay cannot go on.
pub(crate) fn complain(line: impl Display) {
    mention(format_args!("statsig-relay: {line}"));
}

/// Waits for the outputs to take what was said, but for no reader that does not read.
pub(crate) fn flush() {
    for lines in [&LOG, &SAID].into_iter().filter_map(OnceLock::get).flatten() {
        lines.flush(LAST_WORDS);
    }
}

pub(crate) fn describe() {
    metrics::describe_counter!(DROPPED, "Log lines dropped because their reader was too slow");
    metrics::counter!(DROPPED).increment(0);
}

/// Has this written to stderr.
fn log(lines: &[u8]) {
    let log = LOG.get_or_init(|| Lines::start("statsig-log", io::stderr(), tell_dropped).ok());
    match log {
        Some(log) if log.push(lines) => {}
        Some(_) => metrics::counter!(DROPPED).increment(1),
        None => drop(io::stderr().write_all(lines)),
    }
}

/// As an error, for these may have been among what is lost.
fn tell_dropped(dropped: u64) {
    tracing::error!(dropped, "log lines were dropped, because their reader was too slow");
}

/// Takes what a subscriber writes: each event at once.
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

/// Sends the logs to stderr: stdout is for what the relay has to say.
pub(crate) fn log_to_stderr(args: &Args, usual: &str) -> Result<(), String> {
    let given = args.given("log");
    let wanted = given.map_or(Ok(usual), |given| given.text())?;
    let filter = match given {
        Some(given) => {
            EnvFilter::try_new(wanted).map_err(|error| given.cannot_be(&error.to_string()))?
        }
        None => EnvFilter::new(wanted),
    };
    let filter = Counting::new(filter, wanted);
    let format = args.given_or_default("log_format");
    // It would say on stderr that stderr cannot be written, which is a panic.
    let log = layer().log_internal_errors(false).with_writer(|| Log);
    let log = match format.as_ref().map(|given| (given.text(), given)) {
        Some((Ok("json"), _)) => log.json().flatten_event(true).with_current_span(false).boxed(),
        Some((Ok("text"), _)) | None => log.with_ansi(io::stderr().is_terminal()).boxed(),
        Some((_, given)) => return Err(given.cannot_be("must be text or json")),
    };
    tracing_subscriber::registry().with(log).with(filter).init();
    Ok(())
}

/// Has panics logged like everything else: where each line is a JSON object, other lines are lost.
/// Where errors are not logged, a panic is said all the same, as Rust says it.
pub(crate) fn log_panics() {
    panic::set_hook(Box::new(|info| {
        let thread = thread::current();
        let backtrace = Backtrace::capture();
        let backtrace = (backtrace.status() == BacktraceStatus::Captured).then_some(backtrace);
        if !tracing::enabled!(Level::ERROR) {
            let (name, backtrace) = (thread.name().unwrap_or("<unnamed>"), backtrace.as_ref());
            let backtrace = backtrace.map(ToString::to_string).unwrap_or_default();
            return mention(format_args!("thread '{name}' {info}\n{backtrace}"));
        }
        let location = info.location().map(ToString::to_string);
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
        assert!(place.starts_with("src/bin/statsig-relay/output/mod.rs:"), "{place}");
    }
}

//! What the machine lets one process have, file descriptors and threads, and what of it is left for
//! serving. What Statsig is asked with, the log and files come first: a relay that accepts whoever
//! comes and has nothing left to ask with answers nobody.

use std::{
    sync::{Arc, Mutex},
    thread,
};

use crate::args::Args;

/// With fewer file descriptors than these nothing is tried.
const FEWEST_FILES: usize = 64;

/// What is open in any case, and some to spare: outputs, listeners, the component's thread, files
/// that are read.
const OPEN_ANYWAY: usize = 32;

/// What a runtime has open: that of a worker, or of one of several transports. A worker may have a
/// connection beyond its share besides.
const OF_A_RUNTIME: usize = 5;

/// Connections to Statsig for each call in flight: one in use, and another that is being opened or
/// closed.
const OF_A_CALL: usize = 2;

/// Threads that are there in any case, and some to spare: those that resolve names come and go.
const THREADS_ANYWAY: usize = 16;

/// How many workers serve, and how many connections they have together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Shares {
    pub(crate) workers: usize,
    pub(crate) connections: usize,
}

/// Raises the soft limit of file descriptors to the hard one; an error where not even the process
/// itself has enough.
pub(crate) fn raise_files() -> Result<(), String> {
    // What cannot be raised stays as it is.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    match files() {
        Some(files) if files < FEWEST_FILES => Err(format!(
            "the limit of file descriptors, {files}, must be no less than {FEWEST_FILES}: raise it \
             (ulimit -n)"
        )),
        _ => Ok(()),
    }
}

/// Takes workers and connections down to what the machine's limits leave for them, with a warning.
pub(crate) fn fit(args: &Args, wanted: Shares) -> Result<Shares, String> {
    // The component refuses what is beyond its bounds, and says which they are.
    let number = |setting| Ok::<_, String>(args.number(setting)?.unwrap_or_default().min(1_024));
    let (in_flight, transports) = (number("max_in_flight")?, number("transports")?);
    // A stand-in in this process has the other end of each connection.
    let ends = if args.given("api_key").is_some() { 1 } else { 2 };
    let kept = OPEN_ANYWAY + in_flight * OF_A_CALL * ends + transports * OF_A_RUNTIME;
    let files = files().unwrap_or(usize::MAX);
    let fitting = wanted.within_files(files.saturating_sub(kept)).ok_or_else(|| {
        format!(
            "{} cannot be {in_flight}: the limit of file descriptors, {files}, is too low for so \
             many calls: raise it (ulimit -n)",
            args.name_of("max_in_flight"),
        )
    })?;
    let threads_anyway = THREADS_ANYWAY + transports;
    let threads = spawnable(fitting.workers + threads_anyway);
    let fitting =
        fitting.within_threads(threads.saturating_sub(threads_anyway)).ok_or_else(|| {
            format!(
                "the machine lets this process start {threads} threads, and it needs {}: raise the \
             limit (ulimit -u, or that of the container)",
                threads_anyway + 1
            )
        })?;
    let changes = [
        ("max_connections", wanted.connections, fitting.connections),
        ("workers", wanted.workers, fitting.workers),
    ];
    let changes = changes.into_iter().filter(|(_, wanted, fitting)| wanted != fitting);
    let changes: Vec<_> = changes
        .map(|(option, wanted, fitting)| {
            format!("{} from {wanted} to {fitting}", args.name_of(option))
        })
        .collect();
    if !changes.is_empty() {
        let changes = changes.join(", ");
        tracing::warn!(files, threads, "lowered to fit the machine's limits: {changes}");
    }
    Ok(fitting)
}

impl Shares {
    /// Of these file descriptors workers take half at most. None where there are too few.
    fn within_files(self, files: usize) -> Option<Self> {
        let most = files / 2 / OF_A_RUNTIME;
        let workers = (most > 0).then(|| self.workers.min(most))?;
        Some(Self { workers, connections: self.connections.min(files - workers * OF_A_RUNTIME) })
    }

    fn within_threads(self, threads: usize) -> Option<Self> {
        (threads > 0).then(|| Self { workers: self.workers.min(threads), ..self })
    }
}

/// The soft limit of file descriptors, where there is one.
#[cfg(unix)]
fn files() -> Option<usize> {
    let soft = rlimit::Resource::NOFILE.get_soft().ok()?;
    Some(usize::try_from(soft).unwrap_or(usize::MAX))
}

#[cfg(not(unix))]
fn files() -> Option<usize> {
    None
}

/// How many threads can be started, up to so many: the server library panics where one cannot. The
/// limits that there are, of users, containers and memory, are found out only by trying.
fn spawnable(most: usize) -> usize {
    let gate = Arc::new(Mutex::new(()));
    let closed = gate.lock();
    let waits = || {
        let gate = Arc::clone(&gate);
        move || drop(gate.lock())
    };
    let spawn = |_| thread::Builder::new().spawn(waits()).ok();
    let threads: Vec<_> = (0..most).map_while(spawn).collect();
    drop(closed);
    threads.into_iter().map(|thread| drop(thread.join())).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_serves_fits_into_what_is_left_and_is_no_less_than_it_has_to_be(
            workers in 1usize..=512,
            more in 0usize..20_000,
            files in 0usize..20_000,
            threads in 0usize..600,
        ) {
            let wanted = Shares { workers, connections: workers + more };
            let fitting = wanted.within_files(files);
            let fitting = fitting.and_then(|shares| shares.within_threads(threads));
            prop_assert_eq!(fitting.is_none(), files < 2 * OF_A_RUNTIME || threads == 0);
            let Some(Shares { workers, connections }) = fitting else { return Ok(()) };
            prop_assert!((1..=wanted.workers.min(threads)).contains(&workers));
            prop_assert!((workers..=wanted.connections).contains(&connections));
            prop_assert!(workers * OF_A_RUNTIME + connections <= files);
            // Something gave way only because nothing more would have fitted.
            let is_tight = workers * OF_A_RUNTIME + connections + OF_A_RUNTIME * 2 > files / 2;
            prop_assert!(fitting == Some(wanted) || is_tight || workers == threads);
        }
    }

    #[test]
    fn threads_are_counted_by_starting_them() {
        assert_eq!(spawnable(20), 20);
        assert_eq!(spawnable(0), 0);
    }
}

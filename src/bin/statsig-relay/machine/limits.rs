//! The process's limits on file descriptors and threads, and the share of them that serving gets.
//!
//! Calls to Statsig, the log and files come first. A relay that accepts connections but has no
//! descriptor left for calls could not answer any request.

use std::{
    sync::{Arc, Mutex},
    thread,
};

/// The fewest file descriptors with which the relay starts.
const MIN_FILES: usize = 64;

/// Descriptors that are always open, with some to spare: outputs, listeners, the component's
/// thread, and files that are read.
const BASE_FILES: usize = 32;

/// Descriptors of one runtime: of a worker, or of one of several transports. For a worker this
/// includes a connection beyond its share.
const FILES_PER_RUNTIME: usize = 5;

/// Connections to Statsig for each call in flight: one in use, and one that is being opened or
/// closed.
const FILES_PER_CALL: usize = 2;

/// Threads that always run, with some to spare: threads that resolve names come and go.
const BASE_THREADS: usize = 16;

/// The most transports and calls that the component accepts. It reports larger settings itself.
const MAX_SETTING: usize = 1_024;

/// The number of workers, and the number of connections that they serve together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Capacity {
    pub(crate) workers: usize,
    pub(crate) connections: usize,
}

/// The resources needed for calls to Statsig.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Needs {
    pub(crate) in_flight: usize,
    pub(crate) transports: usize,
    /// Whether a stand-in in this process holds the other end of each connection.
    pub(crate) has_stand_in: bool,
}

/// The flags or variables to name in messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origins<'a> {
    pub(crate) workers: &'a str,
    pub(crate) connections: &'a str,
    pub(crate) in_flight: &'a str,
}

/// Raises the soft limit of file descriptors to the hard limit. Fails if even the hard limit is too
/// low for the process.
pub(crate) fn raise_file_limit() -> Result<(), String> {
    // On failure the limit stays as it is.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    match file_limit() {
        Some(files) if files < MIN_FILES => Err(format!(
            "the limit of file descriptors, {files}, must be no less than {MIN_FILES}: raise it \
             (ulimit -n)"
        )),
        _ => Ok(()),
    }
}

/// Lowers the capacity to fit the machine's limits, with a warning.
pub(crate) fn fit(
    wanted: Capacity,
    needs: Needs,
    origins: Origins<'_>,
) -> Result<Capacity, String> {
    let in_flight = needs.in_flight.min(MAX_SETTING);
    let transports = needs.transports.min(MAX_SETTING);
    let ends = if needs.has_stand_in { 2 } else { 1 };
    let reserved = BASE_FILES + in_flight * FILES_PER_CALL * ends + transports * FILES_PER_RUNTIME;
    let files = file_limit().unwrap_or(usize::MAX);
    let fitted = wanted.within_files(files.saturating_sub(reserved)).ok_or_else(|| {
        format!(
            "{} cannot be {in_flight}: the limit of file descriptors, {files}, is too low for so \
             many calls: raise it (ulimit -n)",
            origins.in_flight,
        )
    })?;
    let base_threads = BASE_THREADS + transports;
    let threads = count_startable_threads(fitted.workers + base_threads);
    let fitted = fitted.within_threads(threads.saturating_sub(base_threads)).ok_or_else(|| {
        format!(
            "this process can start {threads} threads and needs {}: raise the limit (ulimit -u, \
             or the container's)",
            base_threads + 1
        )
    })?;
    let changes = [
        (origins.connections, wanted.connections, fitted.connections),
        (origins.workers, wanted.workers, fitted.workers),
    ];
    let changes = changes.into_iter().filter(|(_, wanted, fitted)| wanted != fitted);
    let changes: Vec<_> = changes
        .map(|(origin, wanted, fitted)| format!("{origin} from {wanted} to {fitted}"))
        .collect();
    if !changes.is_empty() {
        let changes = changes.join(", ");
        tracing::warn!(files, threads, "lowered to fit the machine's limits: {changes}");
    }
    Ok(fitted)
}

impl Capacity {
    /// Gives workers at most half of these file descriptors. Returns `None` if there are too few.
    fn within_files(self, files: usize) -> Option<Self> {
        let max_workers = files / 2 / FILES_PER_RUNTIME;
        let workers = (max_workers > 0).then(|| self.workers.min(max_workers))?;
        let left = files - workers * FILES_PER_RUNTIME;
        Some(Self { workers, connections: self.connections.min(left) })
    }

    fn within_threads(self, threads: usize) -> Option<Self> {
        (threads > 0).then(|| Self { workers: self.workers.min(threads), ..self })
    }
}

/// Returns the soft limit of file descriptors, if there is one.
#[cfg(unix)]
fn file_limit() -> Option<usize> {
    let soft = rlimit::Resource::NOFILE.get_soft().ok()?;
    Some(usize::try_from(soft).unwrap_or(usize::MAX))
}

#[cfg(not(unix))]
fn file_limit() -> Option<usize> {
    None
}

/// Returns how many threads the process can start, up to `max`, because the server library panics
/// if it cannot start one. Only starting threads reveals the limits of users, containers and
/// memory.
fn count_startable_threads(max: usize) -> usize {
    let gate = Arc::new(Mutex::new(()));
    let closed = gate.lock();
    let wait = || {
        let gate = Arc::clone(&gate);
        move || drop(gate.lock())
    };
    let spawn = |_| thread::Builder::new().spawn(wait()).ok();
    let threads: Vec<_> = (0..max).map_while(spawn).collect();
    drop(closed);
    threads.into_iter().map(|thread| drop(thread.join())).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn connections_and_workers_fit_the_files_that_are_left(
            workers in 1usize..=512,
            more in 0usize..20_000,
            files in 0usize..20_000,
            threads in 0usize..600,
        ) {
            let wanted = Capacity { workers, connections: workers + more };
            let fitting = wanted.within_files(files);
            let fitting = fitting.and_then(|capacity| capacity.within_threads(threads));
            prop_assert_eq!(fitting.is_none(), files < 2 * FILES_PER_RUNTIME || threads == 0);
            let Some(Capacity { workers, connections }) = fitting else { return Ok(()) };
            prop_assert!((1..=wanted.workers.min(threads)).contains(&workers));
            prop_assert!((workers..=wanted.connections).contains(&connections));
            prop_assert!(workers * FILES_PER_RUNTIME + connections <= files);
            // A number is lowered only if no more would fit.
            let is_tight = workers * FILES_PER_RUNTIME + connections + FILES_PER_RUNTIME * 2 > files / 2;
            prop_assert!(fitting == Some(wanted) || is_tight || workers == threads);
        }
    }

    #[test]
    fn threads_are_counted_by_starting_them() {
        assert_eq!(count_startable_threads(20), 20);
        assert_eq!(count_startable_threads(0), 0);
    }
}

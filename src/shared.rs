//! What the handle and the actors share.

use std::sync::{OnceLock, atomic::Ordering::Relaxed};

use crate::{
    admission::Admission, config::Config, error::Error, messages::ShutdownReport, stats::Counters,
};

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) admission: Admission,
    pub(crate) counters: Counters,
    report: OnceLock<ShutdownReport>,
}

impl Shared {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            admission: Admission::new(config.max_pending()),
            counters: Counters::default(),
            report: OnceLock::new(),
        }
    }

    pub(crate) fn ended_with(&self, report: ShutdownReport) {
        // What was cut off is not there any more.
        self.counters.buffered.store(0, Relaxed);
        self.counters.in_flight.store(0, Relaxed);
        // The first end counts; there is no second.
        let _ = self.report.set(report);
    }

    /// The report of the shutdown that ended the component, if one did.
    pub(crate) fn report(&self) -> Option<ShutdownReport> {
        self.report.get().copied()
    }

    /// Why the mailbox is closed.
    pub(crate) fn why_closed(&self) -> Error {
        if self.report.get().is_some() { Error::ShuttingDown } else { Error::Closed }
    }
}

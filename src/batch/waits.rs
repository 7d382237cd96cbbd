//! Who waits for requests to end: the senders of `Flush` and of `Shutdown`.

use std::{collections::HashSet, time::Instant};

use super::{buffer::RequestId, reply::Audience};
use crate::messages::ShutdownReport;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Answered,
    Failed,
    /// Its caller had left.
    Abandoned,
    /// At the limit of a shutdown.
    CutOff,
}

#[derive(Default)]
pub(crate) struct Waits {
    flushes: Vec<(HashSet<RequestId>, Audience<()>)>,
    drain: Option<Drain>,
}

struct Drain {
    deadline: Instant,
    report: ShutdownReport,
    audience: Audience<ShutdownReport>,
}

impl Waits {
    /// Somebody waits for these requests to end.
    pub(crate) fn for_flush(&mut self, requests: HashSet<RequestId>) -> Audience<()> {
        let audience = Audience::default();
        self.flushes.push((requests, audience.clone()));
        audience
    }

    /// Somebody waits for everything to end; true if this is the first. The shortest limit counts.
    pub(crate) fn for_shutdown(&mut self, pending: usize, deadline: Instant) -> bool {
        if let Some(drain) = &mut self.drain {
            drain.deadline = drain.deadline.min(deadline);
            return false;
        }
        let report = ShutdownReport { pending: pending as u64, ..ShutdownReport::default() };
        self.drain = Some(Drain { deadline, report, audience: Audience::default() });
        true
    }

    /// The senders of `Shutdown`.
    pub(crate) fn shutdown_audience(&self) -> Audience<ShutdownReport> {
        self.drain.as_ref().map(|drain| drain.audience.clone()).unwrap_or_default()
    }

    /// When what is pending is cut off, if a shutdown has begun.
    pub(crate) fn drain_deadline(&self) -> Option<Instant> {
        self.drain.as_ref().map(|drain| drain.deadline)
    }

    pub(crate) fn ended(&mut self, request: RequestId, ending: Ending) {
        for (requests, _) in &mut self.flushes {
            requests.remove(&request);
        }
        if let Some(drain) = &mut self.drain {
            *match ending {
                Ending::Answered => &mut drain.report.answered,
                Ending::Failed => &mut drain.report.failed,
                Ending::Abandoned => &mut drain.report.abandoned,
                Ending::CutOff => &mut drain.report.cut_off,
            } += 1;
        }
    }

    /// Tells those whose wait is over. Returns the report of a shutdown that has nothing left to
    /// wait for.
    pub(crate) fn settle(&mut self, nothing_pending: bool) -> Option<ShutdownReport> {
        self.flushes.retain(|(requests, audience)| {
            if requests.is_empty() {
                audience.tell(&());
            }
            !requests.is_empty()
        });
        let drain = self.drain.as_ref().filter(|_| nothing_pending)?;
        drain.audience.tell(&drain.report);
        Some(drain.report)
    }
}

//! Tracks which requests must end before a `Flush` or a `Shutdown` is answered.

use std::time::Instant;

use slotmap::{SecondaryMap, SlotMap, new_key_type};
use smallvec::SmallVec;

use super::reply::SharedReply;
use crate::{batch::buffer::group::RequestId, message::ShutdownReport, model::error::Error};

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestOutcome {
    Answered,
    Failed,
    /// The caller had left.
    Abandoned,
    /// The request was still pending at the shutdown deadline.
    CutOff,
}

impl RequestOutcome {
    pub(crate) fn of(result: &Result<(), Error>, is_received: bool) -> Self {
        match result {
            _ if !is_received => Self::Abandoned,
            Ok(()) => Self::Answered,
            Err(Error::ShuttingDown) => Self::CutOff,
            Err(_) => Self::Failed,
        }
    }
}

#[derive(Default)]
pub(crate) struct DrainTracker {
    flushes: SlotMap<FlushId, PendingFlush>,
    /// The flushes that wait for each request.
    flushes_of: SecondaryMap<RequestId, SmallVec<[FlushId; 1]>>,
    shutdown: Option<PendingShutdown>,
}

new_key_type! {
    struct FlushId;
}

struct PendingFlush {
    /// Requests that the flush waits for, repeats included.
    requests: usize,
    reply: SharedReply<()>,
}

struct PendingShutdown {
    deadline: Instant,
    report: ShutdownReport,
    reply: SharedReply<ShutdownReport>,
}

impl DrainTracker {
    /// Begins to track a flush of these requests. A request may occur more than once.
    pub(crate) fn begin_flush(
        &mut self,
        requests: impl Iterator<Item = RequestId>,
    ) -> SharedReply<()> {
        let reply = SharedReply::default();
        let id = self.flushes.insert(PendingFlush { requests: 0, reply: reply.clone() });
        for request in requests {
            if let Some(flushes) = self.flushes_of.entry(request) {
                flushes.or_default().push(id);
                self.flushes[id].requests += 1;
            }
        }
        self.end_flush_if_drained(id);
        reply
    }

    /// Begins to track a shutdown, or joins the one in progress. The earliest deadline applies.
    pub(crate) fn begin_shutdown(
        &mut self,
        pending: usize,
        deadline: Instant,
    ) -> SharedReply<ShutdownReport> {
        let report = ShutdownReport { pending: pending as u64, ..ShutdownReport::default() };
        let begin = || PendingShutdown { deadline, report, reply: SharedReply::default() };
        let shutdown = self.shutdown.get_or_insert_with(begin);
        shutdown.deadline = shutdown.deadline.min(deadline);
        shutdown.reply.clone()
    }

    /// When to refuse the remaining requests, if a shutdown has begun.
    pub(crate) fn shutdown_deadline(&self) -> Option<Instant> {
        self.shutdown.as_ref().map(|shutdown| shutdown.deadline)
    }

    pub(crate) fn request_ended(&mut self, request: RequestId, outcome: RequestOutcome) {
        if let Some(PendingShutdown { report, .. }) = &mut self.shutdown {
            *match outcome {
                RequestOutcome::Answered => &mut report.answered,
                RequestOutcome::Failed => &mut report.failed,
                RequestOutcome::Abandoned => &mut report.abandoned,
                RequestOutcome::CutOff => &mut report.cut_off,
            } += 1;
        }
        for flush in self.flushes_of.remove(request).into_iter().flatten() {
            self.flushes[flush].requests -= 1;
            self.end_flush_if_drained(flush);
        }
    }

    fn end_flush_if_drained(&mut self, flush: FlushId) {
        if self.flushes[flush].requests == 0
            && let Some(flush) = self.flushes.remove(flush)
        {
            flush.reply.resolve(&());
        }
    }

    /// Answers the senders of `Shutdown` now that no request is pending. Returns the report, or
    /// `None` if no shutdown has begun.
    pub(crate) fn end_shutdown(&self) -> Option<ShutdownReport> {
        let PendingShutdown { report, reply, .. } = self.shutdown.as_ref()?;
        reply.resolve(report);
        Some(*report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flush_ends_when_each_of_its_requests_has_ended() {
        let mut requests = SlotMap::<RequestId, ()>::with_key();
        let [shared, alone] = [(); 2].map(|()| requests.insert(()));
        let mut drains = DrainTracker::default();
        let both = drains.begin_flush([shared, shared, alone].into_iter());
        let one = drains.begin_flush([shared].into_iter());
        assert!(!both.is_resolved() && !one.is_resolved());

        drains.request_ended(shared, RequestOutcome::Answered);
        assert!(!both.is_resolved() && one.is_resolved());
        drains.request_ended(shared, RequestOutcome::Answered);
        drains.request_ended(alone, RequestOutcome::Abandoned);
        assert!(both.is_resolved());

        let none = drains.begin_flush([].into_iter());
        assert!(none.is_resolved(), "there is nothing to wait for");
        assert_eq!((drains.end_shutdown(), drains.flushes.len()), (None, 0));
    }
}

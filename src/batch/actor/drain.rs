//! Who waits for requests to end: the senders of `Flush` and of `Shutdown`.

use std::time::Instant;

use slotmap::{SecondaryMap, SlotMap, new_key_type};
use smallvec::SmallVec;

use super::reply::SharedReply;
use crate::{batch::buffer::group::RequestId, message::ShutdownReport};

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestOutcome {
    Answered,
    Failed,
    /// Its caller had left.
    Abandoned,
    /// At the limit of a shutdown.
    CutOff,
}

#[derive(Default)]
pub(crate) struct DrainTracker {
    flushes: SlotMap<FlushId, Flush>,
    /// The flushes that wait for a request.
    flushes_of: SecondaryMap<RequestId, SmallVec<[FlushId; 1]>>,
    /// Those who wait for nothing any more, and have not been told.
    over: Vec<SharedReply<()>>,
    drain: Option<Drain>,
}

new_key_type! {
    struct FlushId;
}

struct Flush {
    pending: usize,
    reply: SharedReply<()>,
}

struct Drain {
    deadline: Instant,
    report: ShutdownReport,
    reply: SharedReply<ShutdownReport>,
}

impl DrainTracker {
    /// Somebody waits for these requests to end, some of which may be named more than once.
    pub(crate) fn for_flush(
        &mut self,
        requests: impl Iterator<Item = RequestId>,
    ) -> SharedReply<()> {
        let reply = SharedReply::default();
        let id = self.flushes.insert(Flush { pending: 0, reply: reply.clone() });
        for request in requests {
            if let Some(flushes) = self.flushes_of.entry(request) {
                flushes.or_default().push(id);
                self.flushes[id].pending += 1;
            }
        }
        self.note_if_over(id);
        reply
    }

    /// Somebody waits for everything to end; true if this is the first. The shortest limit counts.
    pub(crate) fn for_shutdown(&mut self, pending: usize, deadline: Instant) -> bool {
        if let Some(drain) = &mut self.drain {
            drain.deadline = drain.deadline.min(deadline);
            return false;
        }
        let report = ShutdownReport { pending: pending as u64, ..ShutdownReport::default() };
        self.drain = Some(Drain { deadline, report, reply: SharedReply::default() });
        true
    }

    /// The senders of `Shutdown`.
    pub(crate) fn shutdown_audience(&self) -> SharedReply<ShutdownReport> {
        self.drain.as_ref().map(|drain| drain.reply.clone()).unwrap_or_default()
    }

    /// When what is pending is cut off, if a shutdown has begun.
    pub(crate) fn drain_deadline(&self) -> Option<Instant> {
        self.drain.as_ref().map(|drain| drain.deadline)
    }

    pub(crate) fn ended(&mut self, request: RequestId, ending: RequestOutcome) {
        for flush in self.flushes_of.remove(request).into_iter().flatten() {
            self.flushes[flush].pending -= 1;
            self.note_if_over(flush);
        }
        if let Some(drain) = &mut self.drain {
            *match ending {
                RequestOutcome::Answered => &mut drain.report.answered,
                RequestOutcome::Failed => &mut drain.report.failed,
                RequestOutcome::Abandoned => &mut drain.report.abandoned,
                RequestOutcome::CutOff => &mut drain.report.cut_off,
            } += 1;
        }
    }

    fn note_if_over(&mut self, flush: FlushId) {
        if self.flushes[flush].pending == 0 {
            self.over.extend(self.flushes.remove(flush).map(|flush| flush.reply));
        }
    }

    /// Tells those whose wait is over. Returns the report of a shutdown that has nothing left to
    /// wait for.
    pub(crate) fn settle(&mut self, nothing_pending: bool) -> Option<ShutdownReport> {
        for reply in self.over.drain(..) {
            reply.tell(&());
        }
        let drain = self.drain.as_ref().filter(|_| nothing_pending)?;
        drain.reply.tell(&drain.report);
        Some(drain.report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flush_is_over_when_each_of_its_requests_has_ended_whoever_else_waits_for_them() {
        let mut requests = SlotMap::<RequestId, ()>::with_key();
        let [shared, alone] = [(); 2].map(|()| requests.insert(()));
        let mut drains = DrainTracker::default();
        let over = |drains: &DrainTracker| drains.over.len();
        drains.for_flush([shared, shared, alone].into_iter());
        drains.for_flush([shared].into_iter());
        assert_eq!(over(&drains), 0);

        drains.ended(shared, RequestOutcome::Answered);
        assert_eq!(over(&drains), 1, "the second");
        drains.ended(shared, RequestOutcome::Answered);
        drains.ended(alone, RequestOutcome::Abandoned);
        assert_eq!(over(&drains), 2);

        drains.for_flush([].into_iter());
        assert_eq!(over(&drains), 3, "there is nothing to wait for");
        assert_eq!(drains.settle(true), None);
        assert_eq!((over(&drains), drains.flushes.len()), (0, 0));
    }
}

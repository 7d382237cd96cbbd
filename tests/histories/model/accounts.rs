//! Whether the counters match what happened, and nothing is left behind.

use std::{
    collections::{BTreeMap, HashSet},
    time::{Duration, Instant},
};

use actix_statsig::{ShutdownReport, Stats};

use super::{End, MOMENT, Model, Request, Shutdown};

impl Model {
    pub(crate) fn shutdown_began(&mut self, limit: Duration, now: Instant) -> usize {
        self.shutdowns.push(Shutdown { began: now, deadline: now + limit, report: None });
        self.shutdowns.len() - 1
    }

    pub(crate) fn shut_down(&mut self, shutdown: usize, report: ShutdownReport, now: Instant) {
        self.trace.push(format!("{report:?}"));
        let deadline = self.shutdowns.iter().map(|shutdown| shutdown.deadline).min();
        let deadline = deadline.expect("it began").max(self.shutdowns[shutdown].began);
        let parts = report.answered + report.failed + report.abandoned + report.cut_off;
        if report.pending != parts {
            self.violation(format_args!("the report does not add up: {report:?}"));
        }
        if now > deadline + MOMENT + self.rests() {
            self.violation(format_args!("shut down {:?} after the limit", now - deadline));
        }
        if report.cut_off > 0 && now < deadline {
            self.violation(format_args!("cut off {:?} before the limit", deadline - now));
        }
        self.shutdowns[shutdown].report = Some(report);
        if self.shutdowns.iter().any(|other| other.report.is_some_and(|other| other != report)) {
            self.violation(format_args!("shutdown reports differ, one of them is {report:?}"));
        }
    }

    /// Checks in the middle of the work, after all messages so far were handled.
    pub(crate) fn look(&mut self) {
        if !self.rests().is_zero() {
            return;
        }
        let waiting = self.requests.iter().filter(|request| request.end.is_none());
        let names: usize = waiting.map(|request| request.names.len()).sum();
        let max = self.settings.max_pending;
        if names > max {
            self.violation(format_args!("{names} names are pending, more than {max}"));
        }
    }

    /// Checks at a moment when nothing is pending.
    pub(crate) fn quiet(&mut self, stats: &Stats) {
        self.trace.push(format!("{stats:?}"));
        let unanswered = self.requests.iter().filter(|request| request.end.is_none()).count();
        if unanswered > 0 {
            self.violation(format_args!("{unanswered} requests without an answer"));
        }
        if (stats.buffered, stats.in_flight) != (0, 0) {
            self.violation(format_args!("quiet, but something is pending: {stats:?}"));
        }
        let ended = stats.answered + stats.errors.values().sum::<u64>() + stats.abandoned;
        if stats.requests != ended {
            self.violation(format_args!("{} requests, but {ended} ended", stats.requests));
        }
        if stats.restarts > self.armed_in_all {
            self.violation(format_args!("{} restarts, more than armed panics", stats.restarts));
        }
        if self.shutdowns.is_empty() {
            self.compare(stats);
        }
        self.look_at_panics();
        let doubt = self.doubt();
        for call in self.calls.iter_mut().rev().take_while(|call| call.doubt.is_none()) {
            call.doubt = Some(doubt);
        }
        self.ghosts = 0;
        self.armed.clear();
        self.broken.clear();
    }

    /// Compares the counters with what the callers got. How abandoned requests ended is unknown.
    fn compare(&mut self, stats: &Stats) {
        let left = |request: &&Request| !matches!(request.end, Some(End::Answered(_)));
        let unknown = || self.requests.iter().filter(left);
        let requests = unknown().count() as u64;
        let names = unknown().map(|request| request.names.len() as u64).sum::<u64>();
        let all = self.requests.iter().map(|request| request.names.len() as u64).sum::<u64>();
        let told = |word| self.told.get(word).copied().unwrap_or_default();
        let given = |word| self.sources.get(word).copied().unwrap_or_default();

        let sent = self.requests.len() as u64;
        let mut counts = vec![
            ("answered", stats.answered, told("answered"), requests),
            ("requests", stats.requests, sent - requests, requests),
            ("abandoned", stats.abandoned, 0, requests),
            ("names", stats.names, all - names, names),
            ("cached", stats.cached, given("from the cache") + given("stale"), names),
            ("stale", stats.stale, given("stale"), names),
        ];
        let errors: BTreeMap<_, _> =
            stats.errors.iter().map(|(kind, count)| (kind.as_str(), *count)).collect();
        let kinds: HashSet<_> = errors.keys().chain(self.told.keys()).copied().collect();
        for kind in kinds.into_iter().filter(|kind| *kind != "answered") {
            let counted = errors.get(kind).copied().unwrap_or_default();
            counts.push((kind, counted, told(kind), requests));
        }
        for (what, counted, seen, unknown) in counts {
            if !(seen..=seen + unknown).contains(&counted) {
                self.violation(format_args!(
                    "{what}: {counted} counted, {seen} seen, and {unknown} abandoned"
                ));
            }
        }
    }

    /// A panic fails only the requests that had a part in it.
    fn look_at_panics(&mut self) {
        for (what, failpoint) in [("handler", "batch.request"), ("completion", "batch.completion")]
        {
            let broken = self.broken.iter().filter(|(detail, ..)| detail.contains(what));
            let broken = match what {
                "handler" => broken.count(),
                // One for all requests that waited for the same call.
                _ => broken.map(|(_, lane, at)| (lane, at)).collect::<HashSet<_>>().len(),
            };
            let armed = self.armed.get(failpoint).copied().unwrap_or_default();
            if broken as u64 > armed {
                let panics = format!("{armed} panics at {failpoint}");
                self.violation(format_args!("{panics} failed {broken} requests or calls"));
            }
        }
    }
}

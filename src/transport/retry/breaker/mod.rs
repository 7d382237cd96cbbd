//! The circuit breaker: decides whether to attempt calls while the server fails. Pure: `now` is
//! passed in.

mod failure_streak;
#[cfg(test)]
mod tests;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use self::failure_streak::FailureStreak;
use crate::{
    model::{error::Error, user::User},
    telemetry::stats::BreakerState,
};

/// Opens after a streak of failures. Sends probes while open, and closes at the first answer.
///
/// Ignores failures that started before the last answer: that answer already disproved them.
///
/// Some failures may be one user's trouble alone. Such failures of a single user do not open the
/// breaker. Instead they start a probe on behalf of no user, and the probe decides.
#[derive(Debug)]
pub(crate) struct Breaker {
    state: State,
    last_answer: Option<Instant>,
    attempt_timeout: Duration,
}

#[derive(Debug)]
enum State {
    Closed(FailureStreak),
    Open(Outage),
}

#[derive(Debug)]
struct Outage {
    cause: Arc<Error>,
    next_probe_at: Instant,
    running_probes: Vec<Probe>,
    /// The latest failed probe timed out.
    last_probe_timed_out: bool,
    /// When the latest failed probe started.
    failed_probe: Option<Instant>,
}

/// A request to the server on behalf of no user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Probe {
    pub(crate) started: Instant,
    pub(crate) limit: Duration,
}

/// The time from the start of one probe to the start of the next.
const PROBE_INTERVAL: Duration = Duration::from_millis(500);

/// The longest that a probe may take while calls wait for its outcome.
const QUICK_PROBE_LIMIT: Duration = Duration::from_secs(1);

/// The longest that a call waits for the outcome of a probe: the time until the next probe starts,
/// that probe's limit, and some slack for a busy machine.
pub(crate) const MAX_PROBE_WAIT: Duration = Duration::from_secs(2);

/// Probes continue for this long after the app's last request.
pub(crate) const PROBING_PERIOD: Duration = Duration::from_secs(30);

/// A probe counts as lost if it has not reported this long after its limit.
const LOST_PROBE_GRACE: Duration = Duration::from_secs(1);

impl Breaker {
    pub(crate) fn new(attempt_timeout: Duration) -> Self {
        let state = State::Closed(FailureStreak::default());
        Self { state, last_answer: None, attempt_timeout }
    }

    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed(_))
    }

    pub(crate) fn state(&self) -> BreakerState {
        match &self.state {
            State::Closed(_) => BreakerState::Closed,
            State::Open(outage) if outage.running_probes.is_empty() => BreakerState::Open,
            State::Open(_) => BreakerState::HalfOpen,
        }
    }

    /// If the breaker is open, returns when the latest failed probe started, and why the breaker is
    /// open.
    pub(crate) fn outage(&self) -> Option<(Option<Instant>, &Arc<Error>)> {
        match &self.state {
            State::Open(outage) => Some((outage.failed_probe, &outage.cause)),
            State::Closed(_) => None,
        }
    }

    /// Records that the server answered a call of any user, even with a refusal.
    pub(crate) fn on_answer(&mut self, now: Instant) {
        self.state = State::Closed(FailureStreak::default());
        self.last_answer = Some(now);
    }

    /// Records that an attempt of this user failed because of the server or the network.
    pub(crate) fn on_failure(
        &mut self,
        user: &User,
        of_any_user: bool,
        error: &Error,
        started: Instant,
        now: Instant,
    ) {
        if self.last_answer.is_some_and(|at| started < at) {
            return;
        }
        // An open breaker learns only from probes: this attempt started before it opened.
        let State::Closed(streak) = &mut self.state else { return };
        streak.count(user, of_any_user);
        if streak.opens_breaker() {
            self.open(error, now);
        }
    }

    /// Returns the probes to start now. `last_request` is when the app last asked for something.
    pub(crate) fn start_probes(
        &mut self,
        last_request: Option<Instant>,
        now: Instant,
    ) -> Vec<Probe> {
        let patient = Probe { started: now, limit: self.attempt_timeout };
        let quick = Probe { limit: self.attempt_timeout.min(QUICK_PROBE_LIMIT), ..patient };
        match &mut self.state {
            State::Closed(streak) => {
                let is_probing = streak.probe.is_some_and(|probe| !probe.is_lost(now));
                if !streak.needs_probe() || is_probing {
                    return Vec::new();
                }
                streak.probe = Some(patient);
                vec![patient]
            }
            State::Open(outage) => {
                if outage.next_probe_at > now || !is_recent(last_request, now) {
                    return Vec::new();
                }
                outage.next_probe_at = now + PROBE_INTERVAL;
                outage.running_probes.retain(|probe| !probe.is_lost(now));
                let mut probes = vec![quick];
                // A slow server needs a patient probe. It runs in parallel with the quick ones,
                // because a lost packet may delay it, and calls must not wait for it.
                let is_patient = |probe: &Probe| probe.limit > QUICK_PROBE_LIMIT;
                let has_patient = outage.running_probes.iter().any(is_patient);
                if outage.last_probe_timed_out && is_patient(&patient) && !has_patient {
                    probes.push(patient);
                }
                outage.running_probes.extend(&probes);
                probes
            }
        }
    }

    /// Records that a probe failed because of the server or the network.
    pub(crate) fn on_probe_failure(&mut self, probe: Probe, error: &Error, now: Instant) {
        let decides = matches!(&self.state, State::Closed(streak) if streak.probe == Some(probe));
        self.on_probe_lost(probe);
        if decides {
            return self.open(error, now);
        }
        // If the breaker is closed, an answer arrived before this failure.
        if let State::Open(outage) = &mut self.state
            && self.last_answer.is_none_or(|at| probe.started >= at)
        {
            outage.cause = Arc::new(error.clone());
            outage.last_probe_timed_out = matches!(error, Error::AttemptTimeout { .. });
            outage.failed_probe = outage.failed_probe.max(Some(probe.started));
        }
    }

    /// Records that a probe ended without saying anything about the server.
    pub(crate) fn on_probe_lost(&mut self, probe: Probe) {
        match &mut self.state {
            State::Closed(streak) => {
                streak.probe.take_if(|running| *running == probe);
            }
            State::Open(outage) => outage.running_probes.retain(|running| *running != probe),
        }
    }

    /// When to call [`start_probes`](Self::start_probes) next.
    pub(crate) fn next_probe_at(
        &self,
        last_request: Option<Instant>,
        now: Instant,
    ) -> Option<Instant> {
        match &self.state {
            State::Open(outage) if is_recent(last_request, now) => Some(outage.next_probe_at),
            _ => None,
        }
    }

    fn open(&mut self, error: &Error, now: Instant) {
        self.state = State::Open(Outage {
            cause: Arc::new(error.clone()),
            next_probe_at: now + PROBE_INTERVAL,
            running_probes: Vec::new(),
            last_probe_timed_out: false,
            failed_probe: None,
        });
    }
}

impl Probe {
    fn is_lost(&self, now: Instant) -> bool {
        self.started + self.limit + LOST_PROBE_GRACE <= now
    }
}

fn is_recent(last_request: Option<Instant>, now: Instant) -> bool {
    last_request.is_some_and(|at| now < at + PROBING_PERIOD)
}

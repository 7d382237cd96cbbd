//! Statsig's health as all transports see it, and what it means for the next attempt. Pure.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{
    breaker::{Breaker, PROBING_PERIOD, Probe},
    budget::RetryBudget,
    classify::{ErrorClass, classify},
    known_mismatches::KnownMismatches,
    server_pause::{PauseCheck, ServerPause},
};
use crate::{
    config::Config,
    message::call::CallRequest,
    model::{error::Error, user::User},
    telemetry::stats::BreakerState,
};

/// What the transports know about the server. All of them share it, because they call the same server.
#[derive(Debug)]
pub(crate) struct SharedHealth {
    state: Mutex<ServerState>,
    breaker_updates: watch::Sender<()>,
    /// A timeout shorter than this says nothing about the server.
    min_telling_limit: Duration,
    /// Names under which the server itself answers with another name.
    pub(crate) known_misnamed: KnownMismatches,
    /// Names that the server itself omits from its answers.
    pub(crate) known_omitted: KnownMismatches,
}

#[derive(Debug)]
struct ServerState {
    /// `None` if the settings turn the breaker off.
    breaker: Option<Breaker>,
    pause: ServerPause,
    budget: RetryBudget,
}

/// When an attempt started and how much time it had.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttemptInfo {
    pub(crate) started: Instant,
    pub(crate) limit: Duration,
}

/// What to do with a call whose turn it is.
#[derive(Debug)]
pub(crate) enum AttemptDecision {
    Start,
    /// The breaker is open: wait for the outcome of a probe.
    AwaitProbe,
    /// The server asked for a pause (`Retry-After`) that ends before the call's deadline.
    WaitUntil(Instant),
    /// The pause ends after the deadline.
    Fail(Error),
}

impl SharedHealth {
    pub(crate) fn new(config: &Config) -> Self {
        let breaker = config.circuit_breaker().then(|| Breaker::new(config.attempt_timeout()));
        let (pause, budget) = (ServerPause::default(), RetryBudget::default());
        Self {
            state: Mutex::new(ServerState { breaker, pause, budget }),
            breaker_updates: watch::Sender::new(()),
            min_telling_limit: config.attempt_timeout().min(config.timeout()) / 2,
            known_misnamed: KnownMismatches::default(),
            known_omitted: KnownMismatches::default(),
        }
    }

    /// Changes after each probe of any transport and when the breaker closes.
    pub(crate) fn breaker_updates(&self) -> watch::Receiver<()> {
        self.breaker_updates.subscribe()
    }

    fn state(&self) -> MutexGuard<'_, ServerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a new call, which pays for a part of a retry.
    pub(crate) fn on_call(&self) {
        self.state().budget.deposit();
    }

    /// Whether this user's call may be retried. If so, the budget is charged.
    pub(crate) fn may_retry(&self, user: &User) -> bool {
        let ServerState { breaker, budget, .. } = &mut *self.state();
        breaker.as_ref().is_none_or(Breaker::is_closed) && budget.withdraw(user)
    }

    /// Decides about the next attempt of a call. `random` is from 0 to 1.
    pub(crate) fn before_attempt(
        &self,
        call: &CallRequest,
        now: Instant,
        random: f64,
    ) -> AttemptDecision {
        let ServerState { breaker, pause, .. } = &*self.state();
        match pause.check(&call.user, call.deadline, now, random) {
            PauseCheck::Proceed => {}
            PauseCheck::WaitUntil(until) => return AttemptDecision::WaitUntil(until),
            PauseCheck::PastDeadline { status, retry_after } => {
                let (path, retry_after) = (call.kind.path(), Some(retry_after));
                return AttemptDecision::Fail(Error::Unavailable { path, status, retry_after });
            }
        }
        match breaker.as_ref().is_none_or(Breaker::is_closed) {
            true => AttemptDecision::Start,
            false => AttemptDecision::AwaitProbe,
        }
    }

    /// If the breaker is open: when the latest failed probe started, and why the breaker is open.
    pub(crate) fn outage(&self) -> Option<(Option<Instant>, Arc<Error>)> {
        let state = self.state();
        let (failed_probe, cause) = state.breaker.as_ref()?.outage()?;
        Some((failed_probe, Arc::clone(cause)))
    }

    /// Whether the breaker is closed and the server has asked for no pause.
    pub(crate) fn is_available(&self, now: Instant) -> bool {
        let ServerState { breaker, pause, .. } = &*self.state();
        breaker.as_ref().is_none_or(Breaker::is_closed) && pause.paused_until(now).is_none()
    }

    /// Returns the probes to start now. `last_request` is when the app last asked for something.
    pub(crate) fn start_probes(&self, last_request: Option<Instant>, now: Instant) -> Vec<Probe> {
        let ServerState { breaker, pause, .. } = &mut *self.state();
        let breaker = breaker.as_mut().filter(|_| pause.paused_until(now).is_none());
        breaker.map(|breaker| breaker.start_probes(last_request, now)).unwrap_or_default()
    }

    /// When to call [`start_probes`](Self::start_probes) next.
    pub(crate) fn next_probe_at(
        &self,
        last_request: Option<Instant>,
        now: Instant,
    ) -> Option<Instant> {
        let ServerState { breaker, pause, .. } = &*self.state();
        let due = breaker.as_ref()?.next_probe_at(last_request, now)?;
        Some(due.max(pause.paused_until(now).unwrap_or(due)))
    }

    /// Records that an attempt of this user got its answer.
    pub(crate) fn on_answer(&self, user: &User, now: Instant) {
        let mut state = self.state();
        state.pause.on_answer(user);
        self.record_answer(&mut state, now);
    }

    /// Records a failed attempt. Returns whether it starts a pause that the server asked for.
    pub(crate) fn on_failure(
        &self,
        attempt: AttemptInfo,
        user: &User,
        error: &Error,
        now: Instant,
    ) -> bool {
        if matches!(error, Error::AttemptTimeout { .. }) && attempt.limit < self.min_telling_limit {
            return false;
        }
        let mut state = self.state();
        let starts_pause = state.pause.on_failure(error, Some(user), now);
        match classify(error) {
            ErrorClass::Healthy => self.record_answer(&mut state, now),
            ErrorClass::Inconclusive => {}
            ErrorClass::Failure { of_any_user } => {
                if let Some(breaker) = &mut state.breaker {
                    breaker.on_failure(user, of_any_user, error, attempt.started, now);
                }
            }
        }
        starts_pause
    }

    /// Records how a probe ended: `None` if it panicked.
    pub(crate) fn on_probe(&self, probe: Probe, outcome: Option<Result<(), &Error>>, now: Instant) {
        let mut state = self.state();
        let error = match outcome {
            Some(Ok(())) => return self.record_answer(&mut state, now),
            Some(Err(error)) => Some(error),
            None => None,
        };
        if let Some(error) = error {
            state.pause.on_failure(error, None, now);
            if classify(error) == ErrorClass::Healthy {
                return self.record_answer(&mut state, now);
            }
        }
        if let Some(breaker) = &mut state.breaker {
            match error.filter(|error| !matches!(error, Error::Internal { .. })) {
                Some(error) => breaker.on_probe_failure(probe, error, now),
                None => breaker.on_probe_lost(probe),
            }
        }
        self.breaker_updates.send_replace(());
    }

    /// Passes on the breaker's state with the reason why it is open, and until when no call reaches
    /// the server. The lock is held meanwhile: what `publish` saw last is the current state.
    pub(crate) fn publish(
        &self,
        last_request: Option<Instant>,
        now: Instant,
        publish: impl FnOnce(Option<(BreakerState, Option<&Arc<Error>>)>, Option<Instant>),
    ) {
        let ServerState { breaker, pause, .. } = &*self.state();
        let breaker = breaker.as_ref();
        // Stale answers are used while probes go on, because a probe ends the outage.
        let is_probing = breaker.and_then(|breaker| breaker.next_probe_at(last_request, now));
        let probing_until = is_probing.and(last_request).map(|at| at + PROBING_PERIOD);
        let unavailable_until = probing_until.max(pause.paused_until(now));
        let state =
            breaker.map(|breaker| (breaker.state(), breaker.outage().map(|(_, cause)| cause)));
        publish(state, unavailable_until);
    }

    /// The server answered, if only with a refusal.
    fn record_answer(&self, state: &mut ServerState, now: Instant) {
        if let Some(breaker) = &mut state.breaker {
            let was_closed = breaker.is_closed();
            breaker.on_answer(now);
            if !was_closed {
                self.breaker_updates.send_replace(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::error::ConnectFault;

    const LIMIT: Duration = Duration::from_secs(1);

    #[allow(clippy::disallowed_methods)]
    fn start() -> Instant {
        Instant::now()
    }

    fn health() -> SharedHealth {
        let config = Config::builder("key").attempt_timeout(LIMIT).build().unwrap();
        SharedHealth::new(&config)
    }

    fn state(health: &SharedHealth) -> BreakerState {
        let mut published = None;
        health.publish(None, start(), |breaker, _| published = breaker.map(|(state, _)| state));
        published.unwrap()
    }

    fn user(n: usize) -> User {
        User::new(format!("u-{n}")).unwrap()
    }

    fn fail(health: &SharedHealth, limit: Duration, error: &Error) {
        let now = start();
        for n in 0..100 {
            health.on_failure(AttemptInfo { started: now, limit }, &user(n), error, now);
        }
    }

    #[test]
    fn only_what_the_server_or_the_way_to_it_did_opens_the_breaker() {
        let timed_out = Error::AttemptTimeout { limit: LIMIT };
        let path = "/v1/check_gate";
        let refused = Error::Unauthorized { path, status: 401 };
        let page = Error::Intermediary { path, status: 403, content_type: "text/html" };
        let unreadable =
            Error::InvalidResponse { path, reason: String::new(), excerpt: String::new() };
        for (limit, error, state) in [
            (LIMIT, &timed_out, BreakerState::Open),
            (LIMIT / 3, &timed_out, BreakerState::Closed),
            (LIMIT, &page, BreakerState::Open),
            (LIMIT, &refused, BreakerState::Closed),
            (LIMIT, &unreadable, BreakerState::Closed),
            (LIMIT, &Error::Internal { detail: "a panic" }, BreakerState::Closed),
        ] {
            let health = health();
            fail(&health, limit, error);
            assert_eq!(self::state(&health), state, "{error}");
        }
    }

    #[test]
    fn tls_faults_and_unreadable_answers_do_not_close_the_breaker() {
        let source = Arc::new(std::io::Error::other("broken"));
        let tls = Error::Connect { fault: ConnectFault::CertificateExpired, source };
        let (path, text) = ("/v1/check_gate", String::new());
        let unreadable =
            Error::InvalidResponse { path, reason: text.clone(), excerpt: text.clone() };
        let refusal = Error::Refused { path, status: 400, excerpt: text };
        let timed_out = Error::AttemptTimeout { limit: LIMIT };
        let now = start();
        let info = AttemptInfo { started: now, limit: LIMIT };
        for (between, opens) in [(&tls, true), (&unreadable, true), (&refusal, false)] {
            // Between the failures of a streak
            let health = health();
            for n in 0..9 {
                health.on_failure(info, &user(n), &timed_out, now);
                if n == 7 {
                    health.on_failure(info, &user(n), between, now);
                }
            }
            health.on_failure(info, &user(9), &timed_out, now);
            assert_eq!(state(&health) == BreakerState::Open, opens, "{between}");
            // As the outcome of a probe
            let health = self::health();
            fail(&health, LIMIT, &timed_out);
            let now = now + LIMIT;
            let probe = health.start_probes(Some(now), now)[0];
            health.on_probe(probe, Some(Err(between)), now);
            assert_eq!(state(&health) == BreakerState::Open, opens, "{between}");
        }
        // An expired certificate fails for every user, so one user's failures are enough.
        let health = self::health();
        for _ in 0..10 {
            health.on_failure(info, &user(0), &tls, now);
        }
        assert_eq!(state(&health), BreakerState::Open);
    }

    #[test]
    fn no_retry_while_breaker_is_open_or_budget_is_empty() {
        let open = health();
        assert!(open.may_retry(&user(0)));
        fail(&open, LIMIT, &Error::AttemptTimeout { limit: LIMIT });
        assert!(!open.may_retry(&user(0)));

        let spent = health();
        assert!(std::iter::from_fn(|| spent.may_retry(&user(0)).then_some(())).count() < 100);
        assert!(!spent.may_retry(&user(0)));
    }

    #[test]
    fn no_call_or_probe_passes_during_retry_after() {
        let health = health();
        let (now, second) = (start(), Duration::from_secs(1));
        let error = Error::Unavailable {
            path: "/v1/check_gate",
            status: 503,
            retry_after: Some(20 * second),
        };
        fail(&health, LIMIT, &error);
        let last_request = Some(now + 2 * second);

        assert!(!health.is_available(now + 2 * second));
        assert_eq!(health.start_probes(last_request, now + 2 * second), []);
        let next = health.next_probe_at(last_request, now + 2 * second).unwrap();
        assert!(next > now + 19 * second);
        assert_eq!(health.start_probes(last_request, now + 21 * second).len(), 1);
    }
}

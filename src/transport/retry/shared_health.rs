//! What is known of the server and the way to it, and what follows for the next attempt. Pure.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{
    breaker::{Breaker, ErrorClass, PROBING_PERIOD, Permission, Probe, classify},
    budget::RetryBudget,
    known_mismatches::KnownMismatches,
    pool_health::PoolHealth,
    retry_after::{PauseCheck, ServerPause},
};
use crate::{
    config::Config,
    message::call::CallRequest,
    model::{error::Error, user::User},
    telemetry::stats::BreakerState,
};

/// The circuit breaker, the calm that is asked for and the retry budget, which all transports share,
/// for it is the same server, and the health of this transport's own pool; told of every attempt.
#[derive(Debug)]
pub(in crate::transport) struct Upstream {
    pub(in crate::transport) health: Arc<SharedHealth>,
    pool: PoolHealth,
    /// An attempt that had less time than this says nothing when it runs out of it.
    fair_limit: Duration,
}

/// What the transports know of the server together.
#[derive(Debug)]
pub(in crate::transport) struct SharedHealth {
    state: Mutex<ServerState>,
    /// Told when calls that wait for a probe may have to know of it.
    breaker_updates: watch::Sender<()>,
    pub(in crate::transport) known_misnamed: KnownMismatches,
    /// Names that the server leaves out. One that it learns of later proves as much as any other.
    pub(in crate::transport) known_omitted: KnownMismatches,
}

#[derive(Debug)]
struct ServerState {
    breaker: Option<Breaker>,
    pause: ServerPause,
    budget: RetryBudget,
}

impl SharedHealth {
    pub(in crate::transport) fn new(config: &Config) -> Self {
        let breaker = config.circuit_breaker().then(|| Breaker::new(config.attempt_timeout()));
        let (pause, budget) = (ServerPause::default(), RetryBudget::default());
        let state = Mutex::new(ServerState { breaker, pause, budget });
        let (known_misnamed, known_omitted) =
            (KnownMismatches::default(), KnownMismatches::default());
        Self { state, breaker_updates: watch::Sender::new(()), known_misnamed, known_omitted }
    }

    /// Told of each probe's outcome, whichever transport made it, and of the breaker's closing.
    pub(in crate::transport) fn breaker_updates(&self) -> watch::Receiver<()> {
        self.breaker_updates.subscribe()
    }

    fn state(&self) -> MutexGuard<'_, ServerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What of an attempt says how much its outcome counts.
#[derive(Clone, Copy, Debug)]
pub(in crate::transport) struct AttemptInfo {
    pub(in crate::transport) started: Instant,
    pub(in crate::transport) limit: Duration,
}

/// Whether an attempt is to be made now.
#[derive(Debug)]
pub(in crate::transport) enum AttemptDecision {
    Start,
    /// A probe decides.
    AwaitProbe,
    /// The server has asked for calm until then.
    WaitUntil(Instant),
    /// It has, for longer than the call has time.
    Fail(Error),
}

/// What follows from an attempt that failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::transport) struct Consequences {
    /// It is time for a fresh pool of connections.
    pub(in crate::transport) renews_pool: bool,
    /// The server has asked for pause.
    pub(in crate::transport) starts_pause: bool,
}

impl Upstream {
    pub(in crate::transport) fn new(config: &Config, health: Arc<SharedHealth>) -> Self {
        let fair_limit = config.attempt_timeout().min(config.timeout()) / 2;
        Self { health, pool: PoolHealth::default(), fair_limit }
    }

    /// A new call has come.
    pub(in crate::transport) fn called(&self) {
        self.health.state().budget.deposit();
    }

    /// Whether there may be another attempt of a call of this user; if so, it is paid for.
    pub(in crate::transport) fn may_retry(&self, user: &User) -> bool {
        let ServerState { breaker, budget, .. } = &mut *self.health.state();
        breaker.as_ref().is_none_or(Breaker::is_closed) && budget.withdraw(user)
    }

    /// Asked before each attempt. `random` is from 0 to 1.
    pub(in crate::transport) fn before_attempt(
        &self,
        call: &CallRequest,
        now: Instant,
        random: f64,
    ) -> AttemptDecision {
        let ServerState { breaker, pause, .. } = &*self.health.state();
        match pause.check(&call.user, call.deadline, now, random) {
            PauseCheck::Proceed => {}
            PauseCheck::WaitUntil(until) => return AttemptDecision::WaitUntil(until),
            PauseCheck::PastDeadline { status, retry_after } => {
                let (path, retry_after) = (call.kind.path(), Some(retry_after));
                return AttemptDecision::Fail(Error::Unavailable { path, status, retry_after });
            }
        }
        match breaker.as_ref().map_or(Permission::Granted, Breaker::permit) {
            Permission::Granted => AttemptDecision::Start,
            Permission::Wait { .. } => AttemptDecision::AwaitProbe,
        }
    }

    /// What became of the probes that calls wait for: none if the breaker is closed.
    pub(in crate::transport) fn probing(&self) -> Option<(Option<Instant>, Arc<Error>)> {
        match self.health.state().breaker.as_ref()?.permit() {
            Permission::Granted => None,
            Permission::Wait { failed, cause } => Some((failed, cause)),
        }
    }

    /// Whether an attempt would be worth it whose call has all the time it wants.
    pub(in crate::transport) fn is_available(&self, now: Instant) -> bool {
        let ServerState { breaker, pause, .. } = &*self.health.state();
        breaker.as_ref().is_none_or(Breaker::is_closed) && pause.paused_until(now).is_none()
    }

    /// The probes that are to be made now, if somebody has asked at this time.
    pub(in crate::transport) fn probe(
        &self,
        last_request: Option<Instant>,
        now: Instant,
    ) -> Vec<Probe> {
        let ServerState { breaker, pause, .. } = &mut *self.health.state();
        let breaker = breaker.as_mut().filter(|_| pause.paused_until(now).is_none());
        breaker.map(|breaker| breaker.probe(last_request, now)).unwrap_or_default()
    }

    /// When `probe` has something to do next, if somebody has asked at this time.
    pub(in crate::transport) fn next_probe(
        &self,
        last_request: Option<Instant>,
        now: Instant,
    ) -> Option<Instant> {
        let ServerState { breaker, pause, .. } = &*self.health.state();
        let due = breaker.as_ref()?.next_probe(last_request, now)?;
        Some(due.max(pause.paused_until(now).unwrap_or(due)))
    }

    /// An attempt of this user got an answer.
    pub(in crate::transport) fn answered(&mut self, user: &User, now: Instant) {
        self.health.state().pause.on_answer(user);
        self.is_well(now);
    }

    /// An attempt failed.
    pub(in crate::transport) fn failed(
        &mut self,
        info: AttemptInfo,
        user: &User,
        error: &Error,
        now: Instant,
    ) -> Consequences {
        let had_no_time =
            matches!(error, Error::AttemptTimeout { .. }) && info.limit < self.fair_limit;
        if had_no_time {
            return Consequences::default();
        }
        let starts_pause = self.health.state().pause.on_failure(error, Some(user), now);
        match classify(error) {
            ErrorClass::Healthy => self.is_well(now),
            ErrorClass::Inconclusive => {}
            ErrorClass::Failure { of_any_user } => {
                if let Some(breaker) = &mut self.health.state().breaker {
                    breaker.failed(user, of_any_user, error, info.started, now);
                }
                let renews_pool = self.pool.failed(error, info.started, now);
                return Consequences { renews_pool, starts_pause };
            }
        }
        Consequences { renews_pool: false, starts_pause }
    }

    /// A probe has ended; nothing is known of one that was lost.
    pub(in crate::transport) fn probed(
        &mut self,
        probe: Probe,
        outcome: Option<Result<(), &Error>>,
        now: Instant,
    ) {
        if let Some(Err(error)) = &outcome {
            self.health.state().pause.on_failure(error, None, now);
        }
        let outcome = outcome.map(|outcome| outcome.map_err(|error| (classify(error), error)));
        match outcome {
            Some(Ok(()) | Err((ErrorClass::Healthy, _))) => return self.is_there(now),
            Some(Err((_, error))) if !matches!(error, Error::Internal { .. }) => {
                if let Some(breaker) = &mut self.health.state().breaker {
                    breaker.probe_failed(probe, error, now);
                }
            }
            Some(Err(_)) | None => {
                if let Some(breaker) = &mut self.health.state().breaker {
                    breaker.probe_lost(probe);
                }
            }
        }
        self.health.breaker_updates.send_replace(());
    }

    /// Shows the breaker's state, if there is one, and why it is open; and until when nothing gets
    /// through, if somebody has asked at this time. No other transport changes it meanwhile: what is
    /// shown last is what holds.
    pub(in crate::transport) fn show(
        &self,
        last_request: Option<Instant>,
        now: Instant,
        show: impl FnOnce(Option<(BreakerState, Option<&Arc<Error>>)>, Option<Instant>),
    ) {
        let ServerState { breaker, pause, .. } = &*self.health.state();
        let breaker = breaker.as_ref();
        // What is stale answers for as long as probes go on: one of them will end it.
        let probing =
            breaker.and_then(|breaker| breaker.next_probe(last_request, now)).and(last_request);
        let denied = probing.map(|asked| asked + PROBING_PERIOD).max(pause.paused_until(now));
        show(breaker.map(|breaker| (breaker.state(), breaker.cause())), denied);
    }

    /// An attempt got an answer, if only a refusal: the server is there.
    fn is_well(&mut self, now: Instant) {
        self.pool.answered(now);
        self.is_there(now);
    }

    fn is_there(&self, now: Instant) {
        if let Some(breaker) = &mut self.health.state().breaker {
            let was_closed = breaker.is_closed();
            breaker.answered(now);
            if !was_closed {
                self.health.breaker_updates.send_replace(());
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

    fn upstream() -> Upstream {
        let config = Config::builder("key").attempt_timeout(LIMIT).build().unwrap();
        Upstream::new(&config, Arc::new(SharedHealth::new(&config)))
    }

    fn state(upstream: &Upstream) -> BreakerState {
        let mut shown = None;
        upstream.show(None, start(), |breaker, _| shown = breaker.map(|(state, _)| state));
        shown.unwrap()
    }

    fn user(n: usize) -> User {
        User::new(format!("u-{n}")).unwrap()
    }

    fn fail(upstream: &mut Upstream, limit: Duration, error: &Error) {
        let now = start();
        for n in 0..100 {
            upstream.failed(AttemptInfo { started: now, limit }, &user(n), error, now);
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
            let mut upstream = upstream();
            fail(&mut upstream, limit, error);
            assert_eq!(self::state(&upstream), state, "{error}");
        }
    }

    #[test]
    fn neither_a_tls_fault_nor_an_unreadable_answer_counts_as_an_answer() {
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
            // Between the failures of a row
            let mut upstream = upstream();
            for n in 0..9 {
                upstream.failed(info, &user(n), &timed_out, now);
                if n == 7 {
                    upstream.failed(info, &user(n), between, now);
                }
            }
            upstream.failed(info, &user(9), &timed_out, now);
            assert_eq!(state(&upstream) == BreakerState::Open, opens, "{between}");
            // And for a probe
            let mut upstream = self::upstream();
            fail(&mut upstream, LIMIT, &timed_out);
            let now = now + LIMIT;
            let probe = upstream.probe(Some(now), now)[0];
            upstream.probed(probe, Some(Err(between)), now);
            assert_eq!(state(&upstream) == BreakerState::Open, opens, "{between}");
        }
        // A certificate that is nobody's fault opens it by itself.
        let mut upstream = self::upstream();
        for _ in 0..10 {
            upstream.failed(info, &user(0), &tls, now);
        }
        assert_eq!(state(&upstream), BreakerState::Open);
    }

    #[test]
    fn there_is_no_retry_while_the_breaker_is_not_closed_or_the_budget_is_empty() {
        let mut open = upstream();
        assert!(open.may_retry(&user(0)));
        fail(&mut open, LIMIT, &Error::AttemptTimeout { limit: LIMIT });
        assert!(!open.may_retry(&user(0)));

        let spent = upstream();
        assert!(std::iter::from_fn(|| spent.may_retry(&user(0)).then_some(())).count() < 100);
        assert!(!spent.may_retry(&user(0)));
    }

    #[test]
    fn while_there_is_to_be_calm_nothing_gets_through_not_even_a_probe() {
        let mut upstream = upstream();
        let (now, second) = (start(), Duration::from_secs(1));
        let error = Error::Unavailable {
            path: "/v1/check_gate",
            status: 503,
            retry_after: Some(20 * second),
        };
        fail(&mut upstream, LIMIT, &error);
        let last_request = Some(now + 2 * second);

        assert!(!upstream.is_available(now + 2 * second));
        assert_eq!(upstream.probe(last_request, now + 2 * second), []);
        let next = upstream.next_probe(last_request, now + 2 * second).unwrap();
        assert!(next > now + 19 * second);
        assert_eq!(upstream.probe(last_request, now + 21 * second).len(), 1);
    }
}

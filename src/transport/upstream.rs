//! What is known of the server and the way to it, and what follows for the next attempt. Pure.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{
    breaker::{Breaker, Permission, is_trouble},
    budget::RetryBudget,
    health::PoolHealth,
};
use crate::{config::Config, error::Error, stats::BreakerState};

/// The circuit breaker and the retry budget, which all transports share, for it is the same server,
/// and the health of this transport's own pool; told of every attempt.
#[derive(Debug)]
pub(super) struct Upstream {
    server: Arc<Server>,
    pool: PoolHealth,
    /// An attempt that had less time than this says nothing when it runs out of it.
    fair_limit: Duration,
}

/// What the transports know of the server together.
#[derive(Debug)]
pub(super) struct Server(Mutex<Judgement>);

#[derive(Debug)]
struct Judgement {
    breaker: Option<Breaker>,
    budget: RetryBudget,
}

impl Server {
    pub(super) fn new(config: &Config) -> Self {
        let breaker = config.circuit_breaker().then(|| Breaker::new(config.attempt_timeout()));
        Self(Mutex::new(Judgement { breaker, budget: RetryBudget::default() }))
    }

    fn judgement(&self) -> MutexGuard<'_, Judgement> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What of an attempt says how much its outcome counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trial {
    /// Its outcome decides for the circuit breaker.
    pub(super) is_probe: bool,
    pub(super) began: Instant,
    pub(super) limit: Duration,
}

impl Upstream {
    pub(super) fn new(config: &Config, server: Arc<Server>) -> Self {
        let fair_limit = config.attempt_timeout().min(config.timeout()) / 2;
        Self { server, pool: PoolHealth::default(), fair_limit }
    }

    /// A new call has come.
    pub(super) fn called(&self) {
        self.server.judgement().budget.deposit();
    }

    /// Whether there may be another attempt of a call; if so, it is paid for.
    pub(super) fn may_retry(&self) -> bool {
        let Judgement { breaker, budget } = &mut *self.server.judgement();
        breaker.as_ref().is_none_or(Breaker::is_closed) && budget.withdraw()
    }

    /// Asked before each attempt.
    pub(super) fn permit(&self, now: Instant) -> Permission {
        let breaker = &mut self.server.judgement().breaker;
        breaker.as_mut().map_or(Permission::Granted, |breaker| breaker.permit(now))
    }

    /// An attempt got an answer, if only a refusal: the server is there.
    pub(super) fn answered(&mut self, now: Instant) {
        self.pool.answered(now);
        if let Some(breaker) = &mut self.server.judgement().breaker {
            breaker.succeeded(now);
        }
    }

    /// An attempt failed; whether it is time for a fresh pool of connections.
    pub(super) fn failed(&mut self, trial: Trial, error: &Error, now: Instant) -> bool {
        let is_own_fault = matches!(error, Error::Internal { .. });
        let had_no_time =
            matches!(error, Error::AttemptTimeout { .. }) && trial.limit < self.fair_limit;
        if is_own_fault || had_no_time {
            self.without_outcome(trial, now);
            return false;
        }
        if !is_trouble(error) {
            self.answered(now);
            return false;
        }
        if let Some(breaker) = &mut self.server.judgement().breaker {
            breaker.failed(trial.is_probe, error, trial.began, now);
        }
        self.pool.failed(error, trial.began, now)
    }

    /// An attempt ended in a way that says nothing of the server.
    pub(super) fn without_outcome(&self, trial: Trial, now: Instant) {
        let breaker = &mut self.server.judgement().breaker;
        if let Some(breaker) = breaker.as_mut().filter(|_| trial.is_probe) {
            breaker.probe_lost(now);
        }
    }

    /// Shows the breaker's state, if there is one, and until when it lets nothing through. No other
    /// transport changes it meanwhile: what is shown last is what holds.
    pub(super) fn show(&self, show: impl FnOnce(BreakerState, Option<Instant>)) {
        if let Some(breaker) = &self.server.judgement().breaker {
            show(breaker.state(), breaker.denies_until());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(1);

    #[allow(clippy::disallowed_methods)]
    fn start() -> Instant {
        Instant::now()
    }

    fn upstream() -> Upstream {
        let config = Config::builder("key").attempt_timeout(LIMIT).build().unwrap();
        Upstream::new(&config, Arc::new(Server::new(&config)))
    }

    fn state(upstream: &Upstream) -> BreakerState {
        let mut shown = None;
        upstream.show(|state, _| shown = Some(state));
        shown.unwrap()
    }

    fn fail(upstream: &mut Upstream, limit: Duration, error: &Error) {
        let now = start();
        for _ in 0..100 {
            upstream.failed(Trial { is_probe: false, began: now, limit }, error, now);
        }
    }

    #[test]
    fn only_what_the_server_or_the_network_did_opens_the_breaker() {
        let timed_out = Error::AttemptTimeout { limit: LIMIT };
        let refused = Error::Unauthorized { path: "/v1/check_gate", status: 401 };
        for (limit, error, state) in [
            (LIMIT, &timed_out, BreakerState::Open),
            (LIMIT / 3, &timed_out, BreakerState::Closed),
            (LIMIT, &refused, BreakerState::Closed),
            (LIMIT, &Error::Internal { detail: "a panic" }, BreakerState::Closed),
        ] {
            let mut upstream = upstream();
            fail(&mut upstream, limit, error);
            assert_eq!(super::tests::state(&upstream), state, "{error}");
        }
    }

    #[test]
    fn there_is_no_retry_while_the_breaker_is_not_closed_or_the_budget_is_empty() {
        let mut open = upstream();
        assert!(open.may_retry());
        fail(&mut open, LIMIT, &Error::AttemptTimeout { limit: LIMIT });
        assert!(!open.may_retry());

        let spent = upstream();
        assert!(std::iter::from_fn(|| spent.may_retry().then_some(())).count() < 100);
        assert!(!spent.may_retry());
    }
}

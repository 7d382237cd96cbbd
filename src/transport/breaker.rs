//! Whether calls are worth trying while the server fails. Pure: `now` is passed in.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{error::Error, stats::BreakerState};

/// Opens after a run of failures; lets one probe through after a cool-down, which decides.
///
/// A failure counts only if its attempt began after the last answer: slow failures come in bunches,
/// after the answers of all that began with them, and say nothing that these have not disproved.
#[derive(Debug)]
pub(super) struct Breaker {
    state: State,
    cool_down: Duration,
    last_answer: Option<Instant>,
    attempt_timeout: Duration,
}

#[derive(Debug)]
enum State {
    Closed {
        failures: u32,
    },
    Open {
        until: Instant,
        cause: Arc<Error>,
    },
    /// One probe is on its way, and takes no longer than this unless it is lost.
    HalfOpen {
        until: Instant,
        cause: Arc<Error>,
    },
}

/// What the breaker says to an attempt.
#[derive(Debug)]
pub(super) enum Permission {
    Granted,
    /// Granted, and its outcome decides for all.
    Probe,
    Denied {
        cause: Arc<Error>,
    },
}

/// So many failures in a row, with no answer between them, open the breaker.
const FAILURES: u32 = 10;

const FIRST_COOL_DOWN: Duration = Duration::from_millis(500);
const LONGEST_COOL_DOWN: Duration = Duration::from_secs(2);

impl Breaker {
    pub(super) fn new(attempt_timeout: Duration) -> Self {
        let (state, cool_down) = (State::Closed { failures: 0 }, FIRST_COOL_DOWN);
        Self { state, cool_down, last_answer: None, attempt_timeout }
    }

    /// Asked before each attempt.
    pub(super) fn permit(&mut self, now: Instant) -> Permission {
        match &self.state {
            State::Closed { .. } => Permission::Granted,
            State::Open { until, cause } | State::HalfOpen { until, cause } if *until <= now => {
                let until = now + self.attempt_timeout + LONGEST_COOL_DOWN;
                self.state = State::HalfOpen { until, cause: Arc::clone(cause) };
                Permission::Probe
            }
            State::Open { cause, .. } | State::HalfOpen { cause, .. } => {
                Permission::Denied { cause: Arc::clone(cause) }
            }
        }
    }

    /// The server has answered, if only to refuse: whoever asked, it is there.
    pub(super) fn succeeded(&mut self, now: Instant) {
        *self = Self { last_answer: Some(now), ..Self::new(self.attempt_timeout) };
    }

    /// An attempt has found the server in trouble.
    pub(super) fn failed(&mut self, was_probe: bool, error: &Error, began: Instant, now: Instant) {
        match &mut self.state {
            State::Closed { .. } if self.last_answer.is_some_and(|at| began < at) => {}
            State::Closed { failures } => {
                *failures += 1;
                if *failures >= FAILURES {
                    self.open(error, now);
                }
            }
            State::HalfOpen { .. } if was_probe => {
                self.cool_down = (self.cool_down * 2).min(LONGEST_COOL_DOWN);
                self.open(error, now);
            }
            // Attempts from before it opened: nothing new.
            State::Open { .. } | State::HalfOpen { .. } => {}
        }
    }

    /// A probe ended without an outcome.
    pub(super) fn probe_lost(&mut self, now: Instant) {
        if let State::HalfOpen { cause, .. } = &self.state {
            self.state = State::Open { until: now + self.cool_down, cause: Arc::clone(cause) };
        }
    }

    pub(super) fn state(&self) -> BreakerState {
        match self.state {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }

    /// While it is open: when it lets a probe through.
    pub(super) fn denies_until(&self) -> Option<Instant> {
        match &self.state {
            State::Open { until, .. } => Some(*until),
            State::Closed { .. } | State::HalfOpen { .. } => None,
        }
    }

    fn open(&mut self, error: &Error, now: Instant) {
        let cause = Arc::new(error.clone());
        self.state = State::Open { until: now + self.cool_down, cause };
    }
}

/// Whether an error says that the server, or the way to it, is in trouble. A server that answers
/// 429 is well, and says what it wants.
pub(super) fn is_trouble(error: &Error) -> bool {
    match error {
        Error::Unavailable { status, .. } => *status != 429,
        Error::Timeout { .. } | Error::AttemptTimeout { .. } => true,
        Error::Connect { fault, .. } => !fault.is_tls(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[allow(clippy::disallowed_methods)]
    fn start() -> Instant {
        Instant::now()
    }

    fn down() -> Error {
        Error::Unavailable { path: "/v1/check_gate", status: 503, retry_after: None }
    }

    fn opened(now: Instant) -> Breaker {
        let mut breaker = Breaker::new(SECOND);
        (0..FAILURES).for_each(|_| breaker.failed(false, &down(), now, now));
        breaker
    }

    #[test]
    fn a_run_of_failures_opens_it_and_an_answer_between_them_does_not() {
        let now = start();
        let mut breaker = Breaker::new(SECOND);
        for _ in 0..3 {
            (1..FAILURES).for_each(|_| breaker.failed(false, &down(), now, now));
            assert!(matches!(breaker.permit(now), Permission::Granted));
            breaker.succeeded(now);
        }
        assert_eq!(opened(now).state(), BreakerState::Open);
    }

    #[test]
    fn failures_that_began_before_the_last_answer_do_not_count() {
        let (began, answered) = (start(), start() + SECOND);
        let mut breaker = Breaker::new(SECOND);
        breaker.succeeded(answered);
        (0..100).for_each(|_| breaker.failed(false, &down(), began, answered + SECOND));
        assert_eq!(breaker.state(), BreakerState::Closed);
        (0..FAILURES).for_each(|_| breaker.failed(false, &down(), answered, answered + SECOND));
        assert_eq!(breaker.state(), BreakerState::Open);
    }

    #[test]
    fn while_it_is_open_calls_are_denied_with_the_cause() {
        let now = start();
        let mut breaker = opened(now);
        let Permission::Denied { cause } = breaker.permit(now + FIRST_COOL_DOWN / 2) else {
            panic!("{breaker:?}")
        };
        assert_eq!(cause.kind(), "unavailable");
    }

    #[test]
    fn after_the_cool_down_one_probe_decides() {
        let now = start();
        let mut breaker = opened(now);
        let later = now + FIRST_COOL_DOWN;
        assert!(matches!(breaker.permit(later), Permission::Probe));
        assert!(matches!(breaker.permit(later), Permission::Denied { .. }));

        breaker.failed(false, &down(), later, later);
        assert_eq!(breaker.state(), BreakerState::HalfOpen, "only the probe counts");
        breaker.failed(true, &down(), later, later);
        assert!(matches!(breaker.permit(later + FIRST_COOL_DOWN), Permission::Denied { .. }));

        assert!(matches!(breaker.permit(later + 2 * FIRST_COOL_DOWN), Permission::Probe));
        breaker.succeeded(later);
        assert!(matches!(breaker.permit(later), Permission::Granted));
        assert_eq!(breaker.cool_down, FIRST_COOL_DOWN, "the next outage begins anew");
    }

    #[test]
    fn a_probe_that_is_lost_is_followed_by_another() {
        let now = start();
        let mut breaker = opened(now);
        assert!(matches!(breaker.permit(now + SECOND), Permission::Probe));
        breaker.probe_lost(now + SECOND);
        assert!(matches!(breaker.permit(now + 2 * SECOND), Permission::Probe));
    }

    proptest! {
        #[test]
        fn it_never_stays_shut_for_longer_than_the_longest_cool_down(
            steps in proptest::collection::vec((0..4u8, 0..3_000u64), 0..200),
        ) {
            let mut breaker = Breaker::new(SECOND);
            let mut now = start();
            let mut probing = false;
            for (step, passed) in steps {
                now += Duration::from_millis(passed);
                match step {
                    0 => probing |= matches!(breaker.permit(now), Permission::Probe),
                    1 => {
                        breaker.failed(probing, &down(), now, now);
                        probing = false;
                    }
                    2 => {
                        breaker.succeeded(now);
                        probing = false;
                    }
                    _ => {
                        breaker.probe_lost(now);
                        probing = false;
                    }
                }
                prop_assert_eq!(breaker.state() == BreakerState::HalfOpen, probing);
            }
            if !probing {
                let permission = breaker.permit(now + LONGEST_COOL_DOWN);
                let is_denied = matches!(permission, Permission::Denied { .. });
                prop_assert!(!is_denied);
            }
        }
    }
}

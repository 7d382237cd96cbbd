//! Whether calls are worth trying while the server fails. Pure: `now` is passed in.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    model::{
        error::{ConnectFault, Error},
        user::User,
    },
    telemetry::stats::BreakerState,
};

/// Opens after a row of failures, and closes with the first answer, which it probes for.
///
/// A failure counts only if its attempt began after the last answer: slow failures come in bunches,
/// after the answers of all that began with them, and say nothing that these have not disproved.
///
/// One user's failures may be that user's trouble alone. They open nothing by themselves, but ask for
/// a probe, whose user is nobody's, and that decides.
#[derive(Debug)]
pub(in crate::transport) struct Breaker {
    state: State,
    last_answer: Option<Instant>,
    attempt_timeout: Duration,
}

#[derive(Debug)]
enum State {
    Closed(Row),
    Open(Outage),
}

/// The failures since the last answer.
#[derive(Debug, Default)]
struct Row {
    failures: u32,
    /// The failures that nobody's request can have caused, and of each user as many as count.
    weight: u32,
    users: Vec<(User, u32)>,
    /// The probe that has been asked for.
    probe: Option<Probe>,
}

#[derive(Debug)]
struct Outage {
    cause: Arc<Error>,
    /// When the next probe is due.
    due: Instant,
    /// The probes on their way.
    probes: Vec<Probe>,
    /// Whether the last of the probes that ended ran out of time.
    is_hanging: bool,
    /// When the last of the probes that failed began.
    failed: Option<Instant>,
}

/// What the breaker says to an attempt.
#[derive(Debug)]
pub(in crate::transport) enum Permission {
    Granted,
    /// A probe decides. Who has waited since before `failed` has seen one fail.
    Wait {
        failed: Option<Instant>,
        cause: Arc<Error>,
    },
}

/// A question to the server that decides for everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::transport) struct Probe {
    pub(in crate::transport) began: Instant,
    pub(in crate::transport) limit: Duration,
}

/// What an attempt's error says of the server, or of the way to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::transport) enum Sign {
    /// It is well: it refuses, or asks for calm.
    Well,
    /// It is in trouble; `of_anyone` if the trouble is none that a single user's request can cause.
    Trouble { of_anyone: bool },
    /// Neither.
    None,
}

/// So many failures in a row, with no answer between them, open the breaker.
const FAILURES: u32 = 10;

/// So many of one user count towards them. It takes three users to open it.
const OF_ONE_USER: u32 = 4;

/// From the beginning of one probe to the next.
const PROBE_INTERVAL: Duration = Duration::from_millis(500);

/// A probe waits no longer than this, nor than an attempt: calls wait for it.
const PROBE_LIMIT: Duration = Duration::from_secs(1);

/// A call waits no longer than this for the outcome of a probe: until the next one begins, as long as
/// that may take, and a while for what busy machines need.
pub(in crate::transport) const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// Probes go on for this long after somebody has asked.
pub(in crate::transport) const LATELY: Duration = Duration::from_secs(30);

/// A probe that is that late is lost.
const SLACK: Duration = Duration::from_secs(1);

impl Breaker {
    pub(in crate::transport) fn new(attempt_timeout: Duration) -> Self {
        Self { state: State::Closed(Row::default()), last_answer: None, attempt_timeout }
    }

    /// Asked before each attempt.
    pub(in crate::transport) fn permit(&self) -> Permission {
        match &self.state {
            State::Closed(_) => Permission::Granted,
            State::Open(Outage { cause, failed, .. }) => {
                Permission::Wait { failed: *failed, cause: Arc::clone(cause) }
            }
        }
    }

    /// The server has answered, if only to refuse: whoever asked, it is there.
    pub(in crate::transport) fn answered(&mut self, now: Instant) {
        self.state = State::Closed(Row::default());
        self.last_answer = Some(now);
    }

    /// A user's attempt has found the server in trouble.
    pub(in crate::transport) fn failed(
        &mut self,
        user: &User,
        of_anyone: bool,
        error: &Error,
        began: Instant,
        now: Instant,
    ) {
        if self.last_answer.is_some_and(|at| began < at) {
            return;
        }
        // Where it is open: an attempt from before that, and nothing new.
        let State::Closed(row) = &mut self.state else { return };
        row.count(user, of_anyone);
        if row.weight >= FAILURES {
            self.open(error, now);
        }
    }

    /// The probes that are to be made now, if somebody has asked at this time.
    pub(in crate::transport) fn probe(
        &mut self,
        asked: Option<Instant>,
        now: Instant,
    ) -> Vec<Probe> {
        let patient = Probe { began: now, limit: self.attempt_timeout };
        let quick = Probe { limit: self.attempt_timeout.min(PROBE_LIMIT), ..patient };
        match &mut self.state {
            State::Closed(row) => {
                let is_free = row.probe.is_none_or(|probe| probe.is_lost(now));
                if row.failures < FAILURES || !is_free {
                    return Vec::new();
                }
                row.probe = Some(patient);
                vec![patient]
            }
            State::Open(outage) => {
                if outage.due > now || !is_lately(asked, now) {
                    return Vec::new();
                }
                outage.due = now + PROBE_INTERVAL;
                outage.probes.retain(|probe| !probe.is_lost(now));
                let mut probes = vec![quick];
                // One that lets a slow server answer: beside the others, for what waits for an answer
                // that the network has lost must hold nothing up.
                let is_patient = |probe: &Probe| probe.limit > PROBE_LIMIT;
                let has_patient = outage.probes.iter().any(is_patient);
                if outage.is_hanging && is_patient(&patient) && !has_patient {
                    probes.push(patient);
                }
                outage.probes.extend(&probes);
                probes
            }
        }
    }

    /// A probe has found the server in trouble.
    pub(in crate::transport) fn probe_failed(&mut self, probe: Probe, error: &Error, now: Instant) {
        let is_doubted = matches!(&self.state, State::Closed(row) if row.probe == Some(probe));
        self.probe_lost(probe);
        if is_doubted {
            return self.open(error, now);
        }
        // Where it is closed: another answer came before.
        if let State::Open(outage) = &mut self.state
            && self.last_answer.is_none_or(|at| probe.began >= at)
        {
            outage.cause = Arc::new(error.clone());
            outage.is_hanging = matches!(error, Error::AttemptTimeout { .. });
            outage.failed = outage.failed.max(Some(probe.began));
        }
    }

    /// A probe ended in a way that says nothing.
    pub(in crate::transport) fn probe_lost(&mut self, probe: Probe) {
        match &mut self.state {
            State::Closed(row) => {
                row.probe.take_if(|it| *it == probe);
            }
            State::Open(outage) => outage.probes.retain(|it| *it != probe),
        }
    }

    /// When `probe` has something to do next, if somebody has asked at this time.
    pub(in crate::transport) fn next_probe(
        &self,
        asked: Option<Instant>,
        now: Instant,
    ) -> Option<Instant> {
        match &self.state {
            State::Open(outage) if is_lately(asked, now) => Some(outage.due),
            _ => None,
        }
    }

    pub(in crate::transport) fn state(&self) -> BreakerState {
        match &self.state {
            State::Closed(_) => BreakerState::Closed,
            State::Open(outage) if outage.probes.is_empty() => BreakerState::Open,
            State::Open(_) => BreakerState::HalfOpen,
        }
    }

    /// Why it is open.
    pub(in crate::transport) fn cause(&self) -> Option<&Arc<Error>> {
        match &self.state {
            State::Open(Outage { cause, .. }) => Some(cause),
            State::Closed(_) => None,
        }
    }

    pub(in crate::transport) fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed(_))
    }

    fn open(&mut self, error: &Error, now: Instant) {
        self.state = State::Open(Outage {
            cause: Arc::new(error.clone()),
            due: now + PROBE_INTERVAL,
            probes: Vec::new(),
            is_hanging: false,
            failed: None,
        });
    }
}

impl Probe {
    fn is_lost(&self, now: Instant) -> bool {
        self.began + self.limit + SLACK <= now
    }
}

fn is_lately(asked: Option<Instant>, now: Instant) -> bool {
    asked.is_some_and(|at| now < at + LATELY)
}

impl Row {
    fn count(&mut self, user: &User, of_anyone: bool) {
        self.failures = self.failures.saturating_add(1);
        if of_anyone {
            self.weight += 1;
            return;
        }
        // No more users than it takes to open it.
        let known = self.users.iter_mut().find(|(known, _)| known == user);
        let of_this_user = match known {
            Some((_, failures)) => {
                *failures += 1;
                *failures
            }
            None => {
                self.users.push((user.clone(), 1));
                1
            }
        };
        self.weight += u32::from(of_this_user <= OF_ONE_USER);
    }
}

/// What an attempt's error says. A server that answers 429 is well, and says what it wants.
pub(in crate::transport) fn sign(error: &Error) -> Sign {
    match error {
        Error::Unavailable { status: 429, .. }
        | Error::Unauthorized { .. }
        | Error::Refused { .. }
        | Error::MissingName { .. } => Sign::Well,
        Error::Unavailable { .. }
        | Error::Timeout { .. }
        | Error::AttemptTimeout { .. }
        | Error::Intermediary { .. }
        // A server may well break down over one user.
        | Error::Connect { fault: ConnectFault::Closed, .. } => Sign::Trouble { of_anyone: false },
        Error::Connect { .. } => Sign::Trouble { of_anyone: true },
        // One config may be what cannot be read, or a proxy's words: who knows.
        _ => Sign::None,
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

    fn user(n: usize) -> User {
        User::new(format!("u-{n}")).unwrap()
    }

    fn down() -> Error {
        Error::Unavailable { path: "/v1/check_gate", status: 503, retry_after: None }
    }

    /// So many failures, of these many users in turn.
    fn fail(breaker: &mut Breaker, failures: usize, users: usize, now: Instant) {
        (0..failures).for_each(|n| breaker.failed(&user(n % users), false, &down(), now, now));
    }

    fn opened(now: Instant) -> Breaker {
        let mut breaker = Breaker::new(SECOND);
        fail(&mut breaker, 10, 10, now);
        assert_eq!(breaker.state(), BreakerState::Open);
        breaker
    }

    #[test]
    fn a_row_of_failures_opens_it_and_an_answer_between_them_does_not() {
        let now = start();
        let mut breaker = Breaker::new(SECOND);
        for _ in 0..3 {
            fail(&mut breaker, 9, 9, now);
            assert!(matches!(breaker.permit(), Permission::Granted));
            breaker.answered(now);
        }
        fail(&mut breaker, 10, 3, now);
        assert_eq!(breaker.state(), BreakerState::Open, "three users are enough");
    }

    #[test]
    fn promise_3_failures_of_one_or_two_users_open_nothing_unless_a_probe_fails_as_well() {
        for users in [1, 2] {
            let now = start();
            let mut breaker = Breaker::new(SECOND);
            fail(&mut breaker, 9, users, now);
            assert_eq!(breaker.probe(None, now), [], "too few to doubt the server");
            fail(&mut breaker, 1_000, users, now);
            assert_eq!(breaker.state(), BreakerState::Closed);

            // The server answers the probe: that user is the trouble.
            let probe = Probe { began: now, limit: SECOND };
            assert_eq!(breaker.probe(None, now), [probe]);
            assert_eq!(breaker.probe(None, now), [], "one at a time");
            breaker.answered(now + SECOND);
            assert_eq!(breaker.probe(None, now + SECOND), []);

            // It does not: the server is.
            let now = now + 2 * SECOND;
            fail(&mut breaker, 10, users, now);
            let probe = breaker.probe(None, now)[0];
            breaker.probe_failed(probe, &down(), now);
            assert_eq!(breaker.state(), BreakerState::Open);
        }
    }

    #[test]
    fn a_probe_that_another_users_answer_overtook_opens_nothing() {
        let now = start();
        let mut breaker = Breaker::new(SECOND);
        fail(&mut breaker, 10, 1, now);
        let probe = breaker.probe(None, now)[0];
        breaker.answered(now + SECOND / 2);
        fail(&mut breaker, 9, 1, now + SECOND);
        breaker.probe_failed(probe, &down(), now + SECOND);
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn what_no_request_can_cause_opens_it_whoever_asked() {
        let now = start();
        let mut breaker = Breaker::new(SECOND);
        (0..10).for_each(|_| breaker.failed(&user(0), true, &down(), now, now));
        assert_eq!(breaker.state(), BreakerState::Open);
    }

    #[test]
    fn failures_that_began_before_the_last_answer_do_not_count() {
        let (began, answered) = (start(), start() + SECOND);
        let mut breaker = Breaker::new(SECOND);
        breaker.answered(answered);
        for n in 0..100 {
            breaker.failed(&user(n), true, &down(), began, answered + SECOND);
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
        fail(&mut breaker, 10, 10, answered);
        assert_eq!(breaker.state(), BreakerState::Open);
    }

    #[test]
    fn while_it_is_open_a_probe_begins_every_half_second_and_the_first_answer_closes_it() {
        let now = start();
        let mut breaker = opened(now);
        let asked = Some(now);
        let after = |ms| now + Duration::from_millis(ms);
        let probe = |ms| Probe { began: after(ms), limit: SECOND };
        assert_eq!(breaker.probe(asked, after(499)), []);

        assert_eq!(breaker.probe(asked, after(500)), [probe(500)]);
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        assert_eq!(breaker.probe(asked, after(999)), []);
        assert_eq!(breaker.probe(asked, after(1_000)), [probe(1_000)], "though the first hangs");

        breaker.probe_failed(probe(1_000), &down(), after(1_400));
        breaker.probe_failed(probe(500), &down(), after(1_500));
        assert_eq!(breaker.state(), BreakerState::Open);
        let Permission::Wait { failed, cause } = breaker.permit() else { panic!("{breaker:?}") };
        assert_eq!((failed, cause.kind().as_str()), (Some(after(1_000)), "unavailable"));

        assert_eq!(breaker.probe(asked, after(1_500)), [probe(1_500)]);
        breaker.answered(after(1_501));
        assert!(matches!(breaker.permit(), Permission::Granted));
    }

    #[test]
    fn beside_the_probes_that_calls_wait_for_one_gives_a_slow_server_its_time() {
        let (now, timeout) = (start(), 10 * SECOND);
        let mut breaker = Breaker::new(timeout);
        fail(&mut breaker, 10, 10, now);
        let asked = Some(now);
        let (quick, patient) =
            (|at| Probe { began: at, limit: SECOND }, |at| Probe { began: at, limit: timeout });

        assert_eq!(breaker.probe(asked, now + SECOND), [quick(now + SECOND)]);
        let hung = Error::AttemptTimeout { limit: SECOND };
        breaker.probe_failed(quick(now + SECOND), &hung, now + 2 * SECOND);
        let at = now + 2 * SECOND;
        assert_eq!(breaker.probe(asked, at), [quick(at), patient(at)]);
        for n in 3..12 {
            let at = now + n * SECOND;
            assert_eq!(breaker.probe(asked, at), [quick(at)], "one is patient still");
        }
        breaker.probe_failed(patient(now + 2 * SECOND), &hung, now + 12 * SECOND);
        assert_eq!(breaker.probe(asked, now + 12 * SECOND).len(), 2, "and again");
    }

    #[test]
    fn promise_8_it_probes_only_while_somebody_has_asked_lately() {
        let now = start();
        let mut breaker = opened(now);
        let asked = Some(now);
        assert!(breaker.next_probe(asked, now + LATELY / 2).is_some());
        assert_eq!(breaker.next_probe(asked, now + LATELY), None);
        assert_eq!(breaker.next_probe(None, now), None);
        assert_eq!(breaker.probe(asked, now + LATELY), []);
        // Whoever asks then is the reason for a probe at once.
        let later = now + 100 * LATELY;
        assert!(breaker.next_probe(Some(later), later).is_some_and(|at| at <= later));
        assert_eq!(breaker.probe(Some(later), later).len(), 1);
    }

    #[test]
    fn a_probe_that_is_lost_is_followed_by_another() {
        let now = start();
        let mut breaker = opened(now);
        let probe = breaker.probe(Some(now), now + SECOND)[0];
        breaker.probe_lost(probe);
        assert_eq!(breaker.state(), BreakerState::Open);
        assert_eq!(breaker.probe(Some(now), now + 2 * SECOND).len(), 1);

        // Or if nobody even says that it is lost, as when its thread has gone.
        let mut doubted = Breaker::new(SECOND);
        fail(&mut doubted, 10, 1, now);
        assert_eq!(doubted.probe(None, now).len(), 1);
        assert_eq!(doubted.probe(None, now + SECOND), []);
        assert_eq!(doubted.probe(None, now + SECOND + SLACK).len(), 1);
    }

    proptest! {
        /// Whatever happens: while it is open and somebody asks, a server that is well is found to be
        /// so by a probe that begins within half a second.
        #[test]
        fn it_always_probes_again_within_half_a_second(
            steps in proptest::collection::vec((0..5u8, 0..1_000u64), 0..200),
        ) {
            let mut breaker = Breaker::new(SECOND);
            let mut now = start();
            let mut probes = Vec::new();
            for (step, passed) in steps {
                now += Duration::from_millis(passed);
                match step {
                    0 => fail(&mut breaker, 10, 10, now),
                    1 => probes.extend(breaker.probe(Some(now), now)),
                    2 => probes.pop().into_iter().for_each(|probe| {
                        breaker.probe_failed(probe, &down(), now);
                    }),
                    3 => probes.pop().into_iter().for_each(|probe| breaker.probe_lost(probe)),
                    _ => breaker.answered(now),
                }
                let is_open = !breaker.is_closed();
                let next = breaker.next_probe(Some(now), now);
                prop_assert_eq!(next.is_some(), is_open);
                prop_assert!(next.is_none_or(|at| at <= now + PROBE_INTERVAL));
                if let State::Open(outage) = &breaker.state {
                    prop_assert!(outage.probes.len() <= 5, "{:?}", outage.probes);
                }
            }
        }
    }
}

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

/// Adds failures of this many users in turn.
fn fail(breaker: &mut Breaker, failures: usize, users: usize, now: Instant) {
    (0..failures).for_each(|n| breaker.on_failure(&user(n % users), false, &down(), now, now));
}

fn opened(now: Instant) -> Breaker {
    let mut breaker = Breaker::new(SECOND);
    fail(&mut breaker, 10, 10, now);
    assert_eq!(breaker.state(), BreakerState::Open);
    breaker
}

#[test]
fn failures_in_a_row_open_the_breaker_unless_one_is_answered() {
    let now = start();
    let mut breaker = Breaker::new(SECOND);
    for _ in 0..3 {
        fail(&mut breaker, 9, 9, now);
        assert!(breaker.is_closed());
        breaker.on_answer(now);
    }
    fail(&mut breaker, 10, 3, now);
    assert_eq!(breaker.state(), BreakerState::Open, "three users are enough");
}

#[test]
fn promise_3_failures_of_two_users_open_only_if_a_probe_fails() {
    for users in [1, 2] {
        let now = start();
        let mut breaker = Breaker::new(SECOND);
        fail(&mut breaker, 9, users, now);
        assert_eq!(breaker.start_probes(None, now), [], "too few to doubt the server");
        fail(&mut breaker, 1_000, users, now);
        assert_eq!(breaker.state(), BreakerState::Closed);

        // The server answers the probe: the user alone is in trouble.
        let probe = Probe { started: now, limit: SECOND };
        assert_eq!(breaker.start_probes(None, now), [probe]);
        assert_eq!(breaker.start_probes(None, now), [], "one at a time");
        breaker.on_answer(now + SECOND);
        assert_eq!(breaker.start_probes(None, now + SECOND), []);

        // The probe fails: the server is in trouble.
        let now = now + 2 * SECOND;
        fail(&mut breaker, 10, users, now);
        let probe = breaker.start_probes(None, now)[0];
        breaker.on_probe_failure(probe, &down(), now);
        assert_eq!(breaker.state(), BreakerState::Open);
    }
}

#[test]
fn probe_overtaken_by_an_answer_opens_nothing() {
    let now = start();
    let mut breaker = Breaker::new(SECOND);
    fail(&mut breaker, 10, 1, now);
    let probe = breaker.start_probes(None, now)[0];
    breaker.on_answer(now + SECOND / 2);
    fail(&mut breaker, 9, 1, now + SECOND);
    breaker.on_probe_failure(probe, &down(), now + SECOND);
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[test]
fn failure_no_request_can_cause_opens_for_any_user() {
    let now = start();
    let mut breaker = Breaker::new(SECOND);
    (0..10).for_each(|_| breaker.on_failure(&user(0), true, &down(), now, now));
    assert_eq!(breaker.state(), BreakerState::Open);
}

#[test]
fn failures_that_began_before_the_last_answer_do_not_count() {
    let (started, answered) = (start(), start() + SECOND);
    let mut breaker = Breaker::new(SECOND);
    breaker.on_answer(answered);
    for n in 0..100 {
        breaker.on_failure(&user(n), true, &down(), started, answered + SECOND);
    }
    assert_eq!(breaker.state(), BreakerState::Closed);
    fail(&mut breaker, 10, 10, answered);
    assert_eq!(breaker.state(), BreakerState::Open);
}

#[test]
fn open_breaker_probes_every_half_second_until_an_answer() {
    let now = start();
    let mut breaker = opened(now);
    let last_request = Some(now);
    let after = |ms| now + Duration::from_millis(ms);
    let probe = |ms| Probe { started: after(ms), limit: SECOND };
    assert_eq!(breaker.start_probes(last_request, after(499)), []);

    assert_eq!(breaker.start_probes(last_request, after(500)), [probe(500)]);
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
    assert_eq!(breaker.start_probes(last_request, after(999)), []);
    assert_eq!(
        breaker.start_probes(last_request, after(1_000)),
        [probe(1_000)],
        "though the first hangs"
    );

    breaker.on_probe_failure(probe(1_000), &down(), after(1_400));
    breaker.on_probe_failure(probe(500), &down(), after(1_500));
    assert_eq!(breaker.state(), BreakerState::Open);
    let (failed_probe, cause) = breaker.outage().unwrap();
    assert_eq!((failed_probe, cause.kind().as_str()), (Some(after(1_000)), "unavailable"));

    assert_eq!(breaker.start_probes(last_request, after(1_500)), [probe(1_500)]);
    breaker.on_answer(after(1_501));
    assert!(breaker.is_closed());
}

#[test]
fn one_long_probe_gives_a_slow_server_time() {
    let (now, timeout) = (start(), 10 * SECOND);
    let mut breaker = Breaker::new(timeout);
    fail(&mut breaker, 10, 10, now);
    let last_request = Some(now);
    let (quick, patient) =
        (|at| Probe { started: at, limit: SECOND }, |at| Probe { started: at, limit: timeout });

    assert_eq!(breaker.start_probes(last_request, now + SECOND), [quick(now + SECOND)]);
    let hung = Error::AttemptTimeout { limit: SECOND };
    breaker.on_probe_failure(quick(now + SECOND), &hung, now + 2 * SECOND);
    let at = now + 2 * SECOND;
    assert_eq!(breaker.start_probes(last_request, at), [quick(at), patient(at)]);
    for n in 3..12 {
        let at = now + n * SECOND;
        assert_eq!(
            breaker.start_probes(last_request, at),
            [quick(at)],
            "a patient probe still runs"
        );
    }
    breaker.on_probe_failure(patient(now + 2 * SECOND), &hung, now + 12 * SECOND);
    assert_eq!(breaker.start_probes(last_request, now + 12 * SECOND).len(), 2, "and again");
}

#[test]
fn promise_8_breaker_probes_only_after_recent_requests() {
    let now = start();
    let mut breaker = opened(now);
    let last_request = Some(now);
    assert!(breaker.next_probe_at(last_request, now + PROBING_PERIOD / 2).is_some());
    assert_eq!(breaker.next_probe_at(last_request, now + PROBING_PERIOD), None);
    assert_eq!(breaker.next_probe_at(None, now), None);
    assert_eq!(breaker.start_probes(last_request, now + PROBING_PERIOD), []);
    // The next request starts a probe at once.
    let later = now + 100 * PROBING_PERIOD;
    assert!(breaker.next_probe_at(Some(later), later).is_some_and(|at| at <= later));
    assert_eq!(breaker.start_probes(Some(later), later).len(), 1);
}

#[test]
fn lost_probe_is_followed_by_another() {
    let now = start();
    let mut breaker = opened(now);
    let probe = breaker.start_probes(Some(now), now + SECOND)[0];
    breaker.on_probe_lost(probe);
    assert_eq!(breaker.state(), BreakerState::Open);
    assert_eq!(breaker.start_probes(Some(now), now + 2 * SECOND).len(), 1);

    // A probe whose thread is gone does not even report that it is lost.
    let mut doubted = Breaker::new(SECOND);
    fail(&mut doubted, 10, 1, now);
    assert_eq!(doubted.start_probes(None, now).len(), 1);
    assert_eq!(doubted.start_probes(None, now + SECOND), []);
    assert_eq!(doubted.start_probes(None, now + SECOND + LOST_PROBE_GRACE).len(), 1);
}

proptest! {
    /// While the breaker is open and the app asks, a probe always starts within half a second.
    #[test]
    fn breaker_always_probes_again_within_half_a_second(
        steps in proptest::collection::vec((0..5u8, 0..1_000u64), 0..200),
    ) {
        let mut breaker = Breaker::new(SECOND);
        let mut now = start();
        let mut probes = Vec::new();
        for (step, passed) in steps {
            now += Duration::from_millis(passed);
            match step {
                0 => fail(&mut breaker, 10, 10, now),
                1 => probes.extend(breaker.start_probes(Some(now), now)),
                2 => probes.pop().into_iter().for_each(|probe| {
                    breaker.on_probe_failure(probe, &down(), now);
                }),
                3 => probes.pop().into_iter().for_each(|probe| breaker.on_probe_lost(probe)),
                _ => breaker.on_answer(now),
            }
            let is_open = !breaker.is_closed();
            let next = breaker.next_probe_at(Some(now), now);
            prop_assert_eq!(next.is_some(), is_open);
            prop_assert!(next.is_none_or(|at| at <= now + PROBE_INTERVAL));
            if let State::Open(outage) = &breaker.state {
                prop_assert!(outage.running_probes.len() <= 5, "{:?}", outage.running_probes);
            }
        }
    }
}

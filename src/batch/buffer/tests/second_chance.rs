//! Which waiters are retried after a failed call.

use super::*;

#[test]
fn late_joiner_is_retried_once_while_time_is_left() {
    let mut driven = Driven::new(100, Interval);
    let first = driven.add(key(0, true), CallKind::CheckGate, names(["a"]));
    driven.step(Step::FlushAll);
    driven.step(Step::Pass(500));
    let joined = driven.add(key(0, true), CallKind::CheckGate, names(["a"]));

    driven.step(Step::Fail { call: 0, error: Failing::Broken });
    assert!(driven.ended.contains(&first) && !driven.ended.contains(&joined));

    assert!(driven.buffer.is_due(), "a retry does not wait for the interval");
    driven.step(Step::FlushDue);
    assert_eq!(driven.in_flight[0].1.deadline, driven.now + TIMEOUT);
    driven.step(Step::Fail { call: 0, error: Failing::Broken });
    assert!(driven.ended.contains(&joined));
}

/// Returns a buffer with name "a" in flight, which a late joiner with 10 ms left waits for.
fn with_little_time_left() -> Driven {
    let mut driven = Driven::new(100, Interval);
    driven.add(key(0, true), CallKind::CheckGate, names(["a"]));
    driven.step(Step::FlushAll);
    driven.add(key(0, true), CallKind::CheckGate, names(["a"]));
    driven.step(Step::Pass(990));
    driven
}

#[test]
fn promise_3_retried_joiner_does_not_shorten_others_time() {
    let mut driven = with_little_time_left();
    driven.add(key(0, true), CallKind::CheckGate, names(["b"]));
    driven.step(Step::Fail { call: 0, error: Failing::Broken });
    driven.add(key(0, true), CallKind::CheckGate, names(["c"]));

    let effects = driven.buffer.flush_due(&[]);

    assert_eq!(names_of_calls(&effects), [vec!["b", "c"], vec!["a"]]);
    let left: Vec<_> = effects.calls.iter().map(|(_, call)| call.deadline - driven.now).collect();
    assert_eq!(left, [TIMEOUT, Duration::from_millis(10)]);
}

#[test]
fn promise_3_sharer_of_a_retried_name_is_retried_too() {
    let mut driven = with_little_time_left();
    driven.step(Step::Fail { call: 0, error: Failing::Broken });
    let fresh = driven.add(key(0, true), CallKind::CheckGate, names(["a"]));
    driven.step(Step::FlushDue);
    driven.step(Step::Pass(10));

    driven.step(Step::Fail { call: 0, error: Failing::Broken });

    assert_eq!(driven.ended.len(), 2, "the first two requests");
    assert!(!driven.ended.contains(&fresh));
    driven.step(Step::FlushDue);
    driven.step(Step::Fail { call: 0, error: Failing::Broken });
    assert!(driven.ended.contains(&fresh), "once");
}

#[test]
fn promise_3_rider_on_anothers_deadline_is_retried_once() {
    let mut driven = Driven::new(100, Interval);
    let first = driven.add(key(0, true), CallKind::CheckGate, names(["a"]));
    driven.step(Step::Pass(900));
    let second = driven.add(key(0, true), CallKind::CheckGate, names(["a", "b"]));
    driven.step(Step::FlushAll);
    driven.step(Step::Pass(100));

    driven.step(Step::Fail { call: 0, error: Failing::TimedOut });
    assert!(driven.ended.contains(&first) && !driven.ended.contains(&second));

    driven.step(Step::FlushDue);
    assert_eq!(driven.in_flight[0].1.deadline, driven.now + TIMEOUT - Duration::from_millis(100));
    driven.step(Step::Fail { call: 0, error: Failing::TimedOut });
    assert!(driven.ended.contains(&second));
}

#[test]
fn promise_1_second_chance_joins_no_call_with_a_later_deadline() {
    let mut driven = Driven::new(100, Interval);
    driven.add(key(0, true), CallKind::CheckGate, names(["a"]));
    driven.step(Step::FlushAll);
    let joined = driven.add(key(0, true), CallKind::CheckGate, names(["a"]));
    let deadline = driven.now + TIMEOUT;
    driven.now += TIMEOUT / 2;
    let strict = driven.add_request(bypass_cache(names(["a"])));
    driven.step(Step::FlushAll);

    driven.step(Step::Fail { call: 0, error: Failing::Broken });
    driven.step(Step::FlushDue);

    let (_, again) = driven.in_flight.last().unwrap();
    assert_eq!((driven.in_flight.len(), again.deadline), (2, deadline));
    driven.step(Step::Answer { call: 1, left_out: Vec::new() });
    assert!(driven.ended.contains(&joined) && !driven.ended.contains(&strict));
    driven.finish();
}

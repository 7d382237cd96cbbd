//! When groups are due, and the calls that a flush makes.

use super::*;

#[test]
fn distinct_names_go_out_in_the_order_they_were_first_asked() {
    let mut driven = Driven::new(100, Interval);
    driven.add(key(0, true), CallKind::CheckGate, names(["c", "a", "c"]));
    driven.add(key(0, true), CallKind::CheckGate, names(["b", "a"]));
    driven.add(key(0, true), CallKind::GetConfig, names(["a", "b"]));

    let effects = driven.buffer.flush_all(&[]);

    assert_eq!(names_of_calls(&effects), [vec!["c", "a", "b"], vec!["a"], vec!["b"]]);
}

#[test]
fn more_than_a_hundred_names_become_several_calls() {
    let mut driven = Driven::new(100, Interval);
    let many: Vec<Arc<str>> = (0..250).map(|n| Arc::from(format!("gate {n}"))).collect();
    driven.add(key(0, true), CallKind::CheckGate, many);

    let effects = driven.buffer.flush_due(&[]);

    let sizes: Vec<_> = effects.calls.iter().map(|(_, call)| call.names.len()).collect();
    assert_eq!(sizes, [100, 100, 50]);
}

#[test]
fn user_is_due_once_its_names_reach_the_batch_size() {
    let mut driven = Driven::new(3, Interval);
    driven.add(key(1, true), CallKind::CheckGate, names(["a"]));
    driven.add(key(0, true), CallKind::CheckGate, names(["a", "b", "a"]));
    assert!(!driven.buffer.is_due());

    driven.add(key(0, true), CallKind::CheckGate, names(["c"]));

    assert!(driven.buffer.is_due());
    let effects = driven.buffer.flush_due(&[]);
    assert_eq!(names_of_calls(&effects), [vec!["a", "b", "c"]]);
    assert_eq!(driven.buffer.buffered(), 1);
}

#[test]
fn adaptive_flushes_an_idle_users_names_at_once() {
    let mut driven = Driven::new(100, Adaptive);
    driven.add(key(0, true), CallKind::CheckGate, names(["a"]));
    assert!(driven.buffer.is_due() && !driven.buffer.is_waiting());
    driven.add(key(0, true), CallKind::CheckGate, names(["b"]));
    driven.add(key(0, true), CallKind::GetConfig, names(["a"]));

    let effects = driven.buffer.flush_due(&[]);

    assert_eq!(names_of_calls(&effects), [vec!["a", "b"], vec!["a"]]);
    assert!(!driven.buffer.is_due() && !driven.buffer.is_waiting());
}

#[test]
fn adaptive_gathers_names_during_a_call_until_it_returns() {
    let mut driven = Driven::new(100, Adaptive);
    driven.add(key(0, true), CallKind::CheckGate, names(["first"]));
    driven.step(Step::FlushDue);

    driven.add(key(0, true), CallKind::CheckGate, names(["a"]));
    driven.add(key(0, true), CallKind::CheckGate, names(["b"]));
    assert!(!driven.buffer.is_due() && driven.buffer.is_waiting());
    driven.add(key(1, true), CallKind::CheckGate, names(["other user"]));
    driven.add(key(0, false), CallKind::CheckGate, names(["other mode"]));
    driven.step(Step::FlushDue);
    assert_eq!(driven.in_flight.len(), 3, "other users and modes are independent");

    driven.step(Step::Fail { call: 0, error: Failing::Broken });

    assert_eq!(names_of_calls(&driven.buffer.flush_due(&[])), [["a", "b"]]);
    assert!(!driven.buffer.is_waiting());
}

#[test]
fn adaptive_gathers_gates_until_the_last_call_returns() {
    let mut driven = Driven::new(100, Adaptive);
    let many: Vec<Arc<str>> = (0..150).map(|n| Arc::from(format!("gate {n}"))).collect();
    driven.add(key(0, true), CallKind::CheckGate, many);
    driven.step(Step::FlushDue);
    driven.add(key(0, true), CallKind::CheckGate, names(["a"]));

    driven.step(Step::Fail { call: 0, error: Failing::Refused });
    assert!(!driven.buffer.is_due(), "both halves are in flight");
    driven.step(Step::Answer { call: 0, left_out: Vec::new() });
    driven.step(Step::Answer { call: 0, left_out: Vec::new() });
    assert!(!driven.buffer.is_due(), "one half is in flight");
    driven.step(Step::Answer { call: 0, left_out: Vec::new() });

    assert_eq!(names_of_calls(&driven.buffer.flush_due(&[])), [["a"]]);
}

#[test]
fn adaptive_configs_leave_at_once_and_hold_no_gates_back() {
    let mut driven = Driven::new(100, Adaptive);
    driven.add(key(0, true), CallKind::CheckGate, names(["first"]));
    driven.step(Step::FlushDue);
    driven.add(key(0, true), CallKind::CheckGate, names(["gate"]));
    driven.add(key(0, true), CallKind::GetConfig, names(["a", "b"]));

    driven.step(Step::FlushDue);
    assert_eq!(driven.in_flight.len(), 3, "only the gate is held back");
    driven.step(Step::Answer { call: 0, left_out: Vec::new() });

    assert_eq!(names_of_calls(&driven.buffer.flush_due(&[])), [["gate"]]);
}

#[test]
fn adaptive_the_batch_size_and_the_interval_wait_for_no_call() {
    let mut driven = Driven::new(3, Adaptive);
    driven.add(key(0, true), CallKind::CheckGate, names(["first"]));
    driven.step(Step::FlushDue);

    driven.add(key(0, true), CallKind::CheckGate, names(["a", "b"]));
    assert!(!driven.buffer.is_due());
    driven.add(key(0, true), CallKind::CheckGate, names(["c"]));
    assert_eq!(names_of_calls(&driven.buffer.flush_due(&[])), [["a", "b", "c"]]);

    driven.add(key(0, true), CallKind::CheckGate, names(["d"]));
    assert!(!driven.buffer.is_due());
    assert_eq!(names_of_calls(&driven.buffer.flush_all(&[])), [["d"]]);
}

#[test]
fn adaptive_who_is_asked_for_again_waits_for_no_other_call() {
    let mut driven = Driven::new(100, Adaptive);
    driven.add(key(0, true), CallKind::CheckGate, names(["a"]));
    driven.step(Step::FlushDue);
    driven.add(key(0, true), CallKind::CheckGate, names(["a", "b"]));
    driven.step(Step::FlushAll);
    driven.add(key(0, true), CallKind::CheckGate, names(["c"]));

    driven.step(Step::Fail { call: 0, error: Failing::Broken });

    assert_eq!(names_of_calls(&driven.buffer.flush_due(&[])), [["a"]]);
    assert_eq!(driven.buffer.buffered(), 1, "the other gate stays buffered");
}

#[test]
fn exposure_modes_do_not_share_a_call() {
    let mut driven = Driven::new(100, Interval);
    driven.add(key(0, true), CallKind::CheckGate, names(["a"]));
    driven.add(key(0, false), CallKind::CheckGate, names(["a"]));

    let effects = driven.buffer.flush_all(&[]);

    let modes: Vec<_> = effects.calls.iter().map(|(_, call)| call.exposure).collect();
    assert_eq!(modes, [true, false]);
}

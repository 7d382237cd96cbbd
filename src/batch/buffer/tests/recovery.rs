//! What a restart repairs.

use super::*;

#[test]
fn promise_5_restart_keeps_a_name_buffered_once() {
    let mut driven = Driven::new(100, Interval);
    driven.add(key(0, true), CallKind::CheckGate, names(["a"]));
    driven.step(Step::FlushAll);
    driven.add_request(bypass_cache(names(["a"])));
    // As if a panic had struck after the call ended and before its names were delivered.
    driven.buffer.calls.clear();
    driven.in_flight.clear();

    assert!(driven.buffer.restarted().is_empty());

    let (id, call) = driven.buffer.flush_all(&[]).calls.remove(0);
    assert_eq!(*call.names, *names(["a"]));
    let there = evaluation(&key(0, true), CallKind::CheckGate, &call.names[0]);
    let outcome = Ok(vec![Some(there)]);
    let effects = driven.buffer.complete(id, outcome, no_results(), driven.now);
    assert_eq!(effects.answers.len(), 2);
    assert!(driven.buffer.is_empty() && is_clean(&driven.buffer));
}

#[test]
fn promise_5_request_pending_through_three_restarts_fails() {
    let mut driven = Driven::new(100, Interval);
    driven.add(key(0, true), CallKind::CheckGate, names(["a"]));
    assert!(driven.buffer.restarted().is_empty());
    let later = driven.add(key(0, true), CallKind::CheckGate, names(["b"]));
    assert!(driven.buffer.restarted().is_empty());

    let ended = driven.buffer.restarted();

    assert_eq!(ended.len(), 1);
    assert!(ended[0].request != later && matches!(ended[0].result, Err(Error::Internal { .. })));
}

#[test]
fn promise_5_restart_repairs_half_done_work() {
    let mut driven = Driven::new(100, Interval);
    for (user, name) in [(0, "a"), (0, "b"), (1, "a"), (2, "a")] {
        driven.add(key(user, true), CallKind::CheckGate, names([name]));
    }
    // As if a panic had struck during a flush, after the first user's call was started and the
    // second user's names were drained.
    let [first, second, _] = driven.buffer.groups.drain_waiting()[..] else {
        panic!("three groups")
    };
    driven.buffer.flush_groups([first], false);
    driven.buffer.groups.drain_buffered(second, false);

    assert!(driven.buffer.restarted().is_empty());

    // The first user's call was started but never sent, so it is lost, as its drop would report.
    let lost: Vec<_> = driven.buffer.calls.keys().copied().collect();
    let effects = driven.buffer.flush_all(&[]);
    let mut calls: Vec<_> = effects.calls.iter().map(|(id, _)| *id).chain(lost).collect();
    calls.sort_unstable();
    let mut answered = 0;
    for id in calls {
        let call = driven.buffer.call(id).expect("a call in flight").clone();
        let key = key_of(&call);
        let evaluations = call.names.iter().map(|name| Some(evaluation(&key, call.kind, name)));
        let outcome = Ok(evaluations.collect());
        let effects = driven.buffer.complete(id, outcome, no_results(), driven.now);
        answered += effects.answers.len();
    }
    assert_eq!(answered, 4);
    assert!(driven.buffer.is_empty() && is_clean(&driven.buffer));
}

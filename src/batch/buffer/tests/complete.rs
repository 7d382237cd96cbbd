//! Which requests get which outcome.

use super::*;

#[test]
fn name_in_flight_is_joined() {
    let mut driven = Driven::new(100, Interval);
    driven.add(key(0, true), CallKind::CheckGate, names(["a"]));
    driven.step(Step::FlushAll);

    let joined = driven.add(key(0, true), CallKind::CheckGate, names(["a"]));
    let effects = driven.buffer.flush_all(&[]);
    assert!(effects.calls.is_empty());

    driven.step(Step::Answer { call: 0, left_out: Vec::new() });
    assert!(driven.ended.contains(&joined));
}

#[test]
fn joiner_of_a_refused_call_is_refused() {
    let mut driven = Driven::new(100, Interval);
    driven.add(key(0, true), CallKind::CheckGate, names(["a"]));
    driven.step(Step::FlushAll);
    driven.add(key(0, true), CallKind::CheckGate, names(["a"]));

    driven.step(Step::Fail { call: 0, error: Failing::Unauthorized });

    assert!(driven.buffer.is_empty());
}

#[test]
fn name_left_out_is_an_error_and_not_false() {
    let mut driven = Driven::new(100, Interval);
    let key = key(0, true);
    driven.add(key.clone(), CallKind::CheckGate, names(["a", "b"]));
    driven.add(key.clone(), CallKind::CheckGate, names(["b"]));
    let (call, _) = driven.buffer.flush_all(&[]).calls.remove(0);
    let there = evaluation(&key, CallKind::CheckGate, &Arc::from("b"));

    let outcome = Ok(vec![None, Some(there.clone())]);
    let answers = driven.buffer.complete(call, outcome, no_results(), driven.now).answers;

    assert!(
        matches!(&answers[0].result, Err(Error::MissingName { name, .. }) if &**name == "a"),
        "{answers:?}"
    );
    assert!(matches!(&answers[1].result, Ok(evaluations) if **evaluations == [there]));
}

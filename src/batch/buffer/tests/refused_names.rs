//! How a refused name is found and remembered.

use super::*;

#[test]
fn promise_3_refused_name_is_isolated_and_fails_only_its_own() {
    let mut driven = Driven::new(100, Interval);
    let key = key(0, true);
    let names: Vec<Arc<str>> = (0..100).map(|n| Arc::from(format!("gate {n}"))).collect();
    for name in &names {
        driven.add(key.clone(), CallKind::CheckGate, vec![Arc::clone(name)]);
    }
    let poison = &names[37];

    let mut calls = driven.buffer.flush_due(&[]).calls;
    let (mut made, mut refused, mut answered) = (0, 0, 0);
    while let Some((id, call)) = calls.pop() {
        made += 1;
        assert_eq!(call.refusal.is_some(), made > 1);
        let outcome = match call.names.contains(poison) {
            true => Err(failure(Failing::Refused)),
            false => Ok(call.names.iter().map(|n| Some(evaluation(&key, call.kind, n))).collect()),
        };
        let effects = driven.buffer.complete(id, outcome, no_results(), driven.now);
        refused += effects.answers.iter().filter(|answer| answer.result.is_err()).count();
        answered += effects.answers.iter().filter(|answer| answer.result.is_ok()).count();
        calls.extend(effects.calls);
    }

    assert_eq!((refused, answered), (1, 99));
    assert!(made <= 1 + 2 * 7, "two calls for each halving, not {made}");
    assert!(driven.buffer.is_empty() && is_clean(&driven.buffer));
}

/// Flushes to a server that refuses one name. Returns the number of refused requests, and of calls
/// that retried a part of a refused call.
fn flush_to_server_that_refuses(driven: &mut Driven, poison: &str) -> (usize, usize) {
    let mut calls = driven.buffer.flush_all(&[]).calls;
    let (mut refused, mut parts) = (0, 0);
    while let Some((id, call)) = calls.pop() {
        parts += usize::from(call.refusal.is_some());
        let key = key_of(&call);
        let evaluations = || call.names.iter().map(|name| Some(evaluation(&key, call.kind, name)));
        let outcome = match call.names.iter().any(|name| **name == *poison) {
            true => Err(failure(Failing::Refused)),
            false => Ok(evaluations().collect()),
        };
        let effects = driven.buffer.complete(id, outcome, no_results(), driven.now);
        refused += effects.answers.iter().filter(|answer| answer.result.is_err()).count();
        calls.extend(effects.calls);
    }
    assert!(driven.buffer.is_empty());
    (refused, parts)
}

#[test]
fn promise_3_name_refused_before_is_sent_alone() {
    let mut driven = Driven::new(100, Interval);
    let names: Vec<Arc<str>> = (0..20).map(|n| Arc::from(format!("gate {n}"))).collect();
    for round in 0..50 {
        for name in &names {
            driven.add(key(round, true), CallKind::CheckGate, vec![Arc::clone(name)]);
        }
        let (refused, parts) = flush_to_server_that_refuses(&mut driven, "gate 7");
        assert_eq!(refused, 1, "round {round}");
        assert!(if round == 0 { (1..=10).contains(&parts) } else { parts == 0 }, "{parts} parts");
    }

    driven.add(key(0, true), CallKind::CheckGate, vec![Arc::clone(&names[7])]);
    assert_eq!(flush_to_server_that_refuses(&mut driven, "nothing"), (0, 0));
    driven.add(key(0, true), CallKind::CheckGate, names);
    let calls = driven.buffer.flush_all(&[]).calls;
    assert_eq!(calls.len(), 1, "an answered name no longer counts as refused");
}

#[test]
fn call_sent_before_the_refusal_is_bisected_in_one_step() {
    let mut driven = Driven::new(100, Interval);
    let names: Vec<Arc<str>> = (0..20).map(|n| Arc::from(format!("gate {n}"))).collect();
    for user in 0..2 {
        driven.add(key(user, true), CallKind::CheckGate, names.clone());
        driven.step(Step::FlushAll);
    }
    let late = driven.in_flight.remove(1);
    let mut calls = vec![driven.in_flight.remove(0)];
    let refused = |names: &[Arc<str>]| names.contains(&Arc::from("gate 7"));
    while let Some((id, call)) = calls.pop() {
        let outcome = match refused(&call.names) {
            true => Err(failure(Failing::Refused)),
            false => Ok(vec![None; call.names.len()]),
        };
        calls.extend(driven.buffer.complete(id, outcome, no_results(), driven.now).calls);
    }

    let outcome = Err(failure(Failing::Refused));
    let effects = driven.buffer.complete(late.0, outcome, no_results(), driven.now);

    let sizes: Vec<_> = effects.calls.iter().map(|(_, call)| call.names.len()).collect();
    assert_eq!(sizes, [19, 1]);
    assert!(effects.calls.iter().all(|(_, call)| call.refusal.is_some()));
}

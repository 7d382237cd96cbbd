//! Cached names, stale evaluations, and requests that bypass the cache.

use super::*;

#[test]
fn known_names_are_not_asked_and_keep_their_places() {
    let mut driven = Driven::new(100, Interval);
    let (kind, names) = (CallKind::CheckGate, names(["a", "b", "a", "c"]));
    let cache = CacheUse { cached: Some(1), bypass_cache: false };
    driven.add_request(ModelRequest::new(key(0, true), kind, names, cache));
    let (call, request) = driven.buffer.flush_all(&[]).calls.remove(0);
    assert_eq!(request.names.iter().map(|name| &**name).collect::<Vec<_>>(), ["a", "c"]);

    let answers = request.names.iter().map(|name| Some(evaluation(&key(0, true), kind, name)));
    let outcome = Ok(answers.collect());
    let effects = driven.buffer.complete(call, outcome, no_results(), driven.now);

    assert_eq!(effects.answers.len(), 1);
    for answer in effects.answers {
        assert!(answer.result.is_ok());
        driven.check(answer, &request, None);
    }
}

#[test]
fn failed_call_falls_back_to_stale_answers() {
    let mut driven = Driven::new(100, Interval);
    let failed = driven.add(key(0, true), CallKind::CheckGate, names(["name 0", "other"]));
    let served = driven.add(key(0, true), CallKind::CheckGate, names(["name 0", "name 1"]));
    driven.step(Step::FlushAll);
    let joined = driven.add(key(0, true), CallKind::CheckGate, names(["name 1"]));
    let (call, request) = driven.in_flight.remove(0);

    let broken = Err(failure(Failing::Broken));
    let stale = stale_results(&request, &broken);
    let effects = driven.buffer.complete(call, broken, stale, driven.now);

    let ends: HashMap<_, _> =
        effects.answers.iter().map(|answer| (answer.request, answer.result.is_ok())).collect();
    let expected = [(failed, false), (served, true), (joined, true)];
    assert_eq!(ends, expected.into(), "even a request that could be retried");
    assert!(driven.buffer.is_empty() && driven.buffer.buffered() == 0);
}

#[test]
fn request_that_bypasses_the_cache_gets_no_stale_answer() {
    let mut driven = Driven::new(100, Interval);
    let strict = driven.add_request(bypass_cache(names(["name 0"])));
    driven.step(Step::FlushAll);
    let lenient = driven.add(key(0, true), CallKind::CheckGate, names(["name 0"]));
    let (call, request) = driven.in_flight.remove(0);

    let broken = Err(failure(Failing::Broken));
    let stale = stale_results(&request, &broken);
    let effects = driven.buffer.complete(call, broken, stale, driven.now);

    let ends: HashMap<_, _> =
        effects.answers.iter().map(|answer| (answer.request, answer.result.is_ok())).collect();
    assert_eq!(ends, [(strict, false), (lenient, true)].into());
}

#[test]
fn request_that_bypasses_the_cache_joins_only_buffered_names() {
    let mut driven = Driven::new(100, Interval);
    let first = driven.add(key(0, true), CallKind::CheckGate, names(["a", "b"]));
    driven.step(Step::FlushAll);

    let strict = driven.add_request(bypass_cache(names(["a", "a"])));
    let also = driven.add_request(bypass_cache(names(["a"])));
    let plain = driven.add(key(0, true), CallKind::CheckGate, names(["a"]));
    let other = driven.add(key(0, true), CallKind::CheckGate, names(["b"]));
    driven.step(Step::FlushAll);
    let joins = driven.add(key(0, true), CallKind::CheckGate, names(["a"]));

    let calls: Vec<_> = driven.in_flight.iter().map(|(_, call)| call.names.to_vec()).collect();
    assert_eq!(calls, [names(["a", "b"]), names(["a"])]);
    driven.step(Step::Answer { call: 0, left_out: Vec::new() });
    assert_eq!(driven.ended, [first, other].into());
    driven.step(Step::Answer { call: 0, left_out: Vec::new() });
    assert_eq!(driven.ended, [first, other, strict, also, plain, joins].into());
    driven.finish();
}

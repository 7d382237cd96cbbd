//! Names that are known already, stale evaluations, and requests past the cache.

use super::*;

#[test]
fn names_that_are_known_are_not_asked_for_and_stand_in_their_places() {
    let mut driven = Driven::new(100, Interval);
    let (kind, names) = (CallKind::CheckGate, names(["a", "b", "a", "c"]));
    let cached = Cached { known: Some(1), bypass_cache: false };
    driven.ask_with(Asked::new(lane(0, true), kind, names, cached));
    let (call, request) = driven.buffer.flush_all(EVERYBODY).calls.remove(0);
    assert_eq!(request.names.iter().map(|name| &**name).collect::<Vec<_>>(), ["a", "c"]);

    let answers = request.names.iter().map(|name| Some(evaluation(&lane(0, true), kind, name)));
    let outcome = Ok(answers.collect());
    let dealt = driven.buffer.complete(call, outcome, driven.now, NOTHING_INSTEAD);

    assert_eq!(dealt.answers.len(), 1);
    for answer in dealt.answers {
        assert!(answer.result.is_ok());
        driven.check(answer, &request, None);
    }
}

#[test]
fn where_a_call_failed_its_requests_get_what_there_is_instead() {
    let mut driven = Driven::new(100, Interval);
    let failed = driven.ask(lane(0, true), CallKind::CheckGate, names(["name 0", "other"]));
    let served = driven.ask(lane(0, true), CallKind::CheckGate, names(["name 0", "name 1"]));
    driven.step(Step::FlushAll);
    let joined = driven.ask(lane(0, true), CallKind::CheckGate, names(["name 1"]));
    let (call, _) = driven.in_flight.remove(0);

    let broken = Err(failure(Failing::Broken));
    let dealt = driven.buffer.complete(call, broken, driven.now, fallback);

    let ends: HashMap<_, _> =
        dealt.answers.iter().map(|answer| (answer.request, answer.result.is_ok())).collect();
    let expected = [(failed, false), (served, true), (joined, true)];
    assert_eq!(ends, expected.into(), "also who would have a second chance");
    assert!(driven.buffer.is_empty() && driven.buffer.buffered() == 0);
}

#[test]
fn what_there_is_instead_is_asked_for_with_the_names_own_error() {
    let mut driven = Driven::new(100, Interval);
    driven.ask(lane(0, true), CallKind::CheckGate, names(["a", "b", "c"]));
    let (call, _) = driven.buffer.flush_all(EVERYBODY).calls.remove(0);
    let asked = std::cell::RefCell::new(Vec::new());
    let note = |error: &Error, of: &Lane, kind: CallKind, name: &Arc<str>| {
        assert_eq!((of, kind), (&lane(0, true), CallKind::CheckGate));
        asked.borrow_mut().push((error.kind().as_str(), name.to_string()));
        None
    };

    let there = |name: &str| evaluation(&lane(0, true), CallKind::CheckGate, &Arc::from(name));
    let outcome = Ok(vec![Some(there("a")), None, Some(there("c"))]);
    driven.buffer.complete(call, outcome, driven.now, note);

    assert_eq!(asked.take(), [("missing_name", "b".to_owned())]);
}

#[test]
fn who_asks_past_the_cache_gets_nothing_instead() {
    let mut driven = Driven::new(100, Interval);
    let strict = driven.ask_with(bypass_cache(names(["name 0"])));
    driven.step(Step::FlushAll);
    let lenient = driven.ask(lane(0, true), CallKind::CheckGate, names(["name 0"]));
    let (call, _) = driven.in_flight.remove(0);

    let broken = Err(failure(Failing::Broken));
    let dealt = driven.buffer.complete(call, broken, driven.now, fallback);

    let ends: HashMap<_, _> =
        dealt.answers.iter().map(|answer| (answer.request, answer.result.is_ok())).collect();
    assert_eq!(ends, [(strict, false), (lenient, true)].into());
}

#[test]
fn who_asks_past_the_cache_joins_no_call_that_was_made_before_but_what_is_buffered() {
    let mut driven = Driven::new(100, Interval);
    let first = driven.ask(lane(0, true), CallKind::CheckGate, names(["a", "b"]));
    driven.step(Step::FlushAll);

    let strict = driven.ask_with(bypass_cache(names(["a", "a"])));
    let also = driven.ask_with(bypass_cache(names(["a"])));
    let plain = driven.ask(lane(0, true), CallKind::CheckGate, names(["a"]));
    let other = driven.ask(lane(0, true), CallKind::CheckGate, names(["b"]));
    driven.step(Step::FlushAll);
    let joins = driven.ask(lane(0, true), CallKind::CheckGate, names(["a"]));

    let calls: Vec<_> = driven.in_flight.iter().map(|(_, call)| call.names.to_vec()).collect();
    assert_eq!(calls, [names(["a", "b"]), names(["a"])]);
    driven.step(Step::Answer { call: 0, left_out: Vec::new() });
    assert_eq!(driven.ended, [first, other].into());
    driven.step(Step::Answer { call: 0, left_out: Vec::new() });
    assert_eq!(driven.ended, [first, other, strict, also, plain, joins].into());
    driven.finish();
}

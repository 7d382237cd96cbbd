use std::{
    collections::{BTreeSet, HashMap, HashSet},
    io,
    sync::Arc,
    time::Duration,
};

use proptest::{collection::vec, prelude::*, sample::select};

use super::*;
use crate::{
    call::Outcome,
    config::FlushPolicy::{Adaptive, Interval},
    error::ConnectFault,
    evaluation::{ConfigEvaluation, GateEvaluation, Origin},
    user::User,
};

/// What the buffer is driven with: requests of a few users and names, and everything that can
/// happen to them, in any order.
#[derive(Clone, Debug)]
enum Step {
    Ask { user: u8, exposure: bool, kind: CallKind, names: Vec<u8>, cached: Cached },
    AskMany { user: u8, names: usize },
    Leave(usize),
    FlushDue,
    FlushAll,
    Answer { call: usize, left_out: Vec<usize> },
    Fail { call: usize, error: Failing },
    Restart,
    Pass(u64),
}

/// What a request has to do with the cache.
#[derive(Clone, Copy, Debug, Default)]
struct Cached {
    /// The name that is known already, but for the last of them.
    known: Option<usize>,
    past_cache: bool,
}

fn cached() -> impl Strategy<Value = Cached> {
    (proptest::option::of(0..5usize), any::<bool>())
        .prop_map(|(known, past_cache)| Cached { known, past_cache })
}

fn step() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![Just(CallKind::CheckGate), Just(CallKind::GetConfig)];
    let ask = (0..3u8, any::<bool>(), kind, vec(0..6u8, 1..6), cached());
    let ask = ask.prop_map(|(user, exposure, kind, names, cached)| Step::Ask {
        user,
        exposure,
        kind,
        names,
        cached,
    });
    prop_oneof![
        6 => ask,
        1 => (0..3u8, 90..230usize).prop_map(|(user, names)| Step::AskMany { user, names }),
        2 => any::<usize>().prop_map(Step::Leave),
        2 => Just(Step::FlushDue),
        2 => Just(Step::FlushAll),
        4 => (any::<usize>(), vec(any::<usize>(), 0..2))
            .prop_map(|(call, left_out)| Step::Answer { call, left_out }),
        2 => (any::<usize>(), failing()).prop_map(|(call, error)| Step::Fail { call, error }),
        1 => Just(Step::Restart),
        2 => (0..400u64).prop_map(Step::Pass),
    ]
}

/// A buffer, and a much simpler account of what it owes to whom.
struct Driven {
    buffer: Buffer,
    now: Instant,
    asked: HashMap<RequestId, Asked>,
    left: HashSet<RequestId>,
    ended: HashSet<RequestId>,
    in_flight: Vec<(CallId, CallRequest)>,
    /// Names that some call left out.
    left_out: HashSet<(Lane, Arc<str>)>,
    /// Names in flight that somebody has asked for past the cache since.
    superseded: HashSet<(CallId, Arc<str>)>,
}

struct Asked {
    lane: Lane,
    kind: CallKind,
    names: Vec<Arc<str>>,
    cached: Cached,
    /// The last call that had been made.
    after: CallId,
    deadline: Option<Instant>,
}

impl Asked {
    fn new(lane: Lane, kind: CallKind, names: Vec<Arc<str>>, cached: Cached) -> Self {
        Self { lane, kind, names, cached, after: 0, deadline: None }
    }

    fn knows(&self, position: usize) -> bool {
        position + 1 < self.names.len() && self.cached.known == Some(position)
    }

    fn asks_for(&self, name: &Arc<str>) -> bool {
        let mut names = self.names.iter().enumerate();
        names.any(|(position, asked)| asked == name && !self.knows(position))
    }
}

const TIMEOUT: Duration = Duration::from_secs(1);

impl Driven {
    #[allow(clippy::disallowed_methods)]
    fn new(batch_size: usize, policy: FlushPolicy) -> Self {
        Self {
            buffer: Buffer::new(batch_size, policy, usize::MAX),
            now: Instant::now(),
            asked: HashMap::new(),
            left: HashSet::new(),
            ended: HashSet::new(),
            in_flight: Vec::new(),
            left_out: HashSet::new(),
            superseded: HashSet::new(),
        }
    }

    fn ask(&mut self, lane: Lane, kind: CallKind, names: Vec<Arc<str>>) -> RequestId {
        self.ask_with(Asked::new(lane, kind, names, Cached::default()))
    }

    fn ask_with(&mut self, mut asked: Asked) -> RequestId {
        asked.after = self.buffer.last_call();
        asked.deadline = Some(self.now + TIMEOUT);
        for (id, call) in self.in_flight.iter().filter(|_| asked.cached.past_cache) {
            if (lane_of(call), call.kind) == (asked.lane.clone(), asked.kind) {
                let names = call.names.iter().filter(|name| asked.asks_for(name));
                self.superseded.extend(names.map(|name| (*id, Arc::clone(name))));
            }
        }
        let known = asked.names.iter().enumerate().map(|(position, name)| {
            asked.knows(position).then(|| evaluation_from("cache", &asked.lane, asked.kind, name))
        });
        let mut known: Found = known.collect();
        let last = known.iter().rposition(Option::is_some);
        known.truncate(last.map_or(0, |last| last + 1));
        let (id, _) = self.buffer.add(Request {
            lane: asked.lane.clone(),
            kind: asked.kind,
            names: asked.names.clone().into(),
            known,
            past_cache: asked.cached.past_cache,
            deadline: self.now + TIMEOUT,
        });
        assert!(self.asked.insert(id, asked).is_none(), "an id was given twice");
        id
    }

    fn flush(&mut self, flush: impl FnOnce(&mut Buffer, &dyn Fn(RequestId) -> bool) -> Flushed) {
        let left = self.left.clone();
        let flushed = flush(&mut self.buffer, &|request| !left.contains(&request));
        for request in flushed.abandoned {
            assert!(self.left.contains(&request), "promise 3: somebody who waits was left out");
            assert!(self.ended.insert(request), "promise 1: request {request:?} ended twice");
        }
        for (id, call) in flushed.calls {
            assert!((1..=call.kind.max_names()).contains(&call.names.len()), "{call:?}");
            let names: BTreeSet<_> = call.names.iter().collect();
            assert_eq!(names.len(), call.names.len(), "a name stands in a call twice");
            for (other_id, other) in &self.in_flight {
                let same = other.kind == call.kind && lane_of(other) == lane_of(&call);
                let is_current =
                    |name: &Arc<str>| !self.superseded.contains(&(*other_id, Arc::clone(name)));
                let mut current = other.names.iter().filter(|name| is_current(name));
                let twice = same && current.any(|name| names.contains(name));
                assert!(!twice, "a name is asked while it is in flight: {call:?}, {other:?}");
            }
            self.assert_wanted(&call);
            self.in_flight.push((id, call));
        }
    }

    /// Each name of a call is waited for by somebody who has not left, and has time left.
    fn assert_wanted(&self, call: &CallRequest) {
        for name in call.names.iter() {
            let wanted = self.asked.iter().any(|(id, asked)| {
                let waits = !self.ended.contains(id) && !self.left.contains(id);
                let its_own = asked.lane == lane_of(call) && asked.kind == call.kind;
                waits && its_own && asked.asks_for(name)
            });
            assert!(wanted, "promise 3: nobody waits for {name} of {call:?}");
        }
        assert!(call.deadline <= self.now + TIMEOUT);
    }

    fn complete(&mut self, call: usize, outcome: impl FnOnce(&mut Self, &CallRequest) -> Outcome) {
        if self.in_flight.is_empty() {
            return;
        }
        let (id, call) = self.in_flight.swap_remove(call % self.in_flight.len());
        for request in self.buffer.requests_of(id) {
            let Some(asked) = self.asked.get(&request) else { continue };
            let joined = asked.cached.past_cache && asked.after >= id;
            assert!(!joined, "{request:?} asked past the cache, and waits for an earlier call");
            let is_in_time = asked.deadline.is_none_or(|deadline| call.deadline <= deadline);
            assert!(is_in_time, "promise 1: {request:?} waits for a call with a later deadline");
        }
        let outdated = call.names.iter().map(|name| (id, Arc::clone(name)));
        let outdated: Vec<_> = outdated.map(|key| self.superseded.contains(&key)).collect();
        assert_eq!(self.buffer.is_superseded(id).collect::<Vec<_>>(), outdated);
        let outcome = outcome(self, &call);
        let error = outcome.as_ref().err().cloned();
        let dealt = self.buffer.complete(id, outcome, self.now, fallback);
        for answer in dealt.answers {
            self.check(answer, &call, error.as_ref());
        }
        for (part, request) in &dealt.calls {
            let names = request.names.iter().map(|name| (id, Arc::clone(name)));
            let names: Vec<_> = names.filter(|key| self.superseded.contains(key)).collect();
            self.superseded.extend(names.into_iter().map(|(_, name)| (*part, name)));
        }
        self.in_flight.extend(dealt.calls);
        if error.is_some() {
            self.note_superseded_by_a_second_chance(&call);
        }
        let stale = self.buffer.complete(id, Ok(Vec::new()), self.now, NOTHING_INSTEAD);
        assert!(stale.answers.is_empty() && stale.calls.is_empty(), "a stale outcome");
    }

    /// Those who are asked for again join no call that is in flight: they take its place.
    fn note_superseded_by_a_second_chance(&mut self, failed: &CallRequest) {
        for (id, call) in &self.in_flight {
            let is_superseded = self.buffer.is_superseded(*id).zip(call.names.iter());
            let failed = is_superseded.filter(|(_, name)| failed.names.contains(name));
            let names = failed.filter(|(is_superseded, _)| *is_superseded);
            self.superseded.extend(names.map(|(_, name)| (*id, Arc::clone(name))));
        }
    }

    /// Exactly one answer for each request; if it is not an error, for the right user, with the
    /// right names in the right order.
    fn check(&mut self, answer: Answer, call: &CallRequest, failed: Option<&Error>) {
        let asked = &self.asked[&answer.request];
        let Asked { lane, kind, names, cached, .. } = asked;
        assert_eq!((lane, *kind), (&lane_of(call), call.kind), "promise 2");
        match (answer.result, failed) {
            (Ok(evaluations), _) => {
                assert_eq!(evaluations.len(), names.len());
                for (position, (name, found)) in names.iter().zip(evaluations).enumerate() {
                    let from = |whence| found == evaluation_from(whence, lane, *kind, name);
                    let is_right = match asked.knows(position) {
                        true => from("cache"),
                        false => from("network") || (!cached.past_cache && from("fallback")),
                    };
                    assert!(is_right, "{position}: {found:?} for {name}, {cached:?}");
                }
            }
            (Err(Error::MissingName { name, .. }), None) => {
                assert!(asked.asks_for(&name) && self.left_out.contains(&(lane.clone(), name)));
            }
            (Err(error), Some(failed)) => {
                assert_eq!(error.kind(), failed.kind());
                let mut names = call.names.iter().filter(|name| asked.asks_for(name));
                let has_fallback = |name| fallback(&error, lane, *kind, name).is_some();
                let culprit = names.find(|name| cached.past_cache || !has_fallback(name));
                assert!(culprit.is_some(), "promise 3");
            }
            (result, failed) => panic!("{result:?} after {failed:?}"),
        }
        assert!(self.ended.insert(answer.request), "promise 1: {:?} twice", answer.request);
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Ask { user, exposure, kind, names, cached } => {
                let names = names.into_iter().map(|name| Arc::from(format!("name {name}")));
                let lane = lane(user, exposure);
                self.ask_with(Asked::new(lane, kind, names.collect(), cached));
            }
            Step::AskMany { user, names } => {
                let names = (0..names).map(|name| Arc::from(format!("name {name}")));
                self.ask(lane(user, true), CallKind::CheckGate, names.collect());
            }
            Step::Leave(who) => {
                let waiting = self.asked.keys().filter(|id| !self.ended.contains(id));
                let mut waiting: Vec<_> = waiting.copied().collect();
                waiting.sort_unstable();
                if !waiting.is_empty() {
                    self.left.insert(waiting[who % waiting.len()]);
                }
            }
            Step::FlushDue => self.flush(|buffer, present| buffer.flush_due(present)),
            Step::FlushAll => {
                self.flush(|buffer, present| buffer.flush_all(present));
                assert_eq!(self.buffer.buffered(), 0);
                assert!(!self.buffer.is_due());
            }
            Step::Answer { call, left_out } => self.complete(call, |driven, call| {
                let out = |at: usize| left_out.iter().any(|out| out % call.names.len() == at);
                let lane = lane_of(call);
                let answers = call.names.iter().enumerate().map(|(at, name)| {
                    if out(at) {
                        driven.left_out.insert((lane.clone(), Arc::clone(name)));
                        return None;
                    }
                    Some(evaluation(&lane, call.kind, name))
                });
                Ok(answers.collect())
            }),
            Step::Fail { call, error } => self.complete(call, |_, _| Err(failure(error))),
            Step::Restart => {
                for answer in self.buffer.restarted() {
                    assert!(matches!(answer.result, Err(Error::Internal { .. })));
                    assert!(self.ended.insert(answer.request), "promise 1");
                }
            }
            Step::Pass(milliseconds) => self.now += Duration::from_millis(milliseconds),
        }
        assert_eq!(self.buffer.pending(), self.asked.len() - self.ended.len());
        assert_eq!(self.buffer.in_flight(), self.in_flight.len());
        self.assert_due();
    }

    /// What is buffered waits for the interval only while the policy has a reason for it.
    fn assert_due(&self) {
        let Lanes { lanes, names, departure, due, .. } = &self.buffer.lanes;
        for (id, lane, state) in lanes.iter() {
            let is_gate = |kind: CallKind| kind == CallKind::CheckGate;
            let wanted = |name: &NameId| names.get(*name).expect("a name").0;
            let kinds = || state.buffered.iter().map(|name| wanted(name).kind);
            let calls = self.in_flight.iter().filter(|(_, call)| lane_of(call) == *lane);
            let gate_calls = calls.filter(|(_, call)| is_gate(call.kind)).count();
            assert_eq!(state.gate_calls, gate_calls);
            let is_full = state.buffered.len() >= departure.batch_size;
            let is_idle = gate_calls == 0 && kinds().any(is_gate);
            let has_configs = !kinds().all(is_gate);
            if is_full || (departure.policy == Adaptive && (is_idle || has_configs)) {
                assert!(state.is_due, "{lane:?} waits for nothing: {state:?}");
            }
            assert_eq!(state.is_due, due.contains(&id));
            assert_eq!(state.is_waiting, self.buffer.lanes.waiting.contains(&id));
            assert!(state.buffered.is_empty() || state.is_due || state.is_waiting);
            assert_eq!(state.count, names.iter().filter(|(_, of, _)| of.lane == id).count());
        }
    }

    /// Answers everything there is, after which nothing may be left.
    fn finish(mut self) {
        while !self.buffer.is_empty() || !self.in_flight.is_empty() {
            let pending = (self.buffer.pending(), self.in_flight.len());
            self.step(Step::FlushAll);
            assert!(!self.in_flight.is_empty() || self.buffer.is_empty(), "{pending:?} hang");
            while !self.in_flight.is_empty() {
                self.step(Step::Answer { call: 0, left_out: Vec::new() });
            }
        }
        assert_eq!(self.ended.len(), self.asked.len(), "promise 1");
        // Names whose requests failed for another name's sake stay until the next flush.
        self.step(Step::FlushAll);
        assert!(self.in_flight.is_empty());
        assert!(has_nothing(&self.buffer) && self.buffer.calls.is_empty(), "promise 4");
    }
}

fn has_nothing(Buffer { lanes, refused, .. }: &Buffer) -> bool {
    let is_known = lanes.names.iter().next().is_some() || lanes.lanes.iter().next().is_some();
    !is_known
        && lanes.buffered == 0
        && lanes.waiting.is_empty()
        && lanes.due.is_empty()
        && refused.is_settled()
}

fn lane(user: u8, exposure: bool) -> Lane {
    Lane { user: User::new(format!("u-{user}")).unwrap(), exposure }
}

fn lane_of(call: &CallRequest) -> Lane {
    Lane { user: call.user.clone(), exposure: call.exposure }
}

/// What Statsig says: an evaluation that shows whose it is.
fn evaluation(lane: &Lane, kind: CallKind, name: &Arc<str>) -> Evaluation {
    evaluation_from("network", lane, kind, name)
}

/// The same, and where it is from.
fn evaluation_from(whence: &str, lane: &Lane, kind: CallKind, name: &Arc<str>) -> Evaluation {
    let whose = format!("{lane:?}");
    match kind {
        CallKind::CheckGate => {
            GateEvaluation::new(Arc::clone(name), true).with_rule(whose, whence).into()
        }
        CallKind::GetConfig => {
            let value = serde_json::Map::default();
            ConfigEvaluation::new(Arc::clone(name), value).with_rule(whose, whence).into()
        }
    }
}

/// Two of the names have something to fall back on, if it is Statsig that fails.
fn fallback(error: &Error, lane: &Lane, kind: CallKind, name: &Arc<str>) -> Option<Evaluation> {
    let is_there = matches!(&**name, "name 0" | "name 1") && error.is_retryable();
    is_there.then(|| evaluation_from("fallback", lane, kind, name))
}

#[derive(Clone, Copy, Debug)]
enum Failing {
    Broken,
    Unauthorized,
    Refused,
    TimedOut,
}

fn failing() -> impl Strategy<Value = Failing> {
    let any = [Failing::Broken, Failing::Unauthorized, Failing::Refused, Failing::TimedOut];
    select(any.to_vec())
}

fn failure(failing: Failing) -> Error {
    let path = "/v1/check_gate";
    match failing {
        Failing::Broken => {
            let source = Arc::new(io::Error::other("broken"));
            Error::Connect { fault: ConnectFault::Closed, source }
        }
        Failing::TimedOut => Error::Timeout { limit: TIMEOUT, last: None },
        Failing::Unauthorized => Error::Unauthorized { path, status: 401 },
        Failing::Refused => Error::Refused { path, status: 400, excerpt: String::new() },
    }
}

fn names<const N: usize>(names: [&str; N]) -> Vec<Arc<str>> {
    names.into_iter().map(Arc::from).collect()
}

fn called(flushed: &Flushed) -> Vec<Vec<&str>> {
    let calls = flushed.calls.iter();
    calls.map(|(_, call)| call.names.iter().map(|name| &**name).collect()).collect()
}

const EVERYBODY: fn(RequestId) -> bool = |_| true;

const NOTHING_INSTEAD: fn(&Error, &Lane, CallKind, &Arc<str>) -> Option<Evaluation> =
    |_, _, _, _| None;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn promises_1_2_3_hold_for_any_history(
        batch_size in 1..=100usize,
        policy in select(&[Interval, Adaptive]),
        steps in vec(step(), 0..60),
    ) {
        let mut driven = Driven::new(batch_size, policy);
        for step in steps {
            driven.step(step);
        }
        driven.finish();
    }
}

#[test]
fn distinct_names_go_out_in_the_order_they_were_first_asked() {
    let mut driven = Driven::new(100, Interval);
    driven.ask(lane(0, true), CallKind::CheckGate, names(["c", "a", "c"]));
    driven.ask(lane(0, true), CallKind::CheckGate, names(["b", "a"]));
    driven.ask(lane(0, true), CallKind::GetConfig, names(["a", "b"]));

    let flushed = driven.buffer.flush_all(EVERYBODY);

    assert_eq!(called(&flushed), [vec!["c", "a", "b"], vec!["a"], vec!["b"]]);
}

#[test]
fn more_than_a_hundred_names_become_several_calls() {
    let mut driven = Driven::new(100, Interval);
    let many: Vec<Arc<str>> = (0..250).map(|n| Arc::from(format!("gate {n}"))).collect();
    driven.ask(lane(0, true), CallKind::CheckGate, many);

    let flushed = driven.buffer.flush_due(EVERYBODY);

    let sizes: Vec<_> = flushed.calls.iter().map(|(_, call)| call.names.len()).collect();
    assert_eq!(sizes, [100, 100, 50]);
}

#[test]
fn a_user_is_due_once_its_distinct_names_reach_the_batch_size_and_others_are_not() {
    let mut driven = Driven::new(3, Interval);
    driven.ask(lane(1, true), CallKind::CheckGate, names(["a"]));
    driven.ask(lane(0, true), CallKind::CheckGate, names(["a", "b", "a"]));
    assert!(!driven.buffer.is_due());

    driven.ask(lane(0, true), CallKind::CheckGate, names(["c"]));

    assert!(driven.buffer.is_due());
    let flushed = driven.buffer.flush_due(EVERYBODY);
    assert_eq!(called(&flushed), [vec!["a", "b", "c"]]);
    assert_eq!(driven.buffer.buffered(), 1);
}

#[test]
fn adaptive_an_idle_users_names_are_due_as_soon_as_they_are_asked() {
    let mut driven = Driven::new(100, Adaptive);
    driven.ask(lane(0, true), CallKind::CheckGate, names(["a"]));
    assert!(driven.buffer.is_due() && !driven.buffer.is_waiting());
    driven.ask(lane(0, true), CallKind::CheckGate, names(["b"]));
    driven.ask(lane(0, true), CallKind::GetConfig, names(["a"]));

    let flushed = driven.buffer.flush_due(EVERYBODY);

    assert_eq!(called(&flushed), [vec!["a", "b"], vec!["a"]]);
    assert!(!driven.buffer.is_due() && !driven.buffer.is_waiting());
}

#[test]
fn adaptive_what_is_asked_during_a_call_gathers_and_is_due_when_it_returns() {
    let mut driven = Driven::new(100, Adaptive);
    driven.ask(lane(0, true), CallKind::CheckGate, names(["first"]));
    driven.step(Step::FlushDue);

    driven.ask(lane(0, true), CallKind::CheckGate, names(["a"]));
    driven.ask(lane(0, true), CallKind::CheckGate, names(["b"]));
    assert!(!driven.buffer.is_due() && driven.buffer.is_waiting());
    driven.ask(lane(1, true), CallKind::CheckGate, names(["other user"]));
    driven.ask(lane(0, false), CallKind::CheckGate, names(["other mode"]));
    driven.step(Step::FlushDue);
    assert_eq!(driven.in_flight.len(), 3, "others hold nobody back, and are not held back");

    driven.step(Step::Fail { call: 0, error: Failing::Broken });

    assert_eq!(called(&driven.buffer.flush_due(EVERYBODY)), [["a", "b"]]);
    assert!(!driven.buffer.is_waiting());
}

#[test]
fn adaptive_gates_gather_until_the_last_of_several_calls_returns() {
    let mut driven = Driven::new(100, Adaptive);
    let many: Vec<Arc<str>> = (0..150).map(|n| Arc::from(format!("gate {n}"))).collect();
    driven.ask(lane(0, true), CallKind::CheckGate, many);
    driven.step(Step::FlushDue);
    driven.ask(lane(0, true), CallKind::CheckGate, names(["a"]));

    driven.step(Step::Fail { call: 0, error: Failing::Refused });
    assert!(!driven.buffer.is_due(), "its halves are in flight");
    driven.step(Step::Answer { call: 0, left_out: Vec::new() });
    driven.step(Step::Answer { call: 0, left_out: Vec::new() });
    assert!(!driven.buffer.is_due(), "one of the halves is");
    driven.step(Step::Answer { call: 0, left_out: Vec::new() });

    assert_eq!(called(&driven.buffer.flush_due(EVERYBODY)), [["a"]]);
}

#[test]
fn adaptive_configs_leave_at_once_and_hold_no_gates_back() {
    let mut driven = Driven::new(100, Adaptive);
    driven.ask(lane(0, true), CallKind::CheckGate, names(["first"]));
    driven.step(Step::FlushDue);
    driven.ask(lane(0, true), CallKind::CheckGate, names(["gate"]));
    driven.ask(lane(0, true), CallKind::GetConfig, names(["a", "b"]));

    driven.step(Step::FlushDue);
    assert_eq!(driven.in_flight.len(), 3, "the configs leave beside the call, the gate does not");
    driven.step(Step::Answer { call: 0, left_out: Vec::new() });

    assert_eq!(called(&driven.buffer.flush_due(EVERYBODY)), [["gate"]]);
}

#[test]
fn adaptive_the_batch_size_and_the_interval_wait_for_no_call() {
    let mut driven = Driven::new(3, Adaptive);
    driven.ask(lane(0, true), CallKind::CheckGate, names(["first"]));
    driven.step(Step::FlushDue);

    driven.ask(lane(0, true), CallKind::CheckGate, names(["a", "b"]));
    assert!(!driven.buffer.is_due());
    driven.ask(lane(0, true), CallKind::CheckGate, names(["c"]));
    assert_eq!(called(&driven.buffer.flush_due(EVERYBODY)), [["a", "b", "c"]]);

    driven.ask(lane(0, true), CallKind::CheckGate, names(["d"]));
    assert!(!driven.buffer.is_due());
    assert_eq!(called(&driven.buffer.flush_all(EVERYBODY)), [["d"]]);
}

#[test]
fn adaptive_who_is_asked_for_again_waits_for_no_other_call() {
    let mut driven = Driven::new(100, Adaptive);
    driven.ask(lane(0, true), CallKind::CheckGate, names(["a"]));
    driven.step(Step::FlushDue);
    driven.ask(lane(0, true), CallKind::CheckGate, names(["a", "b"]));
    driven.step(Step::FlushAll);
    driven.ask(lane(0, true), CallKind::CheckGate, names(["c"]));

    driven.step(Step::Fail { call: 0, error: Failing::Broken });

    assert_eq!(called(&driven.buffer.flush_due(EVERYBODY)), [["a"]]);
    assert_eq!(driven.buffer.buffered(), 1, "the other gate gathers on");
}

#[test]
fn a_name_in_flight_is_joined_and_not_asked_again() {
    let mut driven = Driven::new(100, Interval);
    driven.ask(lane(0, true), CallKind::CheckGate, names(["a"]));
    driven.step(Step::FlushAll);

    let joined = driven.ask(lane(0, true), CallKind::CheckGate, names(["a"]));
    let flushed = driven.buffer.flush_all(EVERYBODY);
    assert!(flushed.calls.is_empty());

    driven.step(Step::Answer { call: 0, left_out: Vec::new() });
    assert!(driven.ended.contains(&joined));
}

#[test]
fn who_joined_a_call_that_failed_is_asked_for_again_once_while_there_is_time() {
    let mut driven = Driven::new(100, Interval);
    let first = driven.ask(lane(0, true), CallKind::CheckGate, names(["a"]));
    driven.step(Step::FlushAll);
    driven.step(Step::Pass(500));
    let joined = driven.ask(lane(0, true), CallKind::CheckGate, names(["a"]));

    driven.step(Step::Fail { call: 0, error: Failing::Broken });
    assert!(driven.ended.contains(&first) && !driven.ended.contains(&joined));

    assert!(driven.buffer.is_due(), "what is asked again waits for no interval");
    driven.step(Step::FlushDue);
    assert_eq!(driven.in_flight[0].1.deadline, driven.now + TIMEOUT);
    driven.step(Step::Fail { call: 0, error: Failing::Broken });
    assert!(driven.ended.contains(&joined));
}

/// A buffer in which name "a" waits to be asked again, for a request with 10 ms left.
fn with_little_time_left() -> Driven {
    let mut driven = Driven::new(100, Interval);
    driven.ask(lane(0, true), CallKind::CheckGate, names(["a"]));
    driven.step(Step::FlushAll);
    driven.ask(lane(0, true), CallKind::CheckGate, names(["a"]));
    driven.step(Step::Pass(990));
    driven
}

#[test]
fn promise_3_who_is_asked_for_again_does_not_cut_the_time_of_others() {
    let mut driven = with_little_time_left();
    driven.ask(lane(0, true), CallKind::CheckGate, names(["b"]));
    driven.step(Step::Fail { call: 0, error: Failing::Broken });
    driven.ask(lane(0, true), CallKind::CheckGate, names(["c"]));

    let flushed = driven.buffer.flush_due(EVERYBODY);

    assert_eq!(called(&flushed), [vec!["b", "c"], vec!["a"]]);
    let left: Vec<_> = flushed.calls.iter().map(|(_, call)| call.deadline - driven.now).collect();
    assert_eq!(left, [TIMEOUT, Duration::from_millis(10)]);
}

#[test]
fn promise_3_who_shares_a_name_that_is_asked_again_has_a_second_chance_as_well() {
    let mut driven = with_little_time_left();
    driven.step(Step::Fail { call: 0, error: Failing::Broken });
    let fresh = driven.ask(lane(0, true), CallKind::CheckGate, names(["a"]));
    driven.step(Step::FlushDue);
    driven.step(Step::Pass(10));

    driven.step(Step::Fail { call: 0, error: Failing::Broken });

    assert_eq!(driven.ended.len(), 2, "the first two");
    assert!(!driven.ended.contains(&fresh));
    driven.step(Step::FlushDue);
    driven.step(Step::Fail { call: 0, error: Failing::Broken });
    assert!(driven.ended.contains(&fresh), "once");
}

#[test]
fn promise_3_who_rode_in_a_call_that_ran_out_of_anothers_time_is_asked_for_again_once() {
    let mut driven = Driven::new(100, Interval);
    let first = driven.ask(lane(0, true), CallKind::CheckGate, names(["a"]));
    driven.step(Step::Pass(900));
    let second = driven.ask(lane(0, true), CallKind::CheckGate, names(["a", "b"]));
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
fn who_joined_a_call_that_was_refused_is_refused_too() {
    let mut driven = Driven::new(100, Interval);
    driven.ask(lane(0, true), CallKind::CheckGate, names(["a"]));
    driven.step(Step::FlushAll);
    driven.ask(lane(0, true), CallKind::CheckGate, names(["a"]));

    driven.step(Step::Fail { call: 0, error: Failing::Unauthorized });

    assert!(driven.buffer.is_empty());
}

#[test]
fn a_name_left_out_fails_those_who_asked_for_it_and_serves_nobody_false() {
    let mut driven = Driven::new(100, Interval);
    let lane = lane(0, true);
    driven.ask(lane.clone(), CallKind::CheckGate, names(["a", "b"]));
    driven.ask(lane.clone(), CallKind::CheckGate, names(["b"]));
    let (call, _) = driven.buffer.flush_all(EVERYBODY).calls.remove(0);
    let there = evaluation(&lane, CallKind::CheckGate, &Arc::from("b"));

    let outcome = Ok(vec![None, Some(there.clone())]);
    let answers = driven.buffer.complete(call, outcome, driven.now, NOTHING_INSTEAD).answers;

    assert!(
        matches!(&answers[0].result, Err(Error::MissingName { name, .. }) if &**name == "a"),
        "{answers:?}"
    );
    assert!(matches!(&answers[1].result, Ok(evaluations) if **evaluations == [there]));
}

#[test]
fn names_that_are_known_are_not_asked_for_and_stand_in_their_places() {
    let mut driven = Driven::new(100, Interval);
    let (kind, names) = (CallKind::CheckGate, names(["a", "b", "a", "c"]));
    let cached = Cached { known: Some(1), past_cache: false };
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

fn past_cache(names: Vec<Arc<str>>) -> Asked {
    let cached = Cached { known: None, past_cache: true };
    Asked::new(lane(0, true), CallKind::CheckGate, names, cached)
}

#[test]
fn who_asks_past_the_cache_gets_nothing_instead() {
    let mut driven = Driven::new(100, Interval);
    let strict = driven.ask_with(past_cache(names(["name 0"])));
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

    let strict = driven.ask_with(past_cache(names(["a", "a"])));
    let also = driven.ask_with(past_cache(names(["a"])));
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

#[test]
fn promise_1_second_chance_joins_no_call_with_a_later_deadline() {
    let mut driven = Driven::new(100, Interval);
    driven.ask(lane(0, true), CallKind::CheckGate, names(["a"]));
    driven.step(Step::FlushAll);
    let joined = driven.ask(lane(0, true), CallKind::CheckGate, names(["a"]));
    let deadline = driven.now + TIMEOUT;
    driven.now += TIMEOUT / 2;
    let strict = driven.ask_with(past_cache(names(["a"])));
    driven.step(Step::FlushAll);

    driven.step(Step::Fail { call: 0, error: Failing::Broken });
    driven.step(Step::FlushDue);

    let (_, again) = driven.in_flight.last().unwrap();
    assert_eq!((driven.in_flight.len(), again.deadline), (2, deadline));
    driven.step(Step::Answer { call: 1, left_out: Vec::new() });
    assert!(driven.ended.contains(&joined) && !driven.ended.contains(&strict));
    driven.finish();
}

#[test]
fn promise_5_a_restart_leaves_a_name_buffered_once_that_was_asked_for_anew() {
    let mut driven = Driven::new(100, Interval);
    driven.ask(lane(0, true), CallKind::CheckGate, names(["a"]));
    driven.step(Step::FlushAll);
    driven.ask_with(past_cache(names(["a"])));
    // As if a panic had come after the call was closed, before its names were dealt with.
    driven.buffer.calls.clear();
    driven.in_flight.clear();

    assert!(driven.buffer.restarted().is_empty());

    let (id, call) = driven.buffer.flush_all(EVERYBODY).calls.remove(0);
    assert_eq!(*call.names, *names(["a"]));
    let there = evaluation(&lane(0, true), CallKind::CheckGate, &call.names[0]);
    let outcome = Ok(vec![Some(there)]);
    let dealt = driven.buffer.complete(id, outcome, driven.now, NOTHING_INSTEAD);
    assert_eq!(dealt.answers.len(), 2);
    assert!(driven.buffer.is_empty() && has_nothing(&driven.buffer));
}

#[test]
fn what_there_is_instead_is_asked_for_with_the_names_own_error() {
    let mut driven = Driven::new(100, Interval);
    driven.ask(lane(0, true), CallKind::CheckGate, names(["a", "b", "c"]));
    let (call, _) = driven.buffer.flush_all(EVERYBODY).calls.remove(0);
    let asked = std::cell::RefCell::new(Vec::new());
    let note = |error: &Error, of: &Lane, kind: CallKind, name: &Arc<str>| {
        assert_eq!((of, kind), (&lane(0, true), CallKind::CheckGate));
        asked.borrow_mut().push((error.kind(), name.to_string()));
        None
    };

    let there = |name: &str| evaluation(&lane(0, true), CallKind::CheckGate, &Arc::from(name));
    let outcome = Ok(vec![Some(there("a")), None, Some(there("c"))]);
    driven.buffer.complete(call, outcome, driven.now, note);

    assert_eq!(asked.take(), [("missing_name", "b".to_owned())]);
}

#[test]
fn exposure_modes_do_not_share_a_call() {
    let mut driven = Driven::new(100, Interval);
    driven.ask(lane(0, true), CallKind::CheckGate, names(["a"]));
    driven.ask(lane(0, false), CallKind::CheckGate, names(["a"]));

    let flushed = driven.buffer.flush_all(EVERYBODY);

    let modes: Vec<_> = flushed.calls.iter().map(|(_, call)| call.exposure).collect();
    assert_eq!(modes, [true, false]);
}

#[test]
fn promise_5_a_request_pending_through_a_third_restart_gets_an_error() {
    let mut driven = Driven::new(100, Interval);
    driven.ask(lane(0, true), CallKind::CheckGate, names(["a"]));
    assert!(driven.buffer.restarted().is_empty());
    let later = driven.ask(lane(0, true), CallKind::CheckGate, names(["b"]));
    assert!(driven.buffer.restarted().is_empty());

    let ended = driven.buffer.restarted();

    assert_eq!(ended.len(), 1);
    assert!(ended[0].request != later && matches!(ended[0].result, Err(Error::Internal { .. })));
}

#[test]
fn promise_3_a_name_that_is_refused_is_isolated_and_fails_only_who_asked_for_it() {
    let mut driven = Driven::new(100, Interval);
    let lane = lane(0, true);
    let names: Vec<Arc<str>> = (0..100).map(|n| Arc::from(format!("gate {n}"))).collect();
    for name in &names {
        driven.ask(lane.clone(), CallKind::CheckGate, vec![Arc::clone(name)]);
    }
    let poison = &names[37];

    let mut calls = driven.buffer.flush_due(EVERYBODY).calls;
    let (mut made, mut refused, mut answered) = (0, 0, 0);
    while let Some((id, call)) = calls.pop() {
        made += 1;
        assert_eq!(call.refusal.is_some(), made > 1);
        let outcome = match call.names.contains(poison) {
            true => Err(failure(Failing::Refused)),
            false => Ok(call.names.iter().map(|n| Some(evaluation(&lane, call.kind, n))).collect()),
        };
        let dealt = driven.buffer.complete(id, outcome, driven.now, NOTHING_INSTEAD);
        refused += dealt.answers.iter().filter(|answer| answer.result.is_err()).count();
        answered += dealt.answers.iter().filter(|answer| answer.result.is_ok()).count();
        calls.extend(dealt.calls);
    }

    assert_eq!((refused, answered), (1, 99));
    assert!(made <= 1 + 2 * 7, "{made} calls: two for each halving");
    assert!(driven.buffer.is_empty() && has_nothing(&driven.buffer));
}

/// Has everything that is buffered asked of a server that refuses this name. Says how many were
/// refused, and how many of the calls asked again for a part of one.
fn ask_a_server_that_refuses(driven: &mut Driven, poison: &str) -> (usize, usize) {
    let mut calls = driven.buffer.flush_all(EVERYBODY).calls;
    let (mut refused, mut parts) = (0, 0);
    while let Some((id, call)) = calls.pop() {
        parts += usize::from(call.refusal.is_some());
        let lane = lane_of(&call);
        let evaluations = || call.names.iter().map(|name| Some(evaluation(&lane, call.kind, name)));
        let outcome = match call.names.iter().any(|name| **name == *poison) {
            true => Err(failure(Failing::Refused)),
            false => Ok(evaluations().collect()),
        };
        let dealt = driven.buffer.complete(id, outcome, driven.now, NOTHING_INSTEAD);
        refused += dealt.answers.iter().filter(|answer| answer.result.is_err()).count();
        calls.extend(dealt.calls);
    }
    assert!(driven.buffer.is_empty());
    (refused, parts)
}

#[test]
fn promise_3_a_name_that_was_refused_goes_out_alone_whoever_asks_for_it() {
    let mut driven = Driven::new(100, Interval);
    let names: Vec<Arc<str>> = (0..20).map(|n| Arc::from(format!("gate {n}"))).collect();
    for round in 0..50 {
        for name in &names {
            driven.ask(lane(round, true), CallKind::CheckGate, vec![Arc::clone(name)]);
        }
        let (refused, parts) = ask_a_server_that_refuses(&mut driven, "gate 7");
        assert_eq!(refused, 1, "round {round}");
        assert!(if round == 0 { (1..=10).contains(&parts) } else { parts == 0 }, "{parts} parts");
    }

    driven.ask(lane(0, true), CallKind::CheckGate, vec![Arc::clone(&names[7])]);
    assert_eq!(ask_a_server_that_refuses(&mut driven, "nothing"), (0, 0));
    driven.ask(lane(0, true), CallKind::CheckGate, names);
    let calls = driven.buffer.flush_all(EVERYBODY).calls;
    assert_eq!(calls.len(), 1, "once it is answered it is like any other");
}

#[test]
fn a_call_that_left_before_its_name_was_known_is_told_apart_in_one_step() {
    let mut driven = Driven::new(100, Interval);
    let names: Vec<Arc<str>> = (0..20).map(|n| Arc::from(format!("gate {n}"))).collect();
    for user in 0..2 {
        driven.ask(lane(user, true), CallKind::CheckGate, names.clone());
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
        calls.extend(driven.buffer.complete(id, outcome, driven.now, NOTHING_INSTEAD).calls);
    }

    let outcome = Err(failure(Failing::Refused));
    let dealt = driven.buffer.complete(late.0, outcome, driven.now, NOTHING_INSTEAD);

    let sizes: Vec<_> = dealt.calls.iter().map(|(_, call)| call.names.len()).collect();
    assert_eq!(sizes, [19, 1]);
    assert!(dealt.calls.iter().all(|(_, call)| call.refusal.is_some()));
}

#[test]
fn promise_5_what_a_panic_left_half_done_is_set_right_by_the_restart() {
    let mut driven = Driven::new(100, Interval);
    for (user, name) in [(0, "a"), (0, "b"), (1, "a"), (2, "a")] {
        driven.ask(lane(user, true), CallKind::CheckGate, names([name]));
    }
    let asked = std::cell::Cell::new(0);
    let panics = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        driven.buffer.flush_all(|_| {
            asked.set(asked.get() + 1);
            assert!(asked.get() < 3, "in the middle of a flush");
            true
        })
    }));
    assert!(panics.is_err());

    assert!(driven.buffer.restarted().is_empty());

    // The first user's call was opened and never sent: it is lost, as its transport would report.
    let open: Vec<_> = driven.buffer.calls.keys().copied().collect();
    let flushed = driven.buffer.flush_all(EVERYBODY);
    let mut calls: Vec<_> = flushed.calls.iter().map(|(id, _)| *id).chain(open).collect();
    calls.sort_unstable();
    let mut answered = 0;
    for id in calls {
        let call = driven.buffer.call(id).expect("an open call").clone();
        let lane = lane_of(&call);
        let evaluations = call.names.iter().map(|name| Some(evaluation(&lane, call.kind, name)));
        let outcome = Ok(evaluations.collect());
        let dealt = driven.buffer.complete(id, outcome, driven.now, NOTHING_INSTEAD);
        answered += dealt.answers.len();
    }
    assert_eq!(answered, 4);
    assert!(driven.buffer.is_empty() && has_nothing(&driven.buffer));
}

/// Asks for a config that is never answered, and for one that is, of so many bytes.
fn ask_and_answer(driven: &mut Driven, user: u8, bytes: usize) -> (RequestId, Dealt) {
    let lane = lane(user, true);
    let names = vec!["hangs".into(), "large".into()];
    let (request, _) = driven.buffer.add(Request {
        lane,
        kind: CallKind::GetConfig,
        names: names.into(),
        known: Found::new(),
        past_cache: false,
        deadline: driven.now + TIMEOUT,
    });
    let calls = driven.buffer.flush_all(|_| true).calls;
    let (call, _) = calls.iter().find(|(_, call)| &*call.names[0] == "large").unwrap();
    let text = format!(r#"{{"text":"{}"}}"#, "x".repeat(bytes - 11));
    let evaluation = ConfigEvaluation::from_json("large", &text).unwrap().into();
    let outcome = Ok(vec![Some(evaluation)]);
    (request, driven.buffer.complete(*call, outcome, driven.now, NOTHING_INSTEAD))
}

#[test]
fn promise_4_answers_that_wait_for_others_are_bounded_in_bytes_and_who_holds_most_goes_first() {
    let mut driven = Driven::new(100, Adaptive);
    driven.buffer.hold = hold::Hold::new(10_000);
    let mut ask = |user, bytes| {
        let (request, dealt) = ask_and_answer(&mut driven, user, bytes);
        (request, dealt.answers, driven.buffer.hold.taken())
    };

    assert_eq!(ask(0, 256).2, 0, "what is small counts as it is admitted");
    let (_, answers, taken) = ask(1, 4_000);
    assert_eq!((answers.len(), taken), (0, 4_000));
    let (largest, answers, taken) = ask(2, 6_000);
    assert_eq!((answers.len(), taken), (0, 10_000));
    let (_, answers, taken) = ask(3, 1_000);

    assert_eq!((answers.len(), taken), (1, 5_000));
    assert_eq!(answers[0].request, largest);
    assert!(matches!(answers[0].result, Err(Error::OverloadedBytes { limit: 10_000 })));
    driven.buffer.refuse_all(&Error::ShuttingDown);
    assert_eq!(driven.buffer.hold.taken(), 0);
}

#[test]
fn answer_that_many_requests_hold_counts_once() {
    let mut driven = Driven::new(100, Adaptive);
    driven.buffer.hold = hold::Hold::new(10_000);
    let names: Vec<Arc<str>> = vec!["hangs".into(), "large".into()];
    for _ in 0..100 {
        driven.ask(lane(1, true), CallKind::GetConfig, names.clone());
    }
    let (_, dealt) = ask_and_answer(&mut driven, 1, 9_000);
    assert!(dealt.answers.is_empty());
    assert_eq!((driven.buffer.hold.taken(), driven.buffer.pending()), (9_000, 101));
}

#[test]
fn promise_4_answers_from_the_cache_that_wait_for_others_count_too_and_once() {
    let mut driven = Driven::new(100, Adaptive);
    driven.buffer.hold = hold::Hold::new(10_000);
    let cached = |bytes: usize| {
        let text = format!(r#"{{"text":"{}"}}"#, "x".repeat(bytes - 11));
        ConfigEvaluation::from_json("kept", &text).unwrap().into()
    };
    let ask = |driven: &mut Driven, user, kept: &Evaluation| {
        let names: Vec<Arc<str>> = vec!["kept".into(), "hangs".into()];
        let (request, _) = driven.buffer.add(Request {
            lane: lane(user, true),
            kind: CallKind::GetConfig,
            names: names.into(),
            known: [Some(kept.with_origin(Origin::Cache { age_ms: 1 }))].into_iter().collect(),
            past_cache: false,
            deadline: driven.now + TIMEOUT,
        });
        request
    };
    let kept: Evaluation = cached(6_000);
    for user in 0..10 {
        ask(&mut driven, user, &kept);
    }
    assert_eq!(driven.buffer.hold.taken(), 6_000);

    let newer = ask(&mut driven, 1, &cached(7_000));
    assert_eq!(
        driven.buffer.hold.taken(),
        13_000,
        "what is too much goes as the next answer comes"
    );
    let (_, dealt) = ask_and_answer(&mut driven, 2, 300);
    assert_eq!(dealt.answers.iter().map(|answer| answer.request).collect::<Vec<_>>(), [newer]);
    assert!(matches!(dealt.answers[0].result, Err(Error::OverloadedBytes { .. })));
    assert_eq!(driven.buffer.hold.taken(), 6_300);
    driven.buffer.refuse_all(&Error::ShuttingDown);
    assert_eq!(driven.buffer.hold.taken(), 0);
}

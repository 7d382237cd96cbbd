//! A buffer that is driven step by step, beside a much simpler model of it.

use super::*;

/// A buffer, and a much simpler account of what it owes to whom.
pub(super) struct Driven {
    pub(super) buffer: Buffer,
    pub(super) now: Instant,
    pub(super) asked: HashMap<RequestId, Asked>,
    pub(super) left: HashSet<RequestId>,
    pub(super) ended: HashSet<RequestId>,
    pub(super) in_flight: Vec<(CallId, CallRequest)>,
    /// Names that some call left out.
    pub(super) left_out: HashSet<(BatchKey, Arc<str>)>,
    /// Names in flight that somebody has asked for past the cache since.
    superseded: HashSet<(CallId, Arc<str>)>,
}

pub(super) struct Asked {
    key: BatchKey,
    kind: CallKind,
    names: Vec<Arc<str>>,
    cached: Cached,
    /// The last call that had been made.
    after: CallId,
    deadline: Option<Instant>,
}

impl Asked {
    pub(super) fn new(key: BatchKey, kind: CallKind, names: Vec<Arc<str>>, cached: Cached) -> Self {
        Self { key, kind, names, cached, after: 0, deadline: None }
    }

    pub(super) fn knows(&self, position: usize) -> bool {
        position + 1 < self.names.len() && self.cached.known == Some(position)
    }

    pub(super) fn asks_for(&self, name: &Arc<str>) -> bool {
        let mut names = self.names.iter().enumerate();
        names.any(|(position, asked)| asked == name && !self.knows(position))
    }
}

impl Driven {
    #[allow(clippy::disallowed_methods)]
    pub(super) fn new(batch_size: usize, policy: FlushPolicy) -> Self {
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

    pub(super) fn ask(&mut self, key: BatchKey, kind: CallKind, names: Vec<Arc<str>>) -> RequestId {
        self.ask_with(Asked::new(key, kind, names, Cached::default()))
    }

    pub(super) fn ask_with(&mut self, mut asked: Asked) -> RequestId {
        asked.after = self.buffer.last_call();
        asked.deadline = Some(self.now + TIMEOUT);
        for (id, call) in self.in_flight.iter().filter(|_| asked.cached.bypass_cache) {
            if (key_of(call), call.kind) == (asked.key.clone(), asked.kind) {
                let names = call.names.iter().filter(|name| asked.asks_for(name));
                self.superseded.extend(names.map(|name| (*id, Arc::clone(name))));
            }
        }
        let known = asked.names.iter().enumerate().map(|(position, name)| {
            asked.knows(position).then(|| evaluation_from("cache", &asked.key, asked.kind, name))
        });
        let mut known: PartialResults = known.collect();
        let last = known.iter().rposition(Option::is_some);
        known.truncate(last.map_or(0, |last| last + 1));
        let (id, _) = self.buffer.add(Request {
            key: asked.key.clone(),
            kind: asked.kind,
            names: asked.names.clone().into(),
            cached: known,
            bypass_cache: asked.cached.bypass_cache,
            deadline: self.now + TIMEOUT,
        });
        assert!(self.asked.insert(id, asked).is_none(), "an id was given twice");
        id
    }

    /// Those of the requests whose callers have left, as the actor finds them before a flush.
    fn left(&self, requests: impl Iterator<Item = RequestId>) -> Vec<RequestId> {
        requests.filter(|request| self.left.contains(request)).collect()
    }

    fn check_flush(&mut self, effects: Effects) {
        for request in effects.abandoned {
            assert!(self.left.contains(&request), "promise 3: somebody who waits was left out");
            assert!(self.ended.insert(request), "promise 1: request {request:?} ended twice");
        }
        for (id, call) in effects.calls {
            assert!((1..=call.kind.max_names()).contains(&call.names.len()), "{call:?}");
            let names: BTreeSet<_> = call.names.iter().collect();
            assert_eq!(names.len(), call.names.len(), "a name stands in a call twice");
            for (other_id, other) in &self.in_flight {
                let same = other.kind == call.kind && key_of(other) == key_of(&call);
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
            let key = self.asked.iter().any(|(id, asked)| {
                let waits = !self.ended.contains(id) && !self.left.contains(id);
                let its_own = asked.key == key_of(call) && asked.kind == call.kind;
                waits && its_own && asked.asks_for(name)
            });
            assert!(key, "promise 3: nobody waits for {name} of {call:?}");
        }
        assert!(call.deadline <= self.now + TIMEOUT);
    }

    pub(super) fn complete(
        &mut self,
        call: usize,
        outcome: impl FnOnce(&mut Self, &CallRequest) -> Outcome,
    ) {
        if self.in_flight.is_empty() {
            return;
        }
        let (id, call) = self.in_flight.swap_remove(call % self.in_flight.len());
        for request in self.buffer.requests_of(id) {
            let Some(asked) = self.asked.get(&request) else { continue };
            let joined = asked.cached.bypass_cache && asked.after >= id;
            assert!(!joined, "{request:?} asked past the cache, and waits for an earlier call");
            let is_in_time = asked.deadline.is_none_or(|deadline| call.deadline <= deadline);
            assert!(is_in_time, "promise 1: {request:?} waits for a call with a later deadline");
        }
        let outdated = call.names.iter().map(|name| (id, Arc::clone(name)));
        let outdated: Vec<_> = outdated.map(|key| self.superseded.contains(&key)).collect();
        assert_eq!(self.buffer.is_superseded(id).collect::<Vec<_>>(), outdated);
        let outcome = outcome(self, &call);
        let error = outcome.as_ref().err().cloned();
        let stale = stale_results(&call, &outcome);
        let effects = self.buffer.complete(id, outcome, stale, self.now);
        for answer in effects.answers {
            self.check(answer, &call, error.as_ref());
        }
        for (part, request) in &effects.calls {
            let names = request.names.iter().map(|name| (id, Arc::clone(name)));
            let names: Vec<_> = names.filter(|key| self.superseded.contains(key)).collect();
            self.superseded.extend(names.into_iter().map(|(_, name)| (*part, name)));
        }
        self.in_flight.extend(effects.calls);
        if error.is_some() {
            self.note_superseded_by_a_second_chance(&call);
        }
        let again = self.buffer.complete(id, Ok(Vec::new()), no_results(), self.now);
        assert!(again.answers.is_empty() && again.calls.is_empty(), "a second outcome");
    }

    /// Those who are asked for again join no call that is in flight: they take its waiter.
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
    pub(super) fn check(&mut self, answer: Answer, call: &CallRequest, failed: Option<&Error>) {
        let asked = &self.asked[&answer.request];
        let Asked { key, kind, names, cached, .. } = asked;
        assert_eq!((key, *kind), (&key_of(call), call.kind), "promise 2");
        match (answer.result, failed) {
            (Ok(evaluations), _) => {
                assert_eq!(evaluations.len(), names.len());
                for (position, (name, found)) in names.iter().zip(evaluations).enumerate() {
                    let from = |whence| found == evaluation_from(whence, key, *kind, name);
                    let is_right = match asked.knows(position) {
                        true => from("cache"),
                        false => from("network") || (!cached.bypass_cache && from("stale")),
                    };
                    assert!(is_right, "{position}: {found:?} for {name}, {cached:?}");
                }
            }
            (Err(Error::MissingName { name, .. }), None) => {
                assert!(asked.asks_for(&name) && self.left_out.contains(&(key.clone(), name)));
            }
            (Err(error), Some(failed)) => {
                assert_eq!(error.kind(), failed.kind());
                let mut names = call.names.iter().filter(|name| asked.asks_for(name));
                let culprit = names.find(|name| cached.bypass_cache || !has_stale(name, &error));
                assert!(culprit.is_some(), "promise 3");
            }
            (result, failed) => panic!("{result:?} after {failed:?}"),
        }
        assert!(self.ended.insert(answer.request), "promise 1: {:?} twice", answer.request);
    }

    pub(super) fn step(&mut self, step: Step) {
        match step {
            Step::Ask { user, exposure, kind, names, cached } => {
                let names = names.into_iter().map(|name| Arc::from(format!("name {name}")));
                let key = key(user, exposure);
                self.ask_with(Asked::new(key, kind, names.collect(), cached));
            }
            Step::AskMany { user, names } => {
                let names = (0..names).map(|name| Arc::from(format!("name {name}")));
                self.ask(key(user, true), CallKind::CheckGate, names.collect());
            }
            Step::Leave(who) => {
                let waiting = self.asked.keys().filter(|id| !self.ended.contains(id));
                let mut waiting: Vec<_> = waiting.copied().collect();
                waiting.sort_unstable();
                if !waiting.is_empty() {
                    self.left.insert(waiting[who % waiting.len()]);
                }
            }
            Step::FlushDue => {
                let left = self.left(self.buffer.due_requests());
                let effects = self.buffer.flush_due(&left);
                self.check_flush(effects);
            }
            Step::FlushAll => {
                let left = self.left(self.buffer.buffered_requests());
                let effects = self.buffer.flush_all(&left);
                self.check_flush(effects);
                assert_eq!(self.buffer.buffered(), 0);
                assert!(!self.buffer.is_due());
            }
            Step::Answer { call, left_out } => self.complete(call, |driven, call| {
                let out = |at: usize| left_out.iter().any(|out| out % call.names.len() == at);
                let key = key_of(call);
                let answers = call.names.iter().enumerate().map(|(at, name)| {
                    if out(at) {
                        driven.left_out.insert((key.clone(), Arc::clone(name)));
                        return None;
                    }
                    Some(evaluation(&key, call.kind, name))
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
        let gate_calls = self.in_flight.iter().filter(|(_, call)| call.kind == CallKind::CheckGate);
        let gate_calls: Vec<_> = gate_calls.map(|(_, call)| key_of(call)).collect();
        self.buffer.groups.assert_scheduled(&gate_calls);
    }

    /// Answers everything there is, after which nothing may be left.
    pub(super) fn finish(mut self) {
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
        assert!(is_clean(&self.buffer) && self.buffer.calls.is_empty(), "promise 4");
    }
}

//! Drives a buffer step by step, next to a much simpler model of it.

use super::*;

/// A buffer, and a simple model of the answers that it owes.
pub(super) struct Driven {
    pub(super) buffer: Buffer,
    pub(super) now: Instant,
    pub(super) requests: HashMap<RequestId, ModelRequest>,
    pub(super) left: HashSet<RequestId>,
    pub(super) ended: HashSet<RequestId>,
    pub(super) in_flight: Vec<(CallId, CallRequest)>,
    /// Names that were missing from a response.
    pub(super) left_out: HashSet<(BatchKey, Arc<str>)>,
    /// Names in flight that a newer entry has superseded.
    superseded: HashSet<(CallId, Arc<str>)>,
}

pub(super) struct ModelRequest {
    key: BatchKey,
    kind: CallKind,
    names: Vec<Arc<str>>,
    cache: CacheUse,
    /// The newest call when the request arrived.
    newest_call: CallId,
    deadline: Option<Instant>,
}

impl ModelRequest {
    pub(super) fn new(
        key: BatchKey,
        kind: CallKind,
        names: Vec<Arc<str>>,
        cache: CacheUse,
    ) -> Self {
        Self { key, kind, names, cache, newest_call: 0, deadline: None }
    }

    pub(super) fn is_cached(&self, position: usize) -> bool {
        position + 1 < self.names.len() && self.cache.cached == Some(position)
    }

    pub(super) fn waits_for(&self, name: &Arc<str>) -> bool {
        let mut names = self.names.iter().enumerate();
        names.any(|(position, other)| other == name && !self.is_cached(position))
    }
}

impl Driven {
    #[allow(clippy::disallowed_methods)]
    pub(super) fn new(batch_size: usize, policy: FlushPolicy) -> Self {
        Self {
            buffer: Buffer::new(batch_size, policy, usize::MAX),
            now: Instant::now(),
            requests: HashMap::new(),
            left: HashSet::new(),
            ended: HashSet::new(),
            in_flight: Vec::new(),
            left_out: HashSet::new(),
            superseded: HashSet::new(),
        }
    }

    pub(super) fn add(&mut self, key: BatchKey, kind: CallKind, names: Vec<Arc<str>>) -> RequestId {
        self.add_request(ModelRequest::new(key, kind, names, CacheUse::default()))
    }

    pub(super) fn add_request(&mut self, mut request: ModelRequest) -> RequestId {
        request.newest_call = self.buffer.last_call();
        request.deadline = Some(self.now + TIMEOUT);
        for (id, call) in self.in_flight.iter().filter(|_| request.cache.bypass_cache) {
            if (key_of(call), call.kind) == (request.key.clone(), request.kind) {
                let names = call.names.iter().filter(|name| request.waits_for(name));
                self.superseded.extend(names.map(|name| (*id, Arc::clone(name))));
            }
        }
        let cached = request.names.iter().enumerate().map(|(position, name)| {
            request
                .is_cached(position)
                .then(|| evaluation_from("cache", &request.key, request.kind, name))
        });
        let mut cached: PartialResults = cached.collect();
        let last = cached.iter().rposition(Option::is_some);
        cached.truncate(last.map_or(0, |last| last + 1));
        let (id, _) = self.buffer.add(Request {
            key: request.key.clone(),
            kind: request.kind,
            names: request.names.clone().into(),
            cached,
            bypass_cache: request.cache.bypass_cache,
            deadline: self.now + TIMEOUT,
        });
        assert!(self.requests.insert(id, request).is_none(), "ids are unique");
        id
    }

    /// The requests whose callers have left, as the actor determines them before a flush.
    fn left(&self, requests: impl Iterator<Item = RequestId>) -> Vec<RequestId> {
        requests.filter(|request| self.left.contains(request)).collect()
    }

    fn check_flush(&mut self, effects: Effects) {
        for request in effects.abandoned {
            assert!(
                self.left.contains(&request),
                "promise 3: the caller of {request:?} still waits"
            );
            assert!(self.ended.insert(request), "promise 1: request {request:?} ended twice");
        }
        for (id, call) in effects.calls {
            assert!((1..=call.kind.max_names()).contains(&call.names.len()), "{call:?}");
            let names: BTreeSet<_> = call.names.iter().collect();
            assert_eq!(names.len(), call.names.len(), "a call has the same name twice");
            for (other_id, other) in &self.in_flight {
                let same = other.kind == call.kind && key_of(other) == key_of(&call);
                let is_current =
                    |name: &Arc<str>| !self.superseded.contains(&(*other_id, Arc::clone(name)));
                let mut current = other.names.iter().filter(|name| is_current(name));
                let twice = same && current.any(|name| names.contains(name));
                assert!(!twice, "a name is in flight twice: {call:?}, {other:?}");
            }
            self.assert_has_waiters(&call);
            self.in_flight.push((id, call));
        }
    }

    /// Asserts that each name of a call has a waiter whose caller is still there.
    fn assert_has_waiters(&self, call: &CallRequest) {
        for name in call.names.iter() {
            let has_waiter = self.requests.iter().any(|(id, request)| {
                let waits = !self.ended.contains(id) && !self.left.contains(id);
                let its_own = request.key == key_of(call) && request.kind == call.kind;
                waits && its_own && request.waits_for(name)
            });
            assert!(has_waiter, "promise 3: no request waits for {name} of {call:?}");
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
        for waiting in self.buffer.requests_of(id) {
            let Some(request) = self.requests.get(&waiting) else { continue };
            let joined = request.cache.bypass_cache && request.newest_call >= id;
            assert!(!joined, "{waiting:?} bypasses the cache, and waits for an earlier call");
            let is_in_time = request.deadline.is_none_or(|deadline| call.deadline <= deadline);
            assert!(is_in_time, "promise 1: {waiting:?} waits for a call with a later deadline");
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
            self.note_superseded_by_retries(&call);
        }
        let again = self.buffer.complete(id, Ok(Vec::new()), no_results(), self.now);
        assert!(again.answers.is_empty() && again.calls.is_empty(), "a second outcome");
    }

    /// Records that retries have superseded names in flight instead of joining them.
    fn note_superseded_by_retries(&mut self, failed: &CallRequest) {
        for (id, call) in &self.in_flight {
            let is_superseded = self.buffer.is_superseded(*id).zip(call.names.iter());
            let failed = is_superseded.filter(|(_, name)| failed.names.contains(name));
            let names = failed.filter(|(is_superseded, _)| *is_superseded);
            self.superseded.extend(names.map(|(_, name)| (*id, Arc::clone(name))));
        }
    }

    /// Asserts that a request gets exactly one answer, with evaluations for its user and its names,
    /// in order.
    pub(super) fn check(&mut self, answer: Answer, call: &CallRequest, failed: Option<&Error>) {
        let request = &self.requests[&answer.request];
        let ModelRequest { key, kind, names, cache, .. } = request;
        assert_eq!((key, *kind), (&key_of(call), call.kind), "promise 2");
        match (answer.result, failed) {
            (Ok(evaluations), _) => {
                assert_eq!(evaluations.len(), names.len());
                for (position, (name, found)) in names.iter().zip(evaluations).enumerate() {
                    let from = |source| found == evaluation_from(source, key, *kind, name);
                    let is_right = match request.is_cached(position) {
                        true => from("cache"),
                        false => from("network") || (!cache.bypass_cache && from("stale")),
                    };
                    assert!(is_right, "{position}: {found:?} for {name}, {cache:?}");
                }
            }
            (Err(Error::MissingName { name, .. }), None) => {
                assert!(request.waits_for(&name) && self.left_out.contains(&(key.clone(), name)));
            }
            (Err(error), Some(failed)) => {
                assert_eq!(error.kind(), failed.kind());
                let mut names = call.names.iter().filter(|name| request.waits_for(name));
                let culprit = names.find(|name| cache.bypass_cache || !has_stale(name, &error));
                assert!(culprit.is_some(), "promise 3");
            }
            (result, failed) => panic!("{result:?} after {failed:?}"),
        }
        assert!(self.ended.insert(answer.request), "promise 1: {:?} ended twice", answer.request);
    }

    pub(super) fn step(&mut self, step: Step) {
        match step {
            Step::Add { user, exposure, kind, names, cache } => {
                let names = names.into_iter().map(|name| Arc::from(format!("name {name}")));
                let key = key(user, exposure);
                self.add_request(ModelRequest::new(key, kind, names.collect(), cache));
            }
            Step::AddMany { user, names } => {
                let names = (0..names).map(|name| Arc::from(format!("name {name}")));
                self.add(key(user, true), CallKind::CheckGate, names.collect());
            }
            Step::Leave(who) => {
                let waiting = self.requests.keys().filter(|id| !self.ended.contains(id));
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
        assert_eq!(self.buffer.pending(), self.requests.len() - self.ended.len());
        assert_eq!(self.buffer.in_flight(), self.in_flight.len());
        let gate_calls = self.in_flight.iter().filter(|(_, call)| call.kind == CallKind::CheckGate);
        let gate_calls: Vec<_> = gate_calls.map(|(_, call)| key_of(call)).collect();
        self.buffer.groups.assert_scheduled(&gate_calls);
    }

    /// Answers every call, and asserts that the buffer is then empty.
    pub(super) fn finish(mut self) {
        while !self.buffer.is_empty() || !self.in_flight.is_empty() {
            let pending = (self.buffer.pending(), self.in_flight.len());
            self.step(Step::FlushAll);
            assert!(
                !self.in_flight.is_empty() || self.buffer.is_empty(),
                "requests hang: {pending:?}"
            );
            while !self.in_flight.is_empty() {
                self.step(Step::Answer { call: 0, left_out: Vec::new() });
            }
        }
        assert_eq!(self.ended.len(), self.requests.len(), "promise 1");
        // If a request fails because of one name, its other names stay buffered until the next
        // flush.
        self.step(Step::FlushAll);
        assert!(self.in_flight.is_empty());
        assert!(is_clean(&self.buffer) && self.buffer.calls.is_empty(), "promise 4");
    }
}

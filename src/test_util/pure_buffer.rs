//! The batch's decisions without actors, for benchmarks and simulations.

use std::{hint::black_box, sync::Arc, time::Instant};

use slotmap::Key;

use crate::{
    batch::{Answer, BatchKey, Buffer, PartialResults, Request},
    config::FlushPolicy,
    message::call::CallRequest,
    model::{
        call_kind::CallKind,
        error::Error,
        evaluation::{ConfigEvaluation, Evaluation, GateEvaluation},
        user::User,
    },
};

/// The decisions of the [`BatchActor`](crate::BatchActor): no actor, no clock, no I/O. Not part of
/// the stable interface.
#[derive(Debug)]
pub struct PureBuffer(Buffer);

impl PureBuffer {
    /// Returns an empty buffer.
    pub fn new(batch_size: usize, policy: FlushPolicy) -> Self {
        Self(Buffer::new(batch_size, policy, usize::MAX))
    }

    /// Adds a request and returns its id.
    pub fn add(
        &mut self,
        user: User,
        kind: CallKind,
        names: Vec<Arc<str>>,
        deadline: Instant,
    ) -> u64 {
        let key = BatchKey { user, exposure: true };
        let (names, cached) = (names.into(), PartialResults::new());
        let request = Request { key, kind, names, cached, bypass_cache: false, deadline };
        self.0.add(request).0.data().as_ffi()
    }

    /// Returns whether names must be flushed before the next interval.
    pub fn is_due(&self) -> bool {
        self.0.is_due()
    }

    /// Returns whether names may have to wait for the next interval.
    pub fn is_waiting(&self) -> bool {
        self.0.is_waiting()
    }

    /// Returns the number of distinct names that wait for the next flush.
    pub fn buffered(&self) -> usize {
        self.0.buffered()
    }

    /// Makes calls for the names that are due.
    pub fn flush_due(&mut self) -> Vec<(u64, CallRequest)> {
        // Scans the requests like the actor, which looks for callers who have left.
        let left: Vec<_> = self.0.due_requests().filter(|_| black_box(false)).collect();
        self.0.flush_due(&left).calls
    }

    /// Makes calls for all buffered names.
    pub fn flush_all(&mut self) -> Vec<(u64, CallRequest)> {
        let left: Vec<_> = self.0.buffered_requests().filter(|_| black_box(false)).collect();
        self.0.flush_all(&left).calls
    }

    /// Answers a call. Returns the ids of the requests that the answer ends.
    pub fn answer(&mut self, call: u64, request: &CallRequest, now: Instant) -> Vec<u64> {
        let evaluations = request.names.iter().map(|name| Some(evaluation(request.kind, name)));
        let outcome = Ok(evaluations.collect());
        ids(self.0.complete(call, outcome, PartialResults::new(), now).answers)
    }

    /// Fails a call. Returns the ids of the requests that the failure ends.
    pub fn fail(&mut self, call: u64, error: Error, now: Instant) -> Vec<u64> {
        ids(self.0.complete(call, Err(error), PartialResults::new(), now).answers)
    }
}

fn ids(answers: Vec<Answer>) -> Vec<u64> {
    answers.into_iter().map(|answer| answer.request.data().as_ffi()).collect()
}

fn evaluation(kind: CallKind, name: &Arc<str>) -> Evaluation {
    match kind {
        CallKind::CheckGate => GateEvaluation::new(Arc::clone(name), true).into(),
        CallKind::GetConfig => {
            ConfigEvaluation::new(Arc::clone(name), serde_json::Map::new()).into()
        }
    }
}

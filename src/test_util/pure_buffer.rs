//! The batch's decisions without actors, for benchmarks and simulations.

use std::{sync::Arc, time::Instant};

use slotmap::Key;

use crate::{
    batch::{BatchKey, Buffer, Effects, PartialResults, Request},
    config::FlushPolicy,
    message::call::CallRequest,
    model::{
        call_kind::CallKind,
        error::Error,
        evaluation::{ConfigEvaluation, Evaluation, GateEvaluation},
        user::User,
    },
};

/// What the [`BatchActor`](crate::BatchActor) decides with: no actor, no clock, no I/O. Not part of
/// the stable interface.
#[derive(Debug)]
pub struct PureBuffer(Buffer);

impl PureBuffer {
    /// An empty buffer.
    pub fn new(batch_size: usize, policy: FlushPolicy) -> Self {
        Self(Buffer::new(batch_size, policy, usize::MAX))
    }

    /// Takes a request in; says which it is.
    pub fn ask(
        &mut self,
        user: User,
        kind: CallKind,
        names: Vec<Arc<str>>,
        deadline: Instant,
    ) -> u64 {
        let key = BatchKey { user, exposure: true };
        let (known, bypass_cache) = (PartialResults::new(), false);
        let request = Request { key, kind, names: names.into(), known, bypass_cache, deadline };
        self.0.add(request).0.data().as_ffi()
    }

    /// Whether something is to leave before the interval has run.
    pub fn is_due(&self) -> bool {
        self.0.is_due()
    }

    /// Whether something may have to wait for the interval.
    pub fn is_waiting(&self) -> bool {
        self.0.is_waiting()
    }

    /// Distinct names waiting for the next flush.
    pub fn buffered(&self) -> usize {
        self.0.buffered()
    }

    /// Makes calls of what is due.
    pub fn flush_due(&mut self) -> Vec<(u64, CallRequest)> {
        self.0.flush_due(|_| true).calls
    }

    /// Makes calls of everything that is buffered.
    pub fn flush_all(&mut self) -> Vec<(u64, CallRequest)> {
        self.0.flush_all(|_| true).calls
    }

    /// Deals an answer out; says which requests it ended.
    pub fn answer(&mut self, call: u64, request: &CallRequest, now: Instant) -> Vec<u64> {
        let answers = request.names.iter().map(|name| Some(evaluation(request.kind, name)));
        let dealt = self.0.complete(call, Ok(answers.collect()), now, |_, _, _, _| None);
        ended(dealt)
    }

    /// Fails a call; says which requests it ended.
    pub fn fail(&mut self, call: u64, error: Error, now: Instant) -> Vec<u64> {
        let dealt = self.0.complete(call, Err(error), now, |_, _, _, _| None);
        ended(dealt)
    }
}

fn ended(dealt: Effects) -> Vec<u64> {
    dealt.answers.into_iter().map(|answer| answer.request.data().as_ffi()).collect()
}

fn evaluation(kind: CallKind, name: &Arc<str>) -> Evaluation {
    match kind {
        CallKind::CheckGate => GateEvaluation::new(Arc::clone(name), true).into(),
        CallKind::GetConfig => {
            ConfigEvaluation::new(Arc::clone(name), serde_json::Map::new()).into()
        }
    }
}

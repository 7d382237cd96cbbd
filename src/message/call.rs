//! Calls: the messages between the `BatchActor` and its transports.

use std::{
    fmt, mem,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Instant,
};

use actix::{Actor, Addr, Context, Handler, Message, Recipient};
use tracing::Span;

use crate::{
    model::{call_kind::CallKind, error::Error, evaluation::Evaluation, user::User},
    telemetry::spans::{self, OwnedSpan},
};

/// The request of a [`Call`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CallRequest {
    /// The operation.
    pub kind: CallKind,
    /// The user whose gates or configs are evaluated.
    pub user: User,
    /// Distinct names, at most [`CallKind::max_names`].
    pub names: Arc<[Arc<str>]>,
    /// Whether Statsig logs exposures.
    pub exposure: bool,
    /// The earliest deadline of the requests that wait for the call.
    pub deadline: Instant,
    /// The refusal of an earlier call, if this one retries a part of its names. A transport that
    /// may not retry completes the call with this error.
    pub refusal: Option<Error>,
}

impl CallRequest {
    /// Returns a call that only tests whether Statsig answers, and logs no exposure.
    pub(crate) fn probe(deadline: Instant) -> Result<Self, Error> {
        Ok(Self {
            kind: CallKind::CheckGate,
            user: User::new(PROBE)?,
            names: Arc::from([Arc::from(PROBE)]),
            exposure: false,
            deadline,
            refusal: None,
        })
    }
}

/// The gate and the user of a probe.
pub(crate) const PROBE: &str = "actix-statsig-probe";

/// The outcome of a call: an evaluation for each of its names, in their order, or one error for all.
/// `None` stands for a name that is missing from the response.
pub type Outcome = Result<Vec<Option<Evaluation>>, Error>;

/// One call, from the [`BatchActor`](crate::BatchActor) to its transport.
///
/// A transport answers it with [`complete`](Self::complete), by its deadline. A call that is dropped
/// without an outcome, because its transport stopped or its task ended, reports itself as lost.
pub struct Call {
    id: u64,
    request: CallRequest,
    /// `None` once the call has an outcome.
    owner: Option<Arc<CallOwner>>,
    load: Option<Load>,
    span: OwnedSpan,
}

/// The number of calls that a transport has not answered yet.
pub(crate) type Load = Arc<AtomicUsize>;

impl Call {
    pub(crate) fn new(
        id: u64,
        request: CallRequest,
        owner: &Arc<CallOwner>,
        parent: &Span,
    ) -> Self {
        let span = spans::call(parent, request.kind.operation(), request.names.len());
        Self { id, request, owner: Some(Arc::clone(owner)), load: None, span }
    }

    /// Counts the call in this load until the call is dropped.
    pub(crate) fn counted_by(mut self, load: Load) -> Self {
        load.fetch_add(1, Relaxed);
        self.load = Some(load);
        self
    }

    /// Returns the call's request.
    pub fn request(&self) -> &CallRequest {
        &self.request
    }

    /// Returns the call's span, as the parent of the transport's own spans.
    pub fn span(&self) -> &Span {
        &self.span
    }

    /// Answers the call.
    pub fn complete(mut self, outcome: Outcome) {
        self.report(Some(outcome));
    }

    /// Returns whether a caller still waits for the call. A transport asks before an attempt that
    /// starts some time after it received the call.
    pub async fn is_wanted(&self) -> bool {
        let Some(owner) = &self.owner else { return false };
        owner.wanted.send(IsCallWanted { call: self.id }).await.unwrap_or(true)
    }

    /// Reports that earlier answers, to this call or another, may belong to other requests.
    pub(crate) fn distrust_answers(&self) {
        if let Some(owner) = &self.owner {
            owner.distrust.do_send(DistrustAnswers);
        }
    }

    fn report(&mut self, outcome: Option<Outcome>) {
        if let Some(owner) = self.owner.take() {
            let span = mem::replace(&mut self.span, OwnedSpan::none());
            owner.completed.do_send(CallCompleted { call: self.id, outcome, span });
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(load) = &self.load {
            load.fetch_sub(1, Relaxed);
        }
        self.report(None);
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("id", &self.id).field("request", &self.request).finish()
    }
}

impl Message for Call {
    type Result = ();
}

/// Makes the transport with this index: at its first call, and again after it has stopped.
pub(crate) type TransportFactory = Box<dyn FnMut(usize) -> Result<Recipient<Call>, Error>>;

/// The actor that made a call, as its transport sees it.
pub(crate) struct CallOwner {
    completed: Recipient<CallCompleted>,
    wanted: Recipient<IsCallWanted>,
    distrust: Recipient<DistrustAnswers>,
}

impl CallOwner {
    pub(crate) fn new<A>(actor: &Addr<A>) -> Arc<Self>
    where
        A: Actor<Context = Context<A>>,
        A: Handler<CallCompleted> + Handler<IsCallWanted> + Handler<DistrustAnswers>,
    {
        let actor = || actor.clone();
        Arc::new(Self {
            completed: actor().recipient(),
            wanted: actor().recipient(),
            distrust: actor().recipient(),
        })
    }
}

/// Reports the outcome of a call; `None` if its transport lost it.
#[derive(Debug)]
pub(crate) struct CallCompleted {
    pub(crate) call: u64,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) span: OwnedSpan,
}

impl Message for CallCompleted {
    type Result = ();
}

/// Asks whether a caller still waits for a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IsCallWanted {
    pub(crate) call: u64,
}

impl Message for IsCallWanted {
    type Result = bool;
}

/// Reports that earlier answers, to any call, may belong to other requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DistrustAnswers;

impl Message for DistrustAnswers {
    type Result = ();
}

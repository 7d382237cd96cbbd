//! Calls: the messages between the `BatchActor` and its transports.

use std::{
    fmt, mem,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Instant,
};

use actix::{Message, Recipient};
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
    /// The user.
    pub user: User,
    /// Distinct names, at most [`CallKind::max_names`].
    pub names: Arc<[Arc<str>]>,
    /// Whether Statsig logs exposures.
    pub exposure: bool,
    /// The deadline of the request that caused the call.
    pub deadline: Instant,
    /// The refusal of an earlier call, if this call asks again for a part of its names. It is the
    /// outcome if no retry is allowed.
    pub refusal: Option<Error>,
}

impl CallRequest {
    /// Makes a request that shows whether Statsig answers, without an exposure.
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

/// The outcome of a call: for each name, in order, its evaluation, or `None` if the server left the name
/// out; or one error for all names.
pub type Outcome = Result<Vec<Option<Evaluation>>, Error>;

/// One call, from the [`BatchActor`](crate::BatchActor) to its transport.
///
/// A transport answers it with [`complete`](Self::complete), by its deadline. If the transport drops the
/// call instead, the component sends it once more, and then fails its requests.
pub struct Call {
    id: u64,
    request: CallRequest,
    reply_to: Option<Recipient<Report>>,
    load: Option<Load>,
    span: OwnedSpan,
}

/// The number of calls that a transport has.
pub(crate) type Load = Arc<AtomicUsize>;

impl Call {
    pub(crate) fn new(
        id: u64,
        request: CallRequest,
        reply_to: Recipient<Report>,
        within: &Span,
    ) -> Self {
        let span = spans::call(within, request.kind.operation(), request.names.len());
        Self { id, request, reply_to: Some(reply_to), load: None, span }
    }

    /// Counts the call in a transport's load until it is dropped.
    pub(crate) fn counted_by(mut self, load: Load) -> Self {
        load.fetch_add(1, Relaxed);
        self.load = Some(load);
        self
    }

    /// Returns the request.
    pub fn request(&self) -> &CallRequest {
        &self.request
    }

    /// Returns the span of the call, for the spans and events of a transport.
    pub fn span(&self) -> &Span {
        &self.span
    }

    /// Answers the call.
    pub fn complete(mut self, outcome: Outcome) {
        self.reply(Some(outcome));
    }

    /// Returns `true` if a caller still waits for the call. Ask before an attempt that is made later
    /// than the call was received.
    pub async fn is_wanted(&self) -> bool {
        let Some(reply_to) = &self.reply_to else { return false };
        reply_to.send(Report::IsWanted { call: self.id }).await.unwrap_or(true)
    }

    /// Tells the `BatchActor` that earlier answers may belong to other requests.
    pub(crate) fn distrust_answers(&self) {
        if let Some(reply_to) = &self.reply_to {
            reply_to.do_send(Report::Distrust);
        }
    }

    fn reply(&mut self, outcome: Option<Outcome>) {
        if let Some(reply_to) = self.reply_to.take() {
            let span = mem::replace(&mut self.span, OwnedSpan::none());
            reply_to.do_send(Report::Completed { call: self.id, outcome, span });
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(load) = &self.load {
            load.fetch_sub(1, Relaxed);
        }
        self.reply(None);
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

/// Starts the transport of this index: called when it is first needed, and again after it has stopped.
pub(crate) type TransportFactory = Box<dyn FnMut(usize) -> Result<Recipient<Call>, Error>>;

/// From a transport to the `BatchActor`, which answers whether a caller waits for the call.
#[derive(Debug)]
pub(crate) enum Report {
    /// A call has ended. The outcome is `None` if the transport lost the call.
    Completed { call: u64, outcome: Option<Outcome>, span: OwnedSpan },
    /// An attempt is about to be made.
    IsWanted { call: u64 },
    /// Earlier answers may belong to other requests.
    Distrust,
}

impl Message for Report {
    type Result = bool;
}

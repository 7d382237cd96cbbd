//! HTTP calls, as the actors tell each other of them.

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

/// What a call asks for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CallRequest {
    /// The operation.
    pub kind: CallKind,
    /// Whom it is about.
    pub user: User,
    /// Distinct names, at most [`CallKind::max_names`].
    pub names: Arc<[Arc<str>]>,
    /// Whether the server is to log exposures.
    pub exposure: bool,
    /// When the request that caused the call has to have its answer.
    pub deadline: Instant,
    /// For a call that asks again for a part of the names of one that was refused: that refusal.
    /// It is the answer where there is no retry to be had.
    pub refusal: Option<Error>,
}

impl CallRequest {
    /// Asks whether Statsig answers: for a gate and a user of this name, without an exposure.
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

/// What a call came to: for each of its names, in its order, the evaluation or `None` where the
/// server left the name out; or one error for all of them.
pub type Outcome = Result<Vec<Option<Evaluation>>, Error>;

/// One HTTP call, from the [`BatchActor`](crate::BatchActor) to its transport.
///
/// A transport answers it with [`complete`](Self::complete), by its deadline. A call that is dropped
/// instead (its transport stopped, or its task ended) says so by itself, so that nobody waits for
/// an answer that cannot come.
pub struct Call {
    id: u64,
    request: CallRequest,
    reply_to: Option<Recipient<Report>>,
    load: Option<Load>,
    span: OwnedSpan,
}

/// The calls that a transport has.
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

    /// Counts it here until it is gone.
    pub(crate) fn counted_by(mut self, load: Load) -> Self {
        load.fetch_add(1, Relaxed);
        self.load = Some(load);
        self
    }

    /// What it asks for.
    pub fn request(&self) -> &CallRequest {
        &self.request
    }

    /// Its span, for what a transport does for it to stand in.
    pub fn span(&self) -> &Span {
        &self.span
    }

    /// Answers the call.
    pub fn complete(mut self, outcome: Outcome) {
        self.reply(Some(outcome));
    }

    /// Whether somebody still waits for it, which is worth asking before an attempt that is made
    /// later than the call came.
    pub async fn is_wanted(&self) -> bool {
        let Some(reply_to) = &self.reply_to else { return false };
        reply_to.send(Report::IsWanted { call: self.id }).await.unwrap_or(true)
    }

    /// What was answered so far, to this call or another, may have been meant for others.
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

/// Makes the transport of this index: called when one is needed, and again when it has gone.
pub(crate) type TransportFactory = Box<dyn FnMut(usize) -> Result<Recipient<Call>, Error>>;

/// From the transport back to the `BatchActor`, which answers whether somebody waits for the call.
#[derive(Debug)]
pub(crate) enum Report {
    /// The call has an outcome; none if the transport lost it.
    Completed { call: u64, outcome: Option<Outcome>, span: OwnedSpan },
    /// An attempt is about to be made.
    IsWanted { call: u64 },
    /// What was answered so far may have been meant for others.
    Distrust,
}

impl Message for Report {
    type Result = bool;
}

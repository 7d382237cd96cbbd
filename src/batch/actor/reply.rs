//! Replies that are sent after the handler of their message has returned.
//!
//! actix hands over a message's reply sender, through [`MessageResponse`], only after
//! `Handler::handle` has returned. So a handler returns a [`DeferredReply`] or a [`SharedReply`],
//! which stores the sender. A stored sender costs nothing until it is used. A `ResponseFuture` for
//! each request would be polled at every wake of the actor.

use std::{cell::RefCell, ops::Deref, rc::Rc};

use actix::{
    Actor, Message,
    dev::{MessageResponse, OneshotSender},
};
use slotmap::SecondaryMap;
use tracing::Span;

use crate::{
    batch::buffer::{Answer, Evaluations, group::RequestId},
    message::{BatchRequest, admission::Permit},
    model::{
        error::{Error, outcome},
        evaluation::{ConfigEvaluation, Evaluation, GateEvaluation},
    },
    telemetry::spans::{self, MaybeSpan},
};

/// The callers of the requests that are pending in the buffer.
#[derive(Clone, Default)]
pub(crate) struct Callers(Rc<RefCell<SecondaryMap<RequestId, Caller>>>);

struct Caller {
    /// `None` until the handler has returned, and for a message sent with `do_send`.
    sender: Option<ReplySender>,
    span: MaybeSpan,
    /// Holds the request's admission places until the request ends.
    _permit: Permit,
}

type Sender<E> = OneshotSender<Result<Vec<E>, Error>>;

/// The two kinds of evaluation differ only here, where an answer leaves the actor.
pub(crate) enum ReplySender {
    Gates(Sender<GateEvaluation>),
    Configs(Sender<ConfigEvaluation>),
}

impl Callers {
    pub(crate) fn insert(&self, request: RequestId, permit: Permit, span: MaybeSpan) {
        let caller = Caller { sender: None, span, _permit: permit };
        self.0.borrow_mut().insert(request, caller);
    }

    fn set_sender(&self, request: RequestId, sender: ReplySender) {
        if let Some(caller) = self.0.borrow_mut().get_mut(request) {
            caller.sender = Some(sender);
        }
    }

    /// Whether a caller waits for the request's answer.
    pub(crate) fn is_present(&self, request: RequestId) -> bool {
        self.0.borrow().get(request).is_some_and(Caller::is_present)
    }

    /// Returns the requests whose callers have left.
    pub(crate) fn left(&self, requests: impl Iterator<Item = RequestId>) -> Vec<RequestId> {
        let callers = self.0.borrow();
        let is_present =
            |request: &RequestId| callers.get(*request).is_some_and(Caller::is_present);
        requests.filter(|request| !is_present(request)).collect()
    }

    /// Sends the answer to the caller. Returns whether the caller was still there.
    pub(crate) fn answer(&self, answer: Answer) -> bool {
        let Some(caller) = self.0.borrow_mut().remove(answer.request) else { return false };
        let outcome = outcome(answer.result.as_ref());
        let is_received = caller.sender.is_some_and(|sender| sender.send(answer.result));
        spans::request_ended(&caller.span, if is_received { outcome } else { spans::ABANDONED });
        is_received
    }

    /// Removes a caller who has left, which frees the request's places.
    pub(crate) fn remove(&self, request: RequestId) {
        if let Some(caller) = self.0.borrow_mut().remove(request) {
            spans::request_ended(&caller.span, spans::ABANDONED);
        }
    }

    /// Records that the span follows from these requests.
    pub(crate) fn lead_to(&self, span: &Span, requests: impl IntoIterator<Item = RequestId>) {
        let callers = self.0.borrow();
        let span_of = |request| callers.get(request)?.span.as_deref().map(Deref::deref);
        spans::follow(span, requests.into_iter().filter_map(span_of));
    }
}

impl Caller {
    fn is_present(&self) -> bool {
        self.sender.as_ref().is_some_and(|sender| !sender.is_closed())
    }
}

impl ReplySender {
    fn is_closed(&self) -> bool {
        match self {
            Self::Gates(sender) => sender.is_closed(),
            Self::Configs(sender) => sender.is_closed(),
        }
    }

    fn send(self, result: Result<Evaluations, Error>) -> bool {
        match self {
            Self::Gates(sender) => sender.send(result.and_then(of_one_kind)).is_ok(),
            Self::Configs(sender) => sender.send(result.and_then(of_one_kind)).is_ok(),
        }
    }
}

fn of_one_kind<E>(evaluations: Evaluations) -> Result<Vec<E>, Error>
where
    E: TryFrom<Evaluation, Error = Error>,
{
    // Collecting into a `Result` would start with room for four, and reallocate as it grows.
    let mut all = Vec::with_capacity(evaluations.len());
    for evaluation in evaluations {
        all.push(E::try_from(evaluation)?);
    }
    Ok(all)
}

impl From<Sender<GateEvaluation>> for ReplySender {
    fn from(sender: Sender<GateEvaluation>) -> Self {
        Self::Gates(sender)
    }
}

impl From<Sender<ConfigEvaluation>> for ReplySender {
    fn from(sender: Sender<ConfigEvaluation>) -> Self {
        Self::Configs(sender)
    }
}

/// The return type of the handlers of [`BatchRequest`] messages.
#[expect(unnameable_types, missing_debug_implementations, reason = "only actix handles it")]
pub struct DeferredReply<M: BatchRequest>(Reply<M>);

enum Reply<M: BatchRequest> {
    Ready(M::Result),
    Pending(RequestId, Callers),
}

impl<M: BatchRequest> DeferredReply<M> {
    pub(crate) fn ready(result: M::Result) -> Self {
        Self(Reply::Ready(result))
    }

    /// The reply will be sent through [`Callers::answer`].
    pub(crate) fn pending(request: RequestId, callers: Callers) -> Self {
        Self(Reply::Pending(request, callers))
    }
}

impl<A, M> MessageResponse<A, M> for DeferredReply<M>
where
    A: Actor,
    M: BatchRequest,
    ReplySender: From<OneshotSender<M::Result>>,
{
    fn handle(self, _: &mut A::Context, sender: Option<OneshotSender<M::Result>>) {
        let Some(sender) = sender else { return };
        match self.0 {
            Reply::Ready(result) => {
                // The caller may have left.
                let _ = sender.send(result);
            }
            Reply::Pending(request, callers) => callers.set_sender(request, sender.into()),
        }
    }
}

/// One reply to any number of callers, including callers that ask after it was sent.
#[expect(unnameable_types, missing_debug_implementations, reason = "only actix handles it")]
pub struct SharedReply<T>(Rc<RefCell<SharedState<T>>>);

enum SharedState<T> {
    Waiting(Vec<OneshotSender<T>>),
    Resolved(T),
}

impl<T: Clone> SharedReply<T> {
    /// Sends the reply.
    pub(crate) fn resolve(&self, reply: &T) {
        let state = self.0.replace(SharedState::Resolved(reply.clone()));
        if let SharedState::Waiting(senders) = state {
            for sender in senders {
                // The caller may have left.
                let _ = sender.send(reply.clone());
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn is_resolved(&self) -> bool {
        matches!(*self.0.borrow(), SharedState::Resolved(_))
    }
}

impl<T> Clone for SharedReply<T> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<T> Default for SharedReply<T> {
    fn default() -> Self {
        Self(Rc::new(RefCell::new(SharedState::Waiting(Vec::new()))))
    }
}

impl<A, M> MessageResponse<A, M> for SharedReply<M::Result>
where
    A: Actor,
    M: Message,
    M::Result: Clone,
{
    fn handle(self, _: &mut A::Context, sender: Option<OneshotSender<M::Result>>) {
        let Some(sender) = sender else { return };
        match &mut *self.0.borrow_mut() {
            SharedState::Waiting(senders) => senders.push(sender),
            SharedState::Resolved(reply) => {
                // The caller may have left.
                let _ = sender.send(reply.clone());
            }
        }
    }
}

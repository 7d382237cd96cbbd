//! An answer given later, and whether its caller is still there.
//!
//! actix hands a message's reply sender over only *after* `Handler::handle` has returned, through
//! [`MessageResponse`]. So `handle` returns a [`Later`], which puts the sender beside the others
//! that wait; there it costs nothing until it is used, where a `ResponseFuture` for each request
//! would be polled on every wake of the actor.

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

/// The callers who wait for evaluations, each in the place that its request has in the buffer.
#[derive(Clone, Default)]
pub(crate) struct Callers(Rc<RefCell<SecondaryMap<RequestId, Caller>>>);

/// Keeps the request's places until it is answered.
struct Caller {
    /// None for a message sent with `do_send`: nobody waits, but it takes its places.
    sender: Option<ReplySender>,
    span: MaybeSpan,
    _permit: Permit,
}

type Sender<E> = OneshotSender<Result<Vec<E>, Error>>;

/// The two kinds of evaluation differ only here, where an answer leaves the actor.
pub(crate) enum ReplySender {
    Gates(Sender<GateEvaluation>),
    Configs(Sender<ConfigEvaluation>),
}

impl Callers {
    /// Whether somebody waits for this request's answer.
    pub(crate) fn is_present(&self, request: RequestId) -> bool {
        let callers = self.0.borrow();
        let sender = callers.get(request).and_then(|caller| caller.sender.as_ref());
        sender.is_some_and(|sender| !sender.is_closed())
    }

    /// Gives the answer; false if nobody took it.
    pub(crate) fn answer(&self, answer: Answer) -> bool {
        let Some(caller) = self.0.borrow_mut().remove(answer.request) else { return false };
        let outcome = outcome(answer.result.as_ref());
        let is_taken = caller.sender.is_some_and(|sender| sender.send(answer.result));
        spans::request_ended(&caller.span, if is_taken { outcome } else { spans::ABANDONED });
        is_taken
    }

    /// Notes that this span follows from these requests.
    pub(crate) fn lead_to(&self, span: &Span, requests: impl IntoIterator<Item = RequestId>) {
        let callers = self.0.borrow();
        let of = |request| callers.get(request)?.span.as_deref().map(Deref::deref);
        spans::follow(span, requests.into_iter().filter_map(of));
    }

    /// Forgets a caller who has left, which frees the request's places.
    pub(crate) fn forget(&self, request: RequestId) {
        if let Some(caller) = self.0.borrow_mut().remove(request) {
            spans::request_ended(&caller.span, spans::ABANDONED);
        }
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
    // Not by collecting results, which begins with room for four and moves as it grows.
    let mut all = Vec::with_capacity(evaluations.len());
    for evaluation in evaluations {
        all.push(E::try_from(evaluation)?);
    }
    Ok(all)
}

/// What the handlers of [`BatchRequest`] messages return: an answer at once, or later.
#[expect(unnameable_types, missing_debug_implementations, reason = "only actix handles it")]
pub struct Later<M: BatchRequest>(When<M>);

enum When<M: BatchRequest> {
    Now(Result<Vec<M::Evaluation>, Error>),
    Answered { request: RequestId, caller: Caller, callers: Callers },
}

impl<M: BatchRequest> Later<M> {
    pub(crate) fn now(result: Result<Vec<M::Evaluation>, Error>) -> Self {
        Self(When::Now(result))
    }

    /// Answered through `callers`; the permit and the span are kept until then.
    pub(crate) fn when_answered(
        request: RequestId,
        permit: Permit,
        span: MaybeSpan,
        callers: Callers,
    ) -> Self {
        let caller = Caller { sender: None, span, _permit: permit };
        Self(When::Answered { request, caller, callers })
    }
}

impl<A, M> MessageResponse<A, M> for Later<M>
where
    A: Actor,
    M: BatchRequest,
    ReplySender: From<OneshotSender<M::Result>>,
{
    fn handle(self, _: &mut A::Context, sender: Option<OneshotSender<M::Result>>) {
        match self.0 {
            When::Now(result) => {
                if let Some(sender) = sender {
                    // The caller may have left; then there is nobody to tell.
                    let _ = sender.send(result);
                }
            }
            When::Answered { request, caller, callers } => {
                let caller = Caller { sender: sender.map(Into::into), ..caller };
                callers.0.borrow_mut().insert(request, caller);
            }
        }
    }
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

/// The callers who wait for the end of something: of a flush, or of the component.
#[expect(unnameable_types, missing_debug_implementations, reason = "only actix handles it")]
pub struct Audience<T>(Rc<RefCell<Vec<OneshotSender<T>>>>);

impl<T> Clone for Audience<T> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<T> Default for Audience<T> {
    fn default() -> Self {
        Self(Rc::default())
    }
}

impl<T: Clone> Audience<T> {
    /// Tells everybody who has come so far.
    pub(crate) fn tell(&self, what: &T) {
        for sender in self.0.take() {
            // Who has left need not be told.
            let _ = sender.send(what.clone());
        }
    }
}

impl<A, M> MessageResponse<A, M> for Audience<M::Result>
where
    A: Actor,
    M: Message,
{
    fn handle(self, _: &mut A::Context, sender: Option<OneshotSender<M::Result>>) {
        self.0.borrow_mut().extend(sender);
    }
}

//! The app's side of a connection.

use std::{
    cell::{Cell, RefCell},
    future::{Ready, poll_fn, ready},
    net::SocketAddr,
    pin::pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use actix_statsig::Error;
use actix_web::{
    FromRequest, HttpRequest,
    dev::Payload,
    web::{self, Bytes},
};

use super::{
    byte_budget::BudgetShare,
    state::{FREE_BYTES, Refusal, State},
};
use crate::{http::problem::Problem, machine::clock::now};

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Peer {
    /// A client at this address.
    At(SocketAddr),
    /// A client on this machine, over a Unix socket.
    ThisMachine,
    /// An unknown client: the connection may be closed already.
    Unknown,
}

/// The app's side of a connection.
#[derive(Clone)]
pub(crate) struct Handle(Rc<Shared>);

struct Shared {
    peer: Peer,
    state: RefCell<State>,
    /// The bytes that the request holds.
    request: RefCell<BudgetShare>,
    /// The bytes that the answer holds until the client has read it.
    answer: RefCell<BudgetShare>,
    refusal: Cell<Option<Refusal>>,
    /// Wakes the reader, which waits for the answer before reading more.
    reader: Cell<Option<Waker>>,
    /// Wakes the handler, which waits for the rest of the body or a refusal.
    handler: Cell<Option<Waker>>,
}

impl Handle {
    pub(super) fn new(peer: Peer, request: BudgetShare, answer: BudgetShare) -> Self {
        Self(Rc::new(Shared {
            peer,
            state: RefCell::new(State::new(now())),
            request: RefCell::new(request),
            answer: RefCell::new(answer),
            refusal: Cell::new(None),
            reader: Cell::new(None),
            handler: Cell::new(None),
        }))
    }

    /// Returns the other end.
    pub(crate) fn peer(&self) -> Peer {
        self.0.peer
    }

    /// Records that a request's handler was called.
    pub(super) fn request_began(&self, has_body: bool) {
        self.0.refusal.set(None);
        self.0.state.borrow_mut().request_began(has_body, now);
    }

    /// Records that the request has an answer. `closes` says whether the connection closes after
    /// it.
    pub(super) fn request_answered(&self, closes: bool) {
        self.0.state.borrow_mut().request_answered(closes, now());
        self.0.request.borrow_mut().resize(0);
        if let Some(reader) = self.0.reader.take() {
            reader.wake();
        }
    }

    /// Reserves the bytes of an answer until the client has read it. Returns false if unread
    /// answers of other clients use the whole budget. The first bytes are free, as for requests.
    pub(crate) fn reserve_answer(&self, bytes: usize) -> bool {
        let mut answer = self.0.answer.borrow_mut();
        let bytes = bytes.saturating_sub(FREE_BYTES);
        let fits = bytes == 0 || !answer.budget().is_full();
        if fits {
            answer.resize(bytes);
        }
        fits
    }

    /// Records that the client has read everything that was written.
    pub(super) fn flushed(&self) {
        self.0.state.borrow_mut().flushed();
        self.0.answer.borrow_mut().resize(0);
    }

    /// Whether the connection must close after the request, whatever the answer.
    pub(super) fn must_close(&self) -> bool {
        self.0.state.borrow().must_close()
    }

    /// Reads or changes the state.
    pub(super) fn with_state<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.0.state.borrow_mut())
    }

    /// Whether requests use their whole budget.
    pub(super) fn is_budget_full(&self) -> bool {
        self.0.request.borrow().budget().is_full()
    }

    /// Records that bytes were read.
    pub(super) fn bytes_read(&self, bytes: usize) {
        let mut state = self.0.state.borrow_mut();
        state.bytes_read(bytes, now);
        self.0.request.borrow_mut().resize(state.budgeted());
    }

    pub(super) fn wake_when_answered(&self, reader: &Waker) {
        self.0.reader.set(Some(reader.clone()));
    }

    /// Makes the handler's read of the body fail.
    pub(super) fn refuse_body(&self, refusal: Refusal) {
        self.0.state.borrow_mut().refuse_body();
        self.0.refusal.set(Some(refusal));
        if let Some(handler) = self.0.handler.take() {
            handler.wake();
        }
    }

    fn poll_refusal(&self, cx: &mut Context<'_>) -> Poll<Refusal> {
        match self.0.refusal.get() {
            Some(refusal) => Poll::Ready(refusal),
            None => {
                self.0.handler.set(Some(cx.waker().clone()));
                Poll::Pending
            }
        }
    }
}

/// A request's body that is still arriving.
pub(crate) struct Incoming {
    payload: web::Payload,
    connection: Option<Handle>,
}

impl FromRequest for Incoming {
    type Error = actix_web::Error;
    type Future = Ready<Result<Self, Self::Error>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let connection = request.conn_data::<Handle>().cloned();
        let payload = web::Payload::from_request(request, payload).into_inner();
        ready(payload.map(|payload| Self { payload, connection }))
    }
}

impl Incoming {
    /// Reads the whole body. Fails if the body is longer than the limit, takes too long, or exceeds
    /// the budget of all requests.
    pub(crate) async fn read(self, limit: usize) -> Result<Bytes, Problem> {
        let Self { payload, connection } = self;
        let mut reading = pin!(payload.to_bytes_limited(limit));
        let read = poll_fn(|cx| match (reading.as_mut().poll(cx), &connection) {
            (Poll::Ready(read), _) => Poll::Ready(Ok(read)),
            (Poll::Pending, Some(connection)) => connection.poll_refusal(cx).map(Err),
            (Poll::Pending, None) => Poll::Pending,
        });
        let read = read.await.map_err(|refusal| match refusal {
            Refusal::TooSlow => Problem::too_slow(),
            Refusal::BudgetFull => Problem::request_budget_exceeded(),
            Refusal::ShuttingDown => Error::ShuttingDown.into(),
        })?;
        let bytes = read
            .map_err(|_| Problem::too_large(limit))?
            .map_err(|error| Problem::bad_request(format!("the body broke off: {error}")))?;
        if let Some(connection) = &connection {
            connection.with_state(State::body_read);
        }
        Ok(bytes)
    }
}

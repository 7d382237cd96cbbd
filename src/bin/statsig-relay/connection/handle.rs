//! What the app knows of a connection, and tells it.

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
    byte_budget::Place,
    state::{FREE, Refusal, State},
};
use crate::{http::problem::Problem, machine::clock::now};

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Peer {
    /// Somebody at this address.
    At(SocketAddr),
    /// Somebody on this machine, over a Unix socket.
    ThisMachine,
    /// Nobody known: the connection may be closed already.
    Unknown,
}

/// The app's side of a connection.
#[derive(Clone)]
pub(crate) struct Handle(Rc<Shared>);

struct Shared {
    peer: Peer,
    state: RefCell<State>,
    /// What its request takes of the memory that all requests share.
    place: RefCell<Place>,
    /// The same of its answer, until the client has taken it.
    answer: RefCell<Place>,
    refusal: Cell<Option<Refusal>>,
    /// Waits for an answer, before it reads on.
    reader: Cell<Option<Waker>>,
    /// Waits for the rest of the body, or for a refusal.
    handler: Cell<Option<Waker>>,
}

impl Handle {
    pub(super) fn new(peer: Peer, place: Place, answer: Place) -> Self {
        Self(Rc::new(Shared {
            peer,
            state: RefCell::new(State::new(now())),
            place: RefCell::new(place),
            answer: RefCell::new(answer),
            refusal: Cell::new(None),
            reader: Cell::new(None),
            handler: Cell::new(None),
        }))
    }

    /// Who made the connection that a request came over.
    pub(crate) fn peer(&self) -> Peer {
        self.0.peer
    }

    /// A request's handler has been called.
    pub(super) fn began(&self, has_body: bool) {
        self.0.refusal.set(None);
        self.0.state.borrow_mut().began(has_body, now);
    }

    /// The request's answer is known; whether the connection is closed after it.
    pub(super) fn answered(&self, closes: bool) {
        self.0.state.borrow_mut().answered(closes, now());
        self.0.place.borrow_mut().take(0);
        if let Some(reader) = self.0.reader.take() {
            reader.wake();
        }
    }

    /// Counts an answer of so many bytes until the client has taken it; false if it does not fit
    /// beside the answers that other clients have not taken. As of requests, the first bytes are free.
    pub(crate) fn holds_answer(&self, bytes: usize) -> bool {
        let mut answer = self.0.answer.borrow_mut();
        let bytes = bytes.saturating_sub(FREE);
        let fits = bytes == 0 || !answer.room().is_full();
        if fits {
            answer.take(bytes);
        }
        fits
    }

    /// All that was to be written has been.
    pub(super) fn flushed(&self) {
        self.0.state.borrow_mut().flushed();
        self.0.answer.borrow_mut().take(0);
    }

    /// Whether the connection cannot be kept, whatever the answer is.
    pub(super) fn must_close(&self) -> bool {
        self.0.state.borrow().must_close()
    }

    /// Looks at the state, or changes it.
    pub(super) fn state<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.0.state.borrow_mut())
    }

    pub(super) fn is_full(&self) -> bool {
        self.0.place.borrow().room().is_full()
    }

    /// Bytes have been read.
    pub(super) fn read(&self, bytes: usize) {
        let mut state = self.0.state.borrow_mut();
        state.read(bytes, now);
        self.0.place.borrow_mut().take(state.shared());
    }

    pub(super) fn wake_when_answered(&self, reader: &Waker) {
        self.0.reader.set(Some(reader.clone()));
    }

    /// Gives an error to whoever reads the body.
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

/// A request's body, as it arrives.
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
    /// All of it, unless it has more bytes than this, takes too long, or does not fit beside those
    /// of others.
    pub(crate) async fn read(self, limit: usize) -> Result<Bytes, Problem> {
        let Self { payload, connection } = self;
        let mut reading = pin!(payload.to_bytes_limited(limit));
        let read = poll_fn(|cx| match (reading.as_mut().poll(cx), &connection) {
            (Poll::Ready(read), _) => Poll::Ready(Ok(read)),
            (Poll::Pending, Some(connection)) => connection.poll_refusal(cx).map(Err),
            (Poll::Pending, None) => Poll::Pending,
        });
        let read = read.await.map_err(|refusal| match refusal {
            Refusal::Slow => Problem::too_slow(),
            Refusal::NoRoom => Problem::no_room(),
            Refusal::Leaving => Error::ShuttingDown.into(),
        })?;
        let bytes = read
            .map_err(|_| Problem::too_large(limit))?
            .map_err(|error| Problem::bad_request(format!("the body broke off: {error}")))?;
        if let Some(connection) = &connection {
            connection.state(State::body_read);
        }
        Ok(bytes)
    }
}

//! Client connections, with a time limit on everything a client does.
//!
//! The server library limits the time for a connection's first head, and between two requests. It
//! does not limit a later head, the body that a handler reads, or an answer that the client does
//! not read. This module limits those too, between the library and the socket: `state.rs` decides,
//! `request_tracking.rs` reports requests to it, and [`Connection`] acts.

mod acceptor;
mod byte_budget;
mod handle;
mod request_tracking;
mod socket;
mod state;
mod upgrade;

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Instant,
};

use actix_server::GracefulShutdownSignal;
use actix_web::rt::time::{Sleep, sleep_until};
use futures_util::future::{FutureExt, LocalBoxFuture};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    sync::OwnedSemaphorePermit,
};

use self::state::{Due, Reading, Refusal, State};
pub(crate) use self::{
    acceptor::Acceptor,
    handle::{Handle, Incoming, Peer},
    request_tracking::track_request,
    socket::Socket,
    state::Limits,
};
use crate::machine::clock::now;

const TOO_SLOW_ANSWER: &[u8] = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\
    connection: close\r\n\r\n";

const BUDGET_FULL_ANSWER: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\
    retry-after: 1\r\nconnection: close\r\n\r\n";

/// A connection that the server library reads from and writes to.
pub(crate) struct Connection<S> {
    socket: S,
    handle: Handle,
    limits: Limits,
    shutdown: Option<LocalBoxFuture<'static, ()>>,
    timer: Pin<Box<Sleep>>,
    /// When the timer wakes the connection, if it is armed. This may be too early.
    armed: Option<Instant>,
    /// Whether a head exceeds the budget. The head is refused at the next read, unless it is
    /// complete by then.
    is_over_budget: bool,
    /// Whether bytes were read since the library last had a chance to parse its buffer.
    has_read: bool,
    _permit: OwnedSemaphorePermit,
}

/// With less free space than this in its buffer, the library makes room before it reads more. A
/// buffer with content then grows, and does not shrink while the connection is open.
const MIN_FREE_SPACE: usize = 1024;

impl<S: Socket> Connection<S> {
    pub(crate) fn new(
        socket: S,
        handle: Handle,
        limits: Limits,
        shutdown: GracefulShutdownSignal,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        let shutdown = async move { shutdown.notified().await }.boxed_local();
        let timer = Box::pin(sleep_until(now().into()));
        Self {
            socket,
            handle,
            limits,
            shutdown: Some(shutdown),
            timer,
            armed: None,
            is_over_budget: false,
            has_read: false,
            _permit: permit,
        }
    }

    /// Returns the app's side of the connection.
    pub(crate) fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Waits until the action that `next` returns is due.
    fn poll_due(
        &mut self,
        next: impl Fn(&State, &Limits) -> Option<(Instant, Due)>,
        cx: &mut Context<'_>,
    ) -> Poll<Due> {
        while let Some((at, due)) = self.handle.with_state(|state| next(state, &self.limits)) {
            self.arm(at);
            ready!(self.timer.as_mut().poll(cx));
            if self.armed.take() == Some(at) {
                return Poll::Ready(due);
            }
        }
        if self.armed.is_some() && self.timer.as_mut().poll(cx).is_ready() {
            self.armed = None;
        }
        Poll::Pending
    }

    /// Arms the timer, unless it already wakes the connection earlier, because resetting it for
    /// each request would cost too much. Returns whether the timer changed.
    fn arm(&mut self, at: Instant) -> bool {
        let is_new = self.armed.is_none_or(|armed| armed > at);
        if is_new {
            self.timer.as_mut().reset(at.into());
            self.armed = Some(at);
        }
        is_new
    }

    fn notice_shutdown(&mut self, cx: &mut Context<'_>) {
        if self.shutdown.as_mut().is_some_and(|shutdown| shutdown.as_mut().poll(cx).is_ready()) {
            self.shutdown = None;
            self.handle.with_state(|state| state.shut_down(now()));
        }
    }

    /// Performs the action that is due. Reporting the end of input makes the library close the
    /// connection.
    fn perform(&mut self, due: Due, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match due {
            Due::Close => Poll::Ready(Ok(())),
            Due::CloseTooSlow => self.refuse(TOO_SLOW_ANSWER, cx),
            Due::RefuseBody(why) => {
                self.handle.refuse_body(why);
                Poll::Pending
            }
            Due::Abort => {
                self.socket.abort();
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }

    /// Tells the client why the connection closes. Before a head is complete, the library can only
    /// be writing the previous answer, which the client may not be reading.
    fn refuse(&mut self, answer: &[u8], cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.handle.with_state(|state| state.is_stalled()) {
            // These few bytes fit into an empty buffer. If they do not fit, the client is not
            // reading.
            let _ = Pin::new(&mut self.socket).poll_write(cx, answer);
        }
        Poll::Ready(Ok(()))
    }

    /// Handles the case that no bytes may be read now.
    fn poll_unread(&mut self, reading: Reading, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if reading == Reading::AfterAnswer {
            self.handle.wake_when_answered(cx.waker());
        } else if !self.handle.with_state(|state| state.is_in_head()) {
            self.handle.refuse_body(Refusal::BudgetFull);
        } else if self.is_over_budget {
            return self.refuse(BUDGET_FULL_ANSWER, cx);
        } else {
            // The buffer may have a whole head, and its handler can give a better answer.
            self.is_over_budget = true;
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl<S: Socket> AsyncRead for Connection<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.handle.with_state(|state| state.is_over(&this.limits, now)) {
            return Poll::Ready(Ok(()));
        }
        let is_full = this.handle.is_budget_full();
        let read = match this.handle.with_state(|state| state.reading(is_full)) {
            Reading::Allowed if this.has_read && buffer.remaining() <= MIN_FREE_SPACE => {
                this.has_read = false;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Reading::Allowed => {
                this.is_over_budget = false;
                let before = buffer.filled().len();
                // Read enough to get most heads whole, as `decline_h2c` needs them.
                let max = buffer.remaining().saturating_sub(MIN_FREE_SPACE).max(MIN_FREE_SPACE);
                let mut socket = (&mut this.socket).take(max as u64);
                let read = Pin::new(&mut socket).poll_read(cx, buffer);
                let new = buffer.filled_mut().get_mut(before..).unwrap_or_default();
                if !new.is_empty() {
                    this.has_read = true;
                    if this.handle.with_state(|state| state.is_idle()) {
                        upgrade::decline_h2c(new);
                    }
                    this.handle.bytes_read(new.len());
                }
                read
            }
            reading => this.poll_unread(reading, cx),
        };
        if read.is_ready() {
            return read;
        }
        this.has_read = false;
        // Check deadlines only if there is nothing to read: a busy machine is not the client's
        // fault.
        this.notice_shutdown(cx);
        while let Poll::Ready(due) = this.poll_due(State::next, cx) {
            if let Poll::Ready(end) = this.perform(due, cx) {
                return Poll::Ready(end);
            }
        }
        Poll::Pending
    }
}

impl<S: Socket> AsyncWrite for Connection<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let Poll::Ready(written) = Pin::new(&mut this.socket).poll_write(cx, bytes) {
            return Poll::Ready(written);
        }
        // The time runs until the client has read everything. Reading a byte now and then does not
        // reset it.
        this.handle.with_state(|state| state.stalled(now));
        this.notice_shutdown(cx);
        ready!(this.poll_due(State::next_write, cx));
        this.socket.abort();
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// The library calls this when it has written everything.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.socket).poll_flush(cx))?;
        this.handle.flushed();
        // The library may not read again until the connection wakes it.
        let next = this.handle.with_state(|state| state.next(&this.limits));
        if next.is_some_and(|(at, _)| this.arm(at)) && this.timer.as_mut().poll(cx).is_ready() {
            this.armed = None;
            cx.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}

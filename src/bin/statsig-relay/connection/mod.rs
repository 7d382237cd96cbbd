//! A client's connection, which may take only so long for whatever it does.
//!
//! The server library limits the first head of a connection, and the time between two requests.
//! Nothing in it limits a later head, the body that a handler reads, or an answer that nobody takes.
//! So all of it is limited here, between the library and the socket: `state.rs` decides, `attend.rs`
//! tells it what becomes of the requests, and [`Connection`] carries it out.

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
    acceptor::Door,
    handle::{Handle, Incoming, Peer},
    request_tracking::attend,
    socket::Socket,
    state::Limits,
};
use crate::machine::clock::now;

const SLOW: &[u8] = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\
    connection: close\r\n\r\n";

const NO_ROOM: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\
    retry-after: 1\r\nconnection: close\r\n\r\n";

/// A connection, as the server library reads from it and writes to it.
pub(crate) struct Connection<S> {
    socket: S,
    handle: Handle,
    limits: Limits,
    leaving: Option<LocalBoxFuture<'static, ()>>,
    timer: Pin<Box<Sleep>>,
    /// When the timer wakes the connection, if it is going to. It may be too early.
    armed: Option<Instant>,
    /// A head does not fit: it is refused the next time, unless it turns out to be complete.
    is_short: bool,
    /// Something was read since the library last had its turn to take what is in its buffer.
    has_read: bool,
    _permit: OwnedSemaphorePermit,
}

/// With less room than this in its buffer, the library makes more before it reads on. A buffer that
/// still has something in it grows then, and never becomes smaller while the connection is open.
const LEAST_ROOM: usize = 1024;

impl<S: Socket> Connection<S> {
    pub(crate) fn new(
        socket: S,
        handle: Handle,
        limits: Limits,
        leaving: GracefulShutdownSignal,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        let leaving = async move { leaving.notified().await }.boxed_local();
        let timer = Box::pin(sleep_until(now().into()));
        Self {
            socket,
            handle,
            limits,
            leaving: Some(leaving),
            timer,
            armed: None,
            is_short: false,
            has_read: false,
            _permit: permit,
        }
    }

    /// What tells the app of the connection.
    pub(crate) fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Waits for what is due, as `next` has it.
    fn poll_due(
        &mut self,
        next: impl Fn(&State, &Limits) -> Option<(Instant, Due)>,
        cx: &mut Context<'_>,
    ) -> Poll<Due> {
        while let Some((at, due)) = self.handle.state(|state| next(state, &self.limits)) {
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

    /// Has the timer wake the connection then, or earlier: with each request that is too early, and
    /// a timer is not set again for nothing.
    fn arm(&mut self, at: Instant) -> bool {
        let is_new = self.armed.is_none_or(|armed| armed > at);
        if is_new {
            self.timer.as_mut().reset(at.into());
            self.armed = Some(at);
        }
        is_new
    }

    fn notice_shutdown(&mut self, cx: &mut Context<'_>) {
        if self.leaving.as_mut().is_some_and(|leaving| leaving.as_mut().poll(cx).is_ready()) {
            self.leaving = None;
            self.handle.state(|state| state.leave(now()));
        }
    }

    /// Does what is due: an end of what is read closes the connection.
    fn perform(&mut self, due: Due, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match due {
            Due::Close => Poll::Ready(Ok(())),
            Due::CloseSlow => self.refuse(SLOW, cx),
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

    /// Says why the connection is closed. Before a head is complete the library has nothing to say,
    /// unless it is the answer before, which the client does not take.
    fn refuse(&mut self, answer: &[u8], cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.handle.state(|state| state.is_stalled()) {
            // A few bytes for an empty buffer; where they do not fit, the client reads nothing.
            let _ = Pin::new(&mut self.socket).poll_write(cx, answer);
        }
        Poll::Ready(Ok(()))
    }

    /// Does not read what there is no room for.
    fn poll_unread(&mut self, reading: Reading, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if reading == Reading::Later {
            self.handle.wake_when_answered(cx.waker());
        } else if !self.handle.state(|state| state.is_in_head()) {
            self.handle.refuse_body(Refusal::NoRoom);
        } else if self.is_short {
            return self.refuse(NO_ROOM, cx);
        } else {
            // What has been read may be a whole head, whose handler can give a better answer.
            self.is_short = true;
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
        if this.handle.state(|state| state.is_over(&this.limits, now)) {
            return Poll::Ready(Ok(()));
        }
        let is_full = this.handle.is_full();
        let read = match this.handle.state(|state| state.reading(is_full)) {
            Reading::Allowed if this.has_read && buffer.remaining() <= LEAST_ROOM => {
                this.has_read = false;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Reading::Allowed => {
                this.is_short = false;
                let before = buffer.filled().len();
                // Enough at once for most heads, in which what is offered is looked for.
                let most = buffer.remaining().saturating_sub(LEAST_ROOM).max(LEAST_ROOM);
                let mut socket = (&mut this.socket).take(most as u64);
                let read = Pin::new(&mut socket).poll_read(cx, buffer);
                let new = buffer.filled_mut().get_mut(before..).unwrap_or_default();
                if !new.is_empty() {
                    this.has_read = true;
                    if this.handle.state(|state| state.is_at_rest()) {
                        upgrade::decline_h2c(new);
                    }
                    this.handle.read(new.len());
                }
                read
            }
            reading => this.poll_unread(reading, cx),
        };
        if read.is_ready() {
            return read;
        }
        this.has_read = false;
        // Not before there is nothing to read: a machine that is busy is not the client's fault.
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
        // Whoever takes a byte now and then takes too long as well: it counts until all is taken.
        this.handle.state(|state| state.stalled(now));
        this.notice_shutdown(cx);
        ready!(this.poll_due(State::next_write, cx));
        this.socket.abort();
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// The library calls this whenever it has written all it had.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.socket).poll_flush(cx))?;
        this.handle.flushed();
        // It may not read again before something wakes it.
        let next = this.handle.state(|state| state.next(&this.limits));
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

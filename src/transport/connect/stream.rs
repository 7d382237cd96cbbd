//! What awc reads and writes of a connection: a request and the whole of its answer, in turn.

use std::{
    fmt,
    io::{self, ErrorKind, IoSlice},
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use actix_rt::net::{ActixStream, Ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    framing::Framing,
    link::Link,
    socket::{Socket, Unasked},
};
use crate::{clock, shared::Shared};

/// A connection whose every answer goes to the request it was sent for.
pub(in crate::transport) struct Stream {
    /// `None` once nothing that comes over it can be trusted.
    socket: Option<Socket>,
    link: Rc<Link>,
    shared: Arc<Shared>,
    opened: Instant,
    turn: Turn,
    framing: Framing,
    /// What was read for awc, and how much of it awc has.
    read: Vec<u8>,
    given: usize,
    options: Options,
    /// What has to be written in place of what awc has written first.
    start: Option<Start>,
}

/// What a connection is for.
#[derive(Clone, Debug, Default)]
pub(super) struct Options {
    /// It has one request.
    pub(super) is_single_use: bool,
    /// What is put before the path, for a proxy that takes requests in absolute form.
    pub(super) absolute_form: Option<Rc<str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// There is no request.
    Idle,
    /// A request is being written.
    Request,
    /// Its answer is being read.
    Answer,
}

/// The beginning of a request line in another form.
#[derive(Debug)]
struct Start {
    bytes: Vec<u8>,
    written: usize,
    /// So much of what awc writes it stands for.
    replaces: usize,
}

impl Stream {
    pub(super) fn new(
        socket: Socket,
        generation: u64,
        shared: Arc<Shared>,
        options: Options,
    ) -> Self {
        Self {
            socket: Some(socket),
            link: Link::new(generation),
            shared,
            opened: clock::now(),
            turn: Turn::Idle,
            framing: Framing::new(),
            read: Vec::new(),
            given: 0,
            options,
            start: None,
        }
    }

    /// A request begins: nothing may be left of the one before it, and nothing may have come since.
    ///
    /// This is the place where it is known which answer is whose. HTTP/1.1 gives answers no names:
    /// the next is the one whose bytes come next. It belongs to the next request only if the answer
    /// before it was read to an end that its head left no doubt about (`Framing`), and no byte has
    /// come since, decrypted and asked of the kernel itself (`Socket::unasked`). Otherwise the
    /// connection ends here, before a byte of the request is sent, and the request goes out again on
    /// another. What comes too early but later than this look cannot be told from the answer.
    fn begin(&mut self, cx: &mut Context<'_>, request: &[u8]) -> io::Result<()> {
        self.link.begin();
        let is_at_end = self.turn == Turn::Idle;
        let Some(socket) = self.socket.as_mut().filter(|_| is_at_end) else {
            return Err(self.unusable("the answer before this request was not read to its end"));
        };
        match (socket.unasked(cx), self.link.is_reused()) {
            (Unasked::Nothing, _) => {}
            (Unasked::Bytes, _) => return Err(self.unusable("an answer came before its request")),
            (Unasked::End | Unasked::Broken(_), true) => {
                return Err(self.unusable("the connection ended while it was idle"));
            }
            // How new connections end is for the attempt to find.
            (Unasked::End, false) => {}
            (Unasked::Broken(error), false) => return Err(error),
        }
        if self.is_distrusted() {
            return Err(self.unusable("a connection beside this one gave another's answer"));
        }
        self.framing = Framing::new();
        if let Some(form) = &self.options.absolute_form {
            self.start = Some(Start::new(request, form)?);
        }
        self.turn = Turn::Request;
        Ok(())
    }

    /// The request is to go out on another connection.
    fn unusable(&self, why: &'static str) -> io::Error {
        self.link.give_up();
        io::Error::new(ErrorKind::ConnectionAborted, why)
    }

    /// It leads to where the host's name pointed when it was opened, and has done so for long enough.
    fn is_old(&self) -> bool {
        clock::now().saturating_duration_since(self.opened) >= LIFETIME
    }

    /// A connection beside it has given somebody the answer to another request since it was opened.
    fn is_distrusted(&self) -> bool {
        self.link.generation() != self.shared.connection_generation()
    }

    /// The answer is over and awc has all of it. If awc reads on, it looks whether the connection,
    /// which is in its pool, is alive.
    fn rest(&mut self) {
        if self.framing.is_doubtful() || self.options.is_single_use {
            self.socket = None;
        }
        self.read.clear();
        self.read.shrink_to(KEPT);
        self.given = 0;
        self.turn = Turn::Idle;
    }

    /// A connection in the pool is alive if there is nothing to read.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_distrusted() || self.is_old() {
            self.socket = None;
        }
        if let Some(socket) = &mut self.socket {
            let mut byte = [0];
            if Pin::new(socket).poll_read(cx, &mut ReadBuf::new(&mut byte)).is_pending() {
                return Poll::Pending;
            }
        }
        self.socket = None;
        Poll::Ready(Ok(()))
    }

    /// Reads until there is something for awc or nothing more to come.
    fn poll_answer(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.read.clear();
        self.given = 0;
        while self.read.is_empty()
            && !self.framing.is_over()
            && let Some(socket) = &mut self.socket
        {
            let before = buf.filled().len();
            ready!(Pin::new(socket).poll_read(cx, buf))?;
            let bytes = &buf.filled()[before..];
            let is_end = bytes.is_empty();
            let taken = match is_end {
                true => self.framing.end(),
                false => self.framing.take(bytes, &mut self.read),
            };
            buf.set_filled(before);
            if is_end || taken.is_err() || self.framing.has_surplus() {
                self.socket = None;
            }
            taken.map_err(io::Error::other)?;
        }
        Poll::Ready(Ok(()))
    }
}

/// For how long a connection is given further requests.
const LIFETIME: Duration = Duration::from_secs(75);

/// No larger a buffer is kept for the next answer.
const KEPT: usize = 16 * 1024;

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.turn == Turn::Request {
            this.turn = Turn::Answer;
        }
        if this.turn == Turn::Answer && this.given == this.read.len() {
            if this.framing.is_over() {
                this.rest();
            } else {
                ready!(this.poll_answer(cx, buf))?;
            }
        }
        if this.turn == Turn::Idle {
            return this.poll_idle(cx);
        }
        let rest = &this.read[this.given..];
        let given = &rest[..rest.len().min(buf.remaining())];
        buf.put_slice(given);
        this.given += given.len();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.turn != Turn::Request
            && let Err(error) = this.begin(cx, buf)
        {
            this.socket = None;
            return Poll::Ready(Err(error));
        }
        let Some(socket) = &mut this.socket else { return Poll::Ready(Err(gone())) };
        while let Some(start) = &mut this.start {
            let slices = [&start.bytes[start.written..], &buf[start.replaces..]].map(IoSlice::new);
            start.written += ready!(Pin::new(&mut *socket).poll_write_vectored(cx, &slices))?;
            if let Some(more) = start.written.checked_sub(start.bytes.len()) {
                let written = start.replaces + more;
                this.start = None;
                return Poll::Ready(Ok(written));
            }
        }
        Pin::new(socket).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(socket) = &mut self.get_mut().socket else { return Poll::Ready(Ok(())) };
        Pin::new(socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(socket) = &mut self.get_mut().socket else { return Poll::Ready(Ok(())) };
        Pin::new(socket).poll_shutdown(cx)
    }
}

impl Start {
    fn new(request: &[u8], form: &str) -> io::Result<Self> {
        let path = request.iter().position(|byte| *byte == b' ').map(|space| space + 1);
        let path = path.ok_or_else(|| io::Error::other("a request line in parts"))?;
        Ok(Self { bytes: [&request[..path], form.as_bytes()].concat(), written: 0, replaces: path })
    }
}

impl ActixStream for Stream {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        let Some(socket) = &self.socket else { return Poll::Ready(Err(gone())) };
        socket.poll_read_ready(cx)
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        let Some(socket) = &self.socket else { return Poll::Ready(Err(gone())) };
        socket.poll_write_ready(cx)
    }
}

fn gone() -> io::Error {
    ErrorKind::NotConnected.into()
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("turn", &self.turn).finish_non_exhaustive()
    }
}

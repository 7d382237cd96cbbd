//! Reads an answer, and checks whether an idle connection is usable.

use std::{
    io, mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, ReadBuf};

use super::{KEEP_ALIVE, Options, Stream};
use crate::{rt::clock, transport::http::connect::framing::FramingError};

impl Stream {
    /// Reads until there are bytes for awc, or until no more can come.
    pub(super) fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.read.clear();
        self.delivered = 0;
        while self.read.is_empty()
            && !self.framing.is_complete()
            && let Some(socket) = &mut self.socket
        {
            let before = buf.filled().len();
            ready!(Pin::new(socket).poll_read(cx, buf))?;
            let bytes = &buf.filled()[before..];
            let is_eof = bytes.is_empty();
            let framed = match is_eof {
                true => self.framing.end(),
                false => self.framing.read(bytes, &mut self.read),
            };
            buf.set_filled(before);
            if self.framing.is_complete() {
                self.cooldown.on_answer(clock::now());
            }
            if is_eof || framed.is_err() || self.framing.has_extra_bytes() {
                self.socket = None;
            }
            if self.framing.has_extra_bytes() && self.tracker.is_reused() {
                // Of two answers, the first may be another request's.
                self.tracker.discard();
            }
            if let Err(FramingError::Head(_)) = framed
                && self.tracker.is_reused()
            {
                return Poll::Ready(Err(self.discard("found the rest of another answer")));
            }
            framed.map_err(io::Error::other)?;
            // A server that ends an idle connection may answer 408 just as the request arrives.
            if self.framing.status() == Some(408) && self.tracker.is_reused() {
                self.socket = None;
                return Poll::Ready(Err(self.discard("the server closed the idle connection")));
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Handles awc's check whether a pooled connection is alive. A connection that must cool down
    /// moves to the cooldown pool, and looks closed to awc.
    pub(super) fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_alive(cx) {
            self.socket = None;
            return Poll::Ready(Ok(()));
        }
        if !self.cooldown.is_due(clock::now()) {
            return Poll::Pending;
        }
        let pool = self.options.cooldown_pool.upgrade();
        let closed = Self::new(None, 0, Arc::clone(&self.shared), Options::default());
        let stream = mem::replace(self, closed);
        if let Some(pool) = pool {
            pool.put(stream);
        }
        Poll::Ready(Ok(()))
    }

    /// Whether an idle connection can get a request: nothing has arrived, and it is not too old.
    pub(crate) fn is_alive(&mut self, cx: &mut Context<'_>) -> bool {
        let is_expired = self.cooldown.idle(clock::now()) > KEEP_ALIVE || self.is_old();
        let may_be_used = !is_expired && !self.is_suspect();
        self.socket.as_mut().filter(|_| may_be_used).is_some_and(|socket| {
            let mut byte = [0];
            Pin::new(socket).poll_read(cx, &mut ReadBuf::new(&mut byte)).is_pending()
        })
    }

    pub(crate) fn is_cooled_down(&self) -> bool {
        self.cooldown.is_over(clock::now())
    }
}

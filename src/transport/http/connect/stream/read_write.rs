//! The traits through which awc reads and writes.

use std::{
    io::{self, ErrorKind, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use actix_rt::net::{ActixStream, Ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Phase, Stream};

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.phase == Phase::Writing {
            this.phase = Phase::Reading;
        }
        if this.phase == Phase::Reading && this.is_delivered() {
            this.finish_exchange();
        } else if this.phase == Phase::Reading && this.delivered == this.read.len() {
            ready!(this.poll_answer(cx, buf))?;
        }
        if this.phase == Phase::Idle {
            return this.poll_idle(cx);
        }
        let rest = &this.read[this.delivered..];
        let delivered = &rest[..rest.len().min(buf.remaining())];
        buf.put_slice(delivered);
        this.delivered += delivered.len();
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
        let may_write = match this.phase {
            Phase::Writing => this.continue_request(cx),
            Phase::Idle | Phase::Reading => this.begin_request(cx, buf),
        };
        if let Err(error) = may_write {
            this.socket = None;
            return Poll::Ready(Err(error));
        }
        let Some(socket) = &mut this.socket else { return Poll::Ready(Err(closed())) };
        while let Some(rewrite) = &mut this.rewrite {
            let slices =
                [&rewrite.bytes[rewrite.written..], &buf[rewrite.replaces..]].map(IoSlice::new);
            rewrite.written += ready!(Pin::new(&mut *socket).poll_write_vectored(cx, &slices))?;
            if let Some(more) = rewrite.written.checked_sub(rewrite.bytes.len()) {
                let written = rewrite.replaces + more;
                this.rewrite = None;
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

impl ActixStream for Stream {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        let Some(socket) = &self.socket else { return Poll::Ready(Err(closed())) };
        socket.poll_read_ready(cx)
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        let Some(socket) = &self.socket else { return Poll::Ready(Err(closed())) };
        socket.poll_write_ready(cx)
    }
}

fn closed() -> io::Error {
    ErrorKind::NotConnected.into()
}

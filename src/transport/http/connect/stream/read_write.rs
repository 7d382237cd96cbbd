//! What awc calls to read and write.

use std::{
    io::{self, ErrorKind, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use actix_rt::net::{ActixStream, Ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Stream, Turn};

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
        if this.turn == Turn::Answer && this.is_given() {
            this.rest();
        } else if this.turn == Turn::Answer && this.given == this.read.len() {
            ready!(this.poll_answer(cx, buf))?;
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
        let may_be_written = match this.turn {
            Turn::Request => this.go_on(cx),
            Turn::Idle | Turn::Answer => this.begin(cx, buf),
        };
        if let Err(error) = may_be_written {
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

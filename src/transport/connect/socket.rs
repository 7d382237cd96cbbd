//! A connection's bytes as the peer means them: decrypted, where there is TLS.

use std::{
    io::{self, Read},
    pin::Pin,
    task::{Context, Poll},
};

use actix_rt::net::{ActixStream, Ready, TcpStream};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::client::TlsStream;

#[derive(Debug)]
pub(super) enum Socket {
    Plain(Tcp),
    Tls(Box<TlsStream<Tcp>>),
}

/// A TCP connection.
#[derive(Debug)]
pub(super) struct Tcp {
    stream: TcpStream,
    /// Asks the kernel itself.
    is_probing: bool,
}

/// What has come over a connection on which nothing was expected.
#[derive(Debug)]
pub(super) enum Unasked {
    Nothing,
    Bytes,
    End,
    Broken(io::Error),
}

impl Socket {
    /// Looks what is there now. The runtime knows only what the kernel had when it looked last, which
    /// is not good enough here; session tickets and the like are TLS's own, and nothing in this sense.
    pub(super) fn unasked(&mut self, cx: &mut Context<'_>) -> Unasked {
        let mut byte = [0];
        let mut buf = ReadBuf::new(&mut byte);
        self.tcp_mut().is_probing = true;
        let read = Pin::new(&mut *self).poll_read(cx, &mut buf);
        self.tcp_mut().is_probing = false;
        match read {
            Poll::Pending => Unasked::Nothing,
            Poll::Ready(Ok(())) if !buf.filled().is_empty() => Unasked::Bytes,
            Poll::Ready(Ok(())) => Unasked::End,
            Poll::Ready(Err(error)) => Unasked::Broken(error),
        }
    }

    /// Until the kernel has some, without the runtime.
    #[cfg(test)]
    pub(super) fn wait_for_bytes(&self) {
        let socket = SockRef::from(&self.tcp().stream);
        while socket.peek(&mut [std::mem::MaybeUninit::uninit()]).is_err() {
            std::thread::yield_now();
        }
    }

    fn tcp(&self) -> &Tcp {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }

    fn tcp_mut(&mut self) -> &mut Tcp {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(stream) => stream.get_mut().0,
        }
    }
}

impl Tcp {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, is_probing: false }
    }
}

impl AsyncRead for Tcp {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match Pin::new(&mut this.stream).poll_read(cx, buf) {
            Poll::Pending if this.is_probing => {}
            read => return read,
        }
        match (&*SockRef::from(&this.stream)).read(buf.initialize_unfilled()) {
            Ok(read) => {
                buf.advance(read);
                Poll::Ready(Ok(()))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

impl AsyncWrite for Tcp {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

impl ActixStream for Socket {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_read_ready(&self.tcp().stream, cx)
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_write_ready(&self.tcp().stream, cx)
    }
}

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
    /// What is read, where there is TLS.
    records: Records,
}

/// Where the records of TLS begin and end: RFC 8446, section 5.1.
#[derive(Debug, Default)]
struct Records {
    /// So much was read of a record's header.
    header: usize,
    /// So much is left of the record.
    left: usize,
}

/// Its last two bytes are the length of what follows.
const RECORD_HEADER: usize = 5;

/// What has come over a connection on which nothing was expected.
#[derive(Debug)]
pub(super) enum Unasked {
    Nothing,
    /// With TLS: the beginning of a record, whatever it has in it.
    Part,
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
            Poll::Pending if self.is_within_a_record() => Unasked::Part,
            Poll::Pending => Unasked::Nothing,
            Poll::Ready(Ok(())) if !buf.filled().is_empty() => Unasked::Bytes,
            Poll::Ready(Ok(())) => Unasked::End,
            Poll::Ready(Err(error)) => Unasked::Broken(error),
        }
    }

    fn is_within_a_record(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(stream) => stream.get_ref().0.records.header > 0,
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
        Self { stream, is_probing: false, records: Records::default() }
    }

    fn poll_bytes(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_read(cx, buf) {
            Poll::Pending if self.is_probing => {}
            read => return read,
        }
        match (&*SockRef::from(&self.stream)).read(buf.initialize_unfilled()) {
            Ok(read) => {
                buf.advance(read);
                Poll::Ready(Ok(()))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

impl Records {
    fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let taken = if self.header < RECORD_HEADER {
                self.header += 1;
                // Of what came before the length nothing is left by then.
                self.left = (self.left << 8 | usize::from(bytes[0])) & 0xffff;
                1
            } else {
                let taken = self.left.min(bytes.len());
                self.left -= taken;
                taken
            };
            bytes = &bytes[taken..];
            if self.header == RECORD_HEADER && self.left == 0 {
                self.header = 0;
            }
        }
    }
}

impl AsyncRead for Tcp {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (this, before) = (self.get_mut(), buf.filled().len());
        let read = this.poll_bytes(cx, buf);
        this.records.take(&buf.filled()[before..]);
        read
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_begin_and_end_where_their_headers_say() {
        let record = |length: u16| {
            let [high, low] = length.to_be_bytes();
            [&[23, 3, 3, high, low][..], &vec![255; length.into()]].concat()
        };
        for size in [1, 2, 7, 300, 100_000] {
            let (mut records, mut ends) = (Records::default(), 0);
            let lengths = [1, 0, 255, 256, 16_640, 3];
            for length in lengths {
                let record = record(length);
                for part in record.chunks(size) {
                    records.take(part);
                    ends += usize::from(records.header == 0);
                }
                assert_eq!(records.header, 0);
            }
            assert_eq!(ends, lengths.len(), "in parts of {size}");
            records.take(&[record(9), record(8), vec![23]].concat());
            assert_eq!(records.header, 1);
        }
    }
}

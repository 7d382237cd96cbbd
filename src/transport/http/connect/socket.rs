//! A connection's bytes, decrypted if it uses TLS.

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
    /// How many bytes a running check for unexpected input may still read.
    peek_budget: Option<usize>,
    /// The position in the TLS records read so far.
    records: Records,
}

/// Where TLS records start and end (RFC 8446, section 5.1).
#[derive(Debug, Default)]
struct Records {
    /// How many bytes of the record's header have been read.
    header: usize,
    /// How many bytes are left in the record.
    remaining: usize,
}

/// The length of a record's header. Its last two bytes are the length of the rest.
const RECORD_HEADER: usize = 5;

/// The most bytes that one check reads. The runtime cannot interrupt a check, and a server may send
/// without end.
const MAX_PEEK: usize = 32 * 1024;

/// Input on a connection that expects none.
#[derive(Debug)]
pub(super) enum UnexpectedInput {
    Nothing,
    /// The beginning of a TLS record, with unknown content.
    PartialRecord,
    /// Unexpected bytes, or more input than a check reads.
    Bytes,
    Eof,
    Failed(io::Error),
}

impl Socket {
    /// Reads what the kernel has now, because the runtime's readiness may be out of date. TLS's own
    /// messages, such as session tickets, do not count.
    pub(super) fn check_unexpected(&mut self, cx: &mut Context<'_>) -> UnexpectedInput {
        let mut byte = [0];
        let mut buf = ReadBuf::new(&mut byte);
        self.tcp_mut().peek_budget = Some(MAX_PEEK);
        let read = Pin::new(&mut *self).poll_read(cx, &mut buf);
        let budget = self.tcp_mut().peek_budget.take();
        match read {
            Poll::Pending if budget == Some(0) => UnexpectedInput::Bytes,
            Poll::Pending if self.is_inside_record() => UnexpectedInput::PartialRecord,
            Poll::Pending => UnexpectedInput::Nothing,
            Poll::Ready(Ok(())) if !buf.filled().is_empty() => UnexpectedInput::Bytes,
            Poll::Ready(Ok(())) => UnexpectedInput::Eof,
            Poll::Ready(Err(error)) => UnexpectedInput::Failed(error),
        }
    }

    fn is_inside_record(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(stream) => stream.get_ref().0.records.header > 0,
        }
    }

    /// Blocks until the kernel has this many bytes.
    #[cfg(test)]
    pub(super) fn wait_for_bytes(&self, many: usize) {
        let socket = SockRef::from(&self.tcp().stream);
        let mut bytes = vec![std::mem::MaybeUninit::uninit(); many];
        while !socket.peek(&mut bytes).is_ok_and(|there| there == many) {
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
        Self { stream, peek_budget: None, records: Records::default() }
    }

    fn poll_bytes(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.peek_budget == Some(0) {
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let read = match Pin::new(&mut self.stream).poll_read(cx, buf) {
            Poll::Pending if self.peek_budget.is_some() => self.read_now(buf),
            read => read,
        };
        if let Some(budget) = &mut self.peek_budget {
            *budget = budget.saturating_sub(buf.filled().len() - before);
        }
        read
    }

    /// Reads directly from the kernel, without the runtime.
    fn read_now(&self, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
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
    fn advance(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let consumed = if self.header < RECORD_HEADER {
                self.header += 1;
                // After five bytes, only the last two remain: the length.
                self.remaining = (self.remaining << 8 | usize::from(bytes[0])) & 0xffff;
                1
            } else {
                let consumed = self.remaining.min(bytes.len());
                self.remaining -= consumed;
                consumed
            };
            bytes = &bytes[consumed..];
            if self.header == RECORD_HEADER && self.remaining == 0 {
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
        this.records.advance(&buf.filled()[before..]);
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
    use std::{future::poll_fn, sync::Arc};

    use rcgen::{CertificateParams, KeyPair};
    use rustls::{
        ClientConfig, RootCertStore, ServerConfig,
        crypto::ring::default_provider,
        pki_types::{PrivateKeyDer, ServerName},
    };
    use tokio::net::{TcpListener, TcpSocket};
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    use super::*;

    /// The two ends of a TLS connection whose server has sent this many session tickets.
    async fn with_tickets(tickets: usize) -> (Socket, tokio_rustls::server::TlsStream<TcpStream>) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).unwrap();
        let provider = Arc::new(default_provider());
        let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        server.send_tls13_tickets = tickets;

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(1 << 20).unwrap();
        let connected = socket.connect(listener.local_addr().unwrap());
        let (connected, accepted) = tokio::join!(connected, listener.accept());
        let (client, server) =
            (TlsConnector::from(Arc::new(client)), TlsAcceptor::from(Arc::new(server)));
        let name = ServerName::try_from("localhost").unwrap();
        let connecting = client.connect(name, Tcp::new(connected.unwrap()));
        let (connected, accepted) = tokio::join!(connecting, server.accept(accepted.unwrap().0));
        (Socket::Tls(Box::new(connected.unwrap())), accepted.unwrap())
    }

    #[actix_rt::test]
    async fn tickets_are_nothing_unless_they_are_too_many_to_look_at() {
        for (tickets, there, is_nothing) in [(2, 1, true), (1_000, MAX_PEEK + 1, false)] {
            let (mut socket, _server) = with_tickets(tickets).await;
            socket.wait_for_bytes(there);

            let unexpected = poll_fn(|cx| Poll::Ready(socket.check_unexpected(cx))).await;

            match is_nothing {
                true => assert!(
                    matches!(unexpected, UnexpectedInput::Nothing | UnexpectedInput::PartialRecord),
                    "{unexpected:?}"
                ),
                false => assert!(matches!(unexpected, UnexpectedInput::Bytes), "{unexpected:?}"),
            }
        }
    }

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
                    records.advance(part);
                    ends += usize::from(records.header == 0);
                }
                assert_eq!(records.header, 0);
            }
            assert_eq!(ends, lengths.len(), "in parts of {size}");
            records.advance(&[record(9), record(8), vec![23]].concat());
            assert_eq!(records.header, 1);
        }
    }
}

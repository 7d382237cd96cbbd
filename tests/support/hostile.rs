//! An HTTP/1.1 server that answers as a test says, byte for byte, with or without TLS.

use std::{
    io, mem,
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use actix_statsig::{Config, ConfigBuilder};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
    sync::watch,
};
use tokio_rustls::TlsAcceptor;

use super::tls_server::Authority;

/// Listens on loopback until it is dropped, on a thread of its own.
pub struct Hostile {
    address: SocketAddr,
    /// The authority's certificate, with TLS.
    trusted: Option<String>,
    seen: Arc<Seen>,
    runtime: Option<Runtime>,
}

struct Seen {
    connections: AtomicUsize,
    requests: AtomicUsize,
    ended: watch::Sender<usize>,
    marks: watch::Sender<usize>,
}

/// One accepted connection.
pub struct Connection {
    stream: Box<dyn Io>,
    /// Counted from 0.
    pub number: usize,
    buffer: Vec<u8>,
    seen: Arc<Seen>,
    held: Arc<Mutex<Held>>,
}

/// A socket that can hold back the second half of a write (with TLS, of a record).
struct Socket {
    stream: TcpStream,
    held: Arc<Mutex<Held>>,
}

#[derive(Default)]
enum Held {
    #[default]
    Nothing,
    Next,
    Half(Vec<u8>),
    /// To be written at the next flush.
    Due(Vec<u8>),
}

impl Held {
    fn is_due(&mut self) {
        if let Self::Half(half) = mem::take(self) {
            *self = Self::Due(half);
        }
    }
}

pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A request that the client sent.
#[derive(Clone, Debug)]
pub struct Request {
    pub head: String,
    pub body: Value,
}

impl Hostile {
    pub fn start<F>(
        with_tls: bool,
        serve: impl Fn(Connection) -> F + Clone + Send + 'static,
    ) -> Self
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        listener.set_nonblocking(true).expect("a socket that does not block");
        let address = listener.local_addr().expect("an address");
        let authority = with_tls.then(|| Authority::new("hostile"));
        let acceptor = authority
            .as_ref()
            .map(|authority| TlsAcceptor::from(Arc::new(authority.issue("localhost").config())));
        let seen = Arc::new(Seen {
            connections: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            ended: watch::Sender::new(0),
            marks: watch::Sender::new(0),
        });
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let its_seen = Arc::clone(&seen);
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).expect("a listener");
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).expect("a socket");
                let number = its_seen.connections.fetch_add(1, SeqCst);
                let (seen, serve) = (Arc::clone(&its_seen), serve.clone());
                let acceptor = acceptor.clone();
                let held = Arc::<Mutex<Held>>::default();
                let socket = Socket { stream, held: Arc::clone(&held) };
                tokio::spawn(async move {
                    let stream: Box<dyn Io> = match acceptor {
                        None => Box::new(socket),
                        Some(acceptor) => Box::new(acceptor.accept(socket).await?),
                    };
                    let (ended, buffer) = (Arc::clone(&seen), Vec::new());
                    let result = serve(Connection { stream, number, buffer, seen, held }).await;
                    ended.ended.send_modify(|ended| *ended += 1);
                    result
                });
            }
        });
        let trusted = authority.map(|authority| authority.pem());
        Self { address, trusted, seen, runtime: Some(runtime) }
    }

    /// A client configuration with long timeouts, no cache and no retries.
    pub fn config(&self) -> ConfigBuilder {
        let port = self.address.port();
        let config = Config::builder("secret-key")
            .cache_ttl(Duration::ZERO)
            .timeout(Duration::from_secs(30))
            .attempt_timeout(Duration::from_secs(20))
            .retry_attempts(1);
        match &self.trusted {
            None => config.base_url(format!("http://localhost:{port}")),
            Some(pem) => {
                config.base_url(format!("https://localhost:{port}")).extra_root_certificates(&**pem)
            }
        }
    }

    /// The number of accepted connections.
    pub fn connections(&self) -> usize {
        self.seen.connections.load(SeqCst)
    }

    /// The number of requests read.
    pub fn requests(&self) -> usize {
        self.seen.requests.load(SeqCst)
    }

    /// Waits until this many connections have ended.
    pub async fn ended(&self, count: usize) {
        reached(&self.seen.ended, count).await;
    }

    /// Waits until the server's script has called [`Connection::mark`] this many times.
    pub async fn marked(&self, count: usize) {
        reached(&self.seen.marks, count).await;
    }
}

async fn reached(counter: &watch::Sender<usize>, count: usize) {
    let mut counter = counter.subscribe();
    counter.wait_for(|counted| *counted >= count).await.expect("the server");
}

impl Drop for Hostile {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Connection {
    /// Reads the next request. Returns `None` if the client has closed the connection.
    pub async fn request(&mut self) -> io::Result<Option<Request>> {
        loop {
            if let Some((request, length)) = Request::read(&self.buffer) {
                self.buffer.drain(..length);
                self.seen.requests.fetch_add(1, SeqCst);
                return Ok(Some(request));
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }

    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref()).await?;
        self.stream.flush().await
    }

    /// Writes the first half of `bytes`; with TLS, of the record.
    pub async fn write_half(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        *self.held.lock().expect("no panic") = Held::Next;
        self.write(bytes).await
    }

    /// Writes the second half.
    pub async fn write_other_half(&mut self) -> io::Result<()> {
        self.held.lock().expect("no panic").is_due();
        self.stream.flush().await
    }

    /// Closes the connection, even in the middle of an answer.
    pub async fn close(&mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }

    /// Answers as the API would.
    pub async fn answer(&mut self, request: &Request) -> io::Result<()> {
        self.write(with_length(&request.answer())).await
    }

    /// Answers every request as the API would.
    pub async fn answer_all(&mut self) -> io::Result<()> {
        while let Some(request) = self.request().await? {
            self.answer(&request).await?;
        }
        Ok(())
    }

    /// Tells the test that the script has reached this point.
    pub fn mark(&self) {
        self.seen.marks.send_modify(|marks| *marks += 1);
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let mut held = this.held.lock().expect("no panic");
        let is_held = matches!(*held, Held::Next);
        let now = if is_held { &buf[..buf.len() / 2] } else { buf };
        let written = ready!(Pin::new(&mut this.stream).poll_write(cx, now))?;
        if is_held {
            assert_eq!(written, now.len(), "half an answer fits into the socket's buffer");
            *held = Held::Half(buf[written..].to_vec());
            return Poll::Ready(Ok(buf.len()));
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let mut held = this.held.lock().expect("no panic");
        if let Held::Due(half) = &*held {
            let written = ready!(Pin::new(&mut this.stream).poll_write(cx, half))?;
            assert_eq!(written, half.len(), "half an answer fits into the socket's buffer");
            *held = Held::Nothing;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

impl Request {
    fn read(buffer: &[u8]) -> Option<(Self, usize)> {
        let head = buffer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let text = str::from_utf8(&buffer[..head]).expect("a head of text");
        let length = text.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("content-length").then(|| value.parse().ok())?
        });
        let end = head + length.unwrap_or(0);
        let body = serde_json::from_slice(buffer.get(head..end)?).expect("a body of JSON");
        Some((Self { head: text.to_owned(), body }, end))
    }

    /// The body that the API would answer. Each gate and config names its user.
    pub fn answer(&self) -> Value {
        let user = &self.body["user"]["userID"];
        if let Some(names) = self.body["gateNames"].as_array() {
            let gate = |name: &Value| (name.as_str().expect("a name").to_owned(), gate(name, user));
            return Value::Object(names.iter().map(gate).collect());
        }
        match &self.body["configName"] {
            Value::Null => gate(&self.body["gateName"], user),
            name => json!({"name": name, "value": {"user": user}, "rule_id": user}),
        }
    }
}

/// The JSON of one gate.
pub fn gate(name: &Value, user: &Value) -> Value {
    json!({"name": name, "value": true, "rule_id": user, "group_name": null})
}

/// An answer for the gate `beta` that belongs to another user.
pub fn stray() -> Value {
    gate(&json!("beta"), &json!("somebody else"))
}

/// A response with this body and a `content-length`.
pub fn with_length(body: &Value) -> String {
    let body = body.to_string();
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

/// The same response in chunks of a few bytes, with extensions and a trailer.
pub fn in_chunks(body: &Value) -> String {
    let body = body.to_string();
    let mut answer = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
                      transfer-encoding: chunked\r\n\r\n"
        .to_owned();
    for chunk in body.as_bytes().chunks(7) {
        let text = str::from_utf8(chunk).expect("ASCII");
        answer += &format!("{:X};a=\"b\"\r\n{text}\r\n", chunk.len());
    }
    answer + "0\r\nx-checked: yes\r\n\r\n"
}

//! What awc reads and writes of a connection: a request and the whole of its answer, in turn.

mod read_write;

use std::{
    fmt,
    io::{self, ErrorKind},
    mem,
    pin::Pin,
    rc::{Rc, Weak},
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use tokio::io::{AsyncRead, ReadBuf};

use super::{
    framing::{Fault, Framing},
    link::Link,
    pace::Pace,
    request_line::Start,
    resting::Resting,
    socket::{Socket, Unasked},
};
use crate::{rt::clock, shared::Shared};

/// A connection whose every answer goes to the request it was sent for.
pub(in crate::transport) struct Stream {
    /// `None` once nothing that comes over it can be trusted.
    socket: Option<Socket>,
    link: Rc<Link>,
    shared: Arc<Shared>,
    opened: Instant,
    turn: Turn,
    pace: Pace,
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
    /// Where it rests.
    pub(super) resting: Weak<Resting>,
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

impl Stream {
    pub(super) fn new(
        socket: Option<Socket>,
        generation: u64,
        shared: Arc<Shared>,
        options: Options,
    ) -> Self {
        Self {
            socket,
            link: Link::new(generation),
            shared,
            opened: clock::now(),
            turn: Turn::Idle,
            pace: Pace::new(clock::now()),
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
    /// come since, decrypted and asked of the kernel itself (`Socket::unasked`); nor has a part of what
    /// cannot be decrypted before the rest is there. Otherwise the
    /// connection ends here, before a byte of the request is sent, and the request goes out again on
    /// another. It is looked again before each further part is written (`go_on`). What comes too early
    /// but later than the last look cannot be told from the answer.
    fn begin(&mut self, cx: &mut Context<'_>, request: &[u8]) -> io::Result<()> {
        self.link.begin();
        if self.turn == Turn::Answer && self.is_given() {
            self.rest();
        }
        let is_idle = self.turn == Turn::Idle;
        let Some(socket) = self.socket.as_mut().filter(|_| is_idle) else {
            return Err(self.unusable("the answer before this request left a doubt about its end"));
        };
        let unasked = socket.unasked(cx);
        self.judge(unasked)?;
        if self.is_distrusted() {
            return Err(self.unusable("this connection or one beside it gave another's answer"));
        }
        self.framing = Framing::new();
        if let Some(form) = &self.options.absolute_form {
            self.start = Some(Start::new(request, form)?);
        }
        self.turn = Turn::Request;
        self.pace.begin(clock::now());
        Ok(())
    }

    /// More of a request is to be written. No server has read what is not written yet, and what comes
    /// before is no answer to it; only on a new connection may it be a refusal of what was too long.
    fn go_on(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let is_reused = self.link.is_reused();
        let Some(socket) = self.socket.as_mut().filter(|_| is_reused) else { return Ok(()) };
        let unasked = socket.unasked(cx);
        self.judge(unasked)
    }

    /// Whether the request can be written, with this on the connection.
    fn judge(&self, unasked: Unasked) -> io::Result<()> {
        match (unasked, self.link.is_reused()) {
            (Unasked::Nothing, _) | (Unasked::Part, false) => Ok(()),
            (Unasked::Bytes, _) | (Unasked::Part, true) => {
                Err(self.unusable("an answer came before its request"))
            }
            (Unasked::End | Unasked::Broken(_), true) => {
                Err(self.unusable("the connection ended before the request was sent"))
            }
            // How new connections end is for the attempt to find.
            (Unasked::End, false) => Ok(()),
            (Unasked::Broken(error), false) => Err(error),
        }
    }

    /// The request is to go out again on another connection.
    fn unusable(&self, why: &'static str) -> io::Error {
        self.link.give_up();
        io::Error::new(ErrorKind::ConnectionAborted, why)
    }

    /// It leads to where the host's name pointed when it was opened, and has done so for long enough.
    fn is_old(&self) -> bool {
        clock::now().saturating_duration_since(self.opened) >= LIFETIME
    }

    /// It may have given somebody the answer to another request, or a connection beside it has since it
    /// was opened.
    fn is_distrusted(&self) -> bool {
        self.link.is_unusable() || self.link.generation() != self.shared.connection_generation()
    }

    /// The answer is over, and awc has all of it.
    fn is_given(&self) -> bool {
        self.framing.is_over() && self.given == self.read.len()
    }

    /// Waits for the next request, where there may be one. If awc reads on, it looks whether the
    /// connection, which is in its pool, is alive.
    fn rest(&mut self) {
        if self.framing.is_doubtful() || self.options.is_single_use {
            self.socket = None;
        }
        self.read.clear();
        self.read.shrink_to(KEPT);
        self.given = 0;
        self.turn = Turn::Idle;
    }

    /// awc asks whether a connection of its pool is alive. One that has to rest is not, for awc.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_alive(cx) {
            self.socket = None;
            return Poll::Ready(Ok(()));
        }
        if !self.pace.has_to_rest(clock::now()) {
            return Poll::Pending;
        }
        let resting = self.options.resting.upgrade();
        let gone = Self::new(None, 0, Arc::clone(&self.shared), Options::default());
        let this = mem::replace(self, gone);
        if let Some(resting) = resting {
            resting.set_aside(this);
        }
        Poll::Ready(Ok(()))
    }

    /// An idle connection is alive if there is nothing to read.
    pub(super) fn is_alive(&mut self, cx: &mut Context<'_>) -> bool {
        let was_idle_for_too_long = self.pace.idle(clock::now()) > KEEP_ALIVE;
        let can_be_used = !was_idle_for_too_long && !self.is_old() && !self.is_distrusted();
        self.socket.as_mut().filter(|_| can_be_used).is_some_and(|socket| {
            let mut byte = [0];
            Pin::new(socket).poll_read(cx, &mut ReadBuf::new(&mut byte)).is_pending()
        })
    }

    /// It has been idle for as long as an answer takes.
    pub(super) fn is_rested(&self) -> bool {
        self.pace.is_rested(clock::now())
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
            if self.framing.is_over() {
                self.pace.end(clock::now());
            }
            if is_end || taken.is_err() || self.framing.has_surplus() {
                self.socket = None;
            }
            if self.framing.has_surplus() && self.link.is_reused() {
                // Of two answers the first may be another's.
                self.link.give_up();
            }
            if let Err(Fault::Head(_)) = taken
                && self.link.is_reused()
            {
                return Poll::Ready(Err(self.unusable("what came is the rest of another answer")));
            }
            taken.map_err(io::Error::other)?;
            // Servers that end idle connections say so like this, to nobody, and perhaps just as the
            // request arrives.
            if self.framing.status() == Some(408) && self.link.is_reused() {
                self.socket = None;
                return Poll::Ready(
                    Err(self.unusable("the connection had been idle for too long")),
                );
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// For how long a connection is given further requests.
const LIFETIME: Duration = Duration::from_secs(75);

/// For how long a connection may be idle.
pub(in crate::transport) const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// No larger a buffer is kept for the next answer.
const KEPT: usize = 16 * 1024;

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("turn", &self.turn).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    use super::*;
    use crate::{config::Config, transport::http::connect::socket::Tcp};

    /// A stream and the server's end of its connection.
    async fn pair(options: Options) -> (Stream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        let shared = Arc::new(Shared::new(&Config::builder("key").build().unwrap()));
        (Stream::new(Some(Socket::Plain(Tcp::new(client))), 0, shared, options), server)
    }

    const REQUEST: &str = "POST /v1/check_gate HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}";
    const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";

    async fn received(server: &mut TcpStream, length: usize) -> String {
        let mut bytes = vec![0; length];
        server.read_exact(&mut bytes).await.unwrap();
        String::from_utf8(bytes).unwrap()
    }

    async fn exchange(stream: &mut Stream, server: &mut TcpStream) {
        stream.write_all(REQUEST.as_bytes()).await.unwrap();
        assert_eq!(received(server, REQUEST.len()).await, REQUEST);
        server.write_all(ANSWER.as_bytes()).await.unwrap();
        let mut answer = vec![0; ANSWER.len()];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, ANSWER.as_bytes());
    }

    /// The runtime has not looked at its sockets when the request is to be written.
    #[actix_rt::test]
    async fn request_is_not_written_where_bytes_wait_in_the_kernel() {
        for exchanges in [0, 1, 2] {
            let (mut stream, server) = pair(Options::default()).await;
            let mut server = server;
            for _ in 0..exchanges {
                exchange(&mut stream, &mut server).await;
            }
            let server = server.into_std().unwrap();
            server.set_nonblocking(false).unwrap();
            std::io::Write::write_all(&mut &server, ANSWER.as_bytes()).unwrap();
            stream.socket.as_ref().unwrap().wait_for_bytes(1);

            let written = stream.write_all(REQUEST.as_bytes()).await;

            assert_eq!(written.unwrap_err().kind(), ErrorKind::ConnectionAborted);
            assert!(stream.link.is_unusable());
            drop(stream);
            let mut rest = Vec::new();
            let _ = std::io::Read::read_to_end(&mut &server, &mut rest);
            assert!(rest.is_empty(), "nothing of the request was sent");
        }
    }

    /// No server has read a request of which it does not have the end.
    #[actix_rt::test]
    async fn request_is_not_written_to_its_end_where_bytes_came_meanwhile() {
        let (mut stream, mut server) = pair(Options::default()).await;
        exchange(&mut stream, &mut server).await;
        let (head, body) = REQUEST.as_bytes().split_at(REQUEST.len() - 2);
        stream.write_all(head).await.unwrap();
        server.write_all(ANSWER.as_bytes()).await.unwrap();
        stream.socket.as_ref().unwrap().wait_for_bytes(1);

        let written = stream.write_all(body).await;

        assert_eq!(written.unwrap_err().kind(), ErrorKind::ConnectionAborted);
        assert!(stream.link.is_unusable());
    }

    #[actix_rt::test]
    async fn first_request_of_a_connection_may_be_answered_before_its_end() {
        let (mut stream, mut server) = pair(Options::default()).await;
        let (head, body) = REQUEST.as_bytes().split_at(REQUEST.len() - 2);
        stream.write_all(head).await.unwrap();
        server.write_all(ANSWER.as_bytes()).await.unwrap();
        stream.socket.as_ref().unwrap().wait_for_bytes(ANSWER.len());
        stream.write_all(body).await.unwrap();
        let mut answer = vec![0; ANSWER.len()];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, ANSWER.as_bytes());
    }

    #[actix_rt::test]
    async fn request_is_not_written_after_an_answer_that_was_not_read_to_its_end() {
        let (mut stream, mut server) = pair(Options::default()).await;
        stream.write_all(REQUEST.as_bytes()).await.unwrap();
        server.write_all(&ANSWER.as_bytes()[..ANSWER.len() - 1]).await.unwrap();
        stream.read_exact(&mut [0; 10]).await.unwrap();

        let written = stream.write_all(REQUEST.as_bytes()).await;

        assert_eq!(written.unwrap_err().kind(), ErrorKind::ConnectionAborted);
    }

    #[actix_rt::test]
    async fn connection_in_the_pool_is_at_its_end_once_another_is_off_by_one() {
        let (mut stream, mut server) = pair(Options::default()).await;
        exchange(&mut stream, &mut server).await;
        stream.shared.end_connections_of(0);

        assert_eq!(stream.read(&mut [0; 2]).await.unwrap(), 0);
        assert!(stream.write_all(REQUEST.as_bytes()).await.is_err());
    }

    #[actix_rt::test]
    async fn single_use_connection_is_at_its_end_after_an_answer() {
        let options = Options { is_single_use: true, ..Options::default() };
        let (mut stream, mut server) = pair(options).await;
        exchange(&mut stream, &mut server).await;

        assert_eq!(stream.read(&mut [0; 2]).await.unwrap(), 0);
    }

    #[actix_rt::test]
    async fn every_request_line_is_put_into_absolute_form() {
        let form = "http://api.example:8080";
        let options = Options { absolute_form: Some(form.into()), ..Options::default() };
        let (mut stream, mut server) = pair(options).await;
        let expected = REQUEST.replacen('/', &format!("{form}/"), 1);
        for _ in 0..3 {
            stream.write_all(REQUEST.as_bytes()).await.unwrap();
            assert_eq!(received(&mut server, expected.len()).await, expected);
            server.write_all(ANSWER.as_bytes()).await.unwrap();
            stream.read_exact(&mut vec![0; ANSWER.len()]).await.unwrap();
        }
    }
}

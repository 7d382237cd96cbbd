//! The server's shell: serves connections, and applies faults to them.

use std::{
    convert::Infallible,
    future, io,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    thread,
    time::Duration,
};

use http_body_util::{BodyExt, Full, LengthLimitError, Limited, StreamBody, combinators::BoxBody};
use hyper::{
    Request, Response, StatusCode,
    body::{Body as _, Bytes, Frame, Incoming},
    header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    time::sleep,
};

use super::{
    api::{self, ApiRequest},
    body::parse,
    fault::{FaultKind, Faults, RequestFacts},
    record::{RecordedRequest, Recorder},
    rules::Rules,
};

/// The state that the connections share with the handle.
#[derive(Debug)]
pub(super) struct State {
    pub(super) rules: RwLock<Rules>,
    pub(super) faults: Mutex<Faults>,
    pub(super) latency: Mutex<Duration>,
    pub(super) api_key: Mutex<Option<String>>,
    pub(super) recorder: Recorder,
    /// Whether a connection's task panicked, which tokio does not report.
    pub(super) panicked: AtomicBool,
}

type Body = BoxBody<Bytes, io::Error>;
type Json = Result<Value, serde_json::Error>;

/// The longest body that the server reads, in bytes.
const MAX_BODY: usize = 4 * 1024 * 1024;

/// Serves until the future is dropped.
pub(super) async fn serve(listener: TcpListener, state: Arc<State>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(connection(stream, Arc::clone(&state)))),
            // The process may be out of file descriptors. Open connections need time to close.
            Err(_) => sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn connection(stream: TcpStream, state: Arc<State>) {
    // Without it, answers are only slower.
    let _ = stream.set_nodelay(true);
    let _open = OpenConnection::count(&state);
    let reset = Arc::new(AtomicBool::new(false));
    let io = TokioIo::new(Stream { inner: stream, reset: Arc::clone(&reset) });
    let service = service_fn(|request| respond(request, &state, &reset));
    // An error comes from the client or from an injected fault.
    let _ = http1::Builder::new().serve_connection(io, service).await;
}

/// Counts a connection as open until the guard is dropped.
struct OpenConnection<'a>(&'a State);

impl<'a> OpenConnection<'a> {
    fn count(state: &'a State) -> Self {
        state.recorder.count(|counts| {
            counts.connections += 1;
            counts.open_connections += 1;
        });
        Self(state)
    }
}

impl Drop for OpenConnection<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.panicked.store(true, Relaxed);
        }
        self.0.recorder.count(|counts| counts.open_connections -= 1);
    }
}

/// Answers one request and records it. An error closes the connection.
async fn respond(
    request: Request<Incoming>,
    state: &State,
    reset: &AtomicBool,
) -> Result<Response<Body>, io::Error> {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    let body = read_body(body).await?;
    let request = match &body {
        Ok(body) => api::check(&head, lock(&state.api_key).as_deref(), body),
        Err(refusal) => Err(refusal.clone()),
    };

    let body = body.ok().and_then(Result::ok);
    let mut recorded = RecordedRequest::new(path, head.headers, body);
    match &request {
        Ok(request) => recorded.exposure = request.exposure,
        Err(refusal) => recorded.refusal = Some(refusal.message.clone()),
    }
    let facts = RequestFacts {
        path,
        user_id: recorded.user.get("userID").and_then(Value::as_str),
        names: &recorded.names,
    };
    let (wait, fault) = lock(&state.faults).decide(&facts);
    let wait = wait + *lock(&state.latency);
    let number = state.recorder.add(recorded);
    if !wait.is_zero() {
        sleep(wait).await;
    }

    let response = match (fault, &request) {
        (Some(fault), _) if !matches!(fault, FaultKind::Delay | FaultKind::LeaveOut(_)) => {
            apply(fault, reset).await?
        }
        (_, Err(refusal)) => refuse(refusal),
        (Some(FaultKind::LeaveOut(names)), Ok(request)) => answer(request, state, &names),
        (_, Ok(request)) => answer(request, state, &[]),
    };
    state.recorder.set_status(number, response.status().as_u16());
    Ok(response)
}

/// Reads the body as JSON. Refuses a body that is too long, and fails if the client has left.
async fn read_body(body: Incoming) -> Result<Result<Json, api::Refusal>, io::Error> {
    // If the head announces a body that is too long, the server does not wait for the body.
    if body.size_hint().lower() > MAX_BODY as u64 {
        return Ok(Err(api::Refusal::too_long()));
    }
    match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => Ok(Ok(parse(&body.to_bytes()))),
        Err(error) if error.is::<LengthLimitError>() => Ok(Err(api::Refusal::too_long())),
        Err(error) => Err(io::Error::other(error)),
    }
}

async fn apply(fault: FaultKind, reset: &AtomicBool) -> Result<Response<Body>, io::Error> {
    match fault {
        FaultKind::Answer { status, headers, body } => {
            let status = StatusCode::from_u16(status);
            let mut response = Response::new(full_body(body));
            *response.status_mut() = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            response.headers_mut().extend(headers);
            Ok(response)
        }
        FaultKind::ResetMidBody => {
            reset.store(true, Relaxed);
            Ok(partial_response(BodyEnd::Abort))
        }
        FaultKind::Truncated => Ok(partial_response(BodyEnd::Abort)),
        FaultKind::StallBody => Ok(partial_response(BodyEnd::Stall)),
        FaultKind::Reset => {
            reset.store(true, Relaxed);
            Err(aborted())
        }
        FaultKind::Hang => future::pending().await,
        FaultKind::Close | FaultKind::Delay | FaultKind::LeaveOut(_) => Err(aborted()),
    }
}

fn answer(request: &ApiRequest, state: &State, left_out: &[String]) -> Response<Body> {
    let rules = state.rules.read().unwrap_or_else(PoisonError::into_inner);
    json_response(StatusCode::OK, &api::answer(request, &rules, left_out))
}

fn refuse(refusal: &api::Refusal) -> Response<Body> {
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::BAD_REQUEST);
    let mut response = json_response(status, &json!({ "error": refusal.message }));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
    }
    response
}

fn json_response(status: StatusCode, json: &Value) -> Response<Body> {
    let mut response = Response::new(full_body(json.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn full_body(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never: Infallible| match never {}).boxed()
}

enum BodyEnd {
    Abort,
    Stall,
}

/// Sends only the beginning of an answer.
fn partial_response(end: BodyEnd) -> Response<Body> {
    let steps = futures_util::stream::unfold((0, end), |(step, end)| async move {
        match (step, &end) {
            (0, _) => Some((Ok(Frame::data(Bytes::from_static(b"{\"name\": \"beg"))), (1, end))),
            (_, BodyEnd::Stall) => future::pending().await,
            (_, BodyEnd::Abort) => {
                // The beginning must be sent before the connection closes.
                sleep(Duration::from_millis(5)).await;
                Some((Err(aborted()), (2, end)))
            }
        }
    });
    let mut response = Response::new(BodyExt::boxed(StreamBody::new(steps)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, HeaderValue::from_static("1000"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn aborted() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "an injected fault")
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection that ends in a reset on demand.
struct Stream {
    inner: TcpStream,
    reset: Arc<AtomicBool>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.reset.load(Relaxed) {
            // If this fails, the connection closes normally, which is a fault as well.
            let _ = self.inner.set_zero_linger();
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, bytes))?;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.reset.load(Relaxed) {
            // A shutdown would end the stream before the reset.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

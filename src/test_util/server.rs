//! The server's shell: connections, and faults carried out on them.

use std::{
    convert::Infallible,
    future, io,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use http_body_util::{BodyExt, Full, Limited, StreamBody, combinators::BoxBody};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Frame, Incoming},
    header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue},
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
    api::{self, Asked},
    fault::{Facts, Faults, Kind},
    record::{Recorded, Recorder},
    rules::Rules,
};

/// What the connections share with the handle.
#[derive(Debug)]
pub(super) struct State {
    pub(super) rules: RwLock<Rules>,
    pub(super) faults: Mutex<Faults>,
    pub(super) latency: Mutex<Duration>,
    pub(super) api_key: Mutex<Option<String>>,
    pub(super) recorder: Recorder,
}

type Body = BoxBody<Bytes, io::Error>;

/// The longest body that is read, in bytes.
const MAX_BODY: usize = 4 * 1024 * 1024;

/// Serves until it is dropped.
pub(super) async fn serve(listener: TcpListener, state: Arc<State>) {
    loop {
        // A connection that ended before it was accepted is no reason to stop.
        let Ok((stream, _)) = listener.accept().await else { continue };
        tokio::spawn(connection(stream, Arc::clone(&state)));
    }
}

async fn connection(stream: TcpStream, state: Arc<State>) {
    // Only costs time if it fails.
    let _ = stream.set_nodelay(true);
    state.recorder.count(|counts| {
        counts.connections += 1;
        counts.open_connections += 1;
    });
    let reset = Arc::new(AtomicBool::new(false));
    let io = TokioIo::new(Stream { inner: stream, reset: Arc::clone(&reset) });
    let service = service_fn(|request| respond(request, &state, &reset));
    // An error is either the client's or a fault of ours.
    let _ = http1::Builder::new().serve_connection(io, service).await;
    state.recorder.count(|counts| counts.open_connections -= 1);
}

/// Answers one request; an error closes the connection.
async fn respond(
    request: Request<Incoming>,
    state: &State,
    reset: &AtomicBool,
) -> Result<Response<Body>, io::Error> {
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, MAX_BODY).collect().await else {
        return Ok(refusal(StatusCode::PAYLOAD_TOO_LARGE, "the body is too long"));
    };
    let body = body.to_bytes();
    let path = head.uri.path().to_owned();
    let Some(kind) = api::operation(&path) else {
        return Ok(refusal(StatusCode::NOT_FOUND, "no such operation"));
    };
    if head.method != Method::POST {
        let mut response = refusal(StatusCode::METHOD_NOT_ALLOWED, "every operation is a POST");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return Ok(response);
    }
    let key = head.headers.get("statsig-api-key").and_then(|key| key.to_str().ok());
    let authorized = is_authorized(key, state);
    let asked = if is_json(head.headers.get(CONTENT_TYPE)) {
        api::read(kind, &body)
    } else {
        Err(api::Refusal { status: 415, message: "the content type must be JSON".to_owned() })
    };

    let mut recorded = Recorded::new(&path, head.headers, &body);
    match &asked {
        _ if !authorized => recorded.refusal = Some("statsig-api-key was refused".to_owned()),
        Ok(asked) => {
            recorded.names.clone_from(&asked.names);
            recorded.exposure = asked.exposure;
        }
        Err(refused) => recorded.refusal = Some(refused.message.clone()),
    }
    let facts = Facts {
        path: &path,
        user_id: recorded.user.get("userID").and_then(Value::as_str),
        names: &recorded.names,
    };
    let (wait, fault) = lock(&state.faults).decide(&facts);
    let wait = wait + *lock(&state.latency);
    state.recorder.add(recorded);
    if !wait.is_zero() {
        sleep(wait).await;
    }

    let answer = |left_out: &[String]| match &asked {
        _ if !authorized => refusal(StatusCode::UNAUTHORIZED, "statsig-api-key was refused"),
        Ok(asked) => answer(asked, state, left_out),
        Err(refused) => {
            let status = StatusCode::from_u16(refused.status).unwrap_or(StatusCode::BAD_REQUEST);
            refusal(status, &refused.message)
        }
    };
    match fault {
        None | Some(Kind::Delay) => Ok(answer(&[])),
        Some(Kind::LeaveOut(names)) => Ok(answer(&names)),
        Some(fault) => strike(fault, reset).await,
    }
}

async fn strike(fault: Kind, reset: &AtomicBool) -> Result<Response<Body>, io::Error> {
    match fault {
        Kind::Answer { status, headers, body } => {
            let status = StatusCode::from_u16(status);
            let mut response = Response::new(whole(body));
            *response.status_mut() = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            for (name, value) in headers {
                if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), value.try_into()) {
                    response.headers_mut().insert::<HeaderName>(name, value);
                }
            }
            Ok(response)
        }
        Kind::ResetMidBody => {
            reset.store(true, Relaxed);
            Ok(half())
        }
        Kind::Truncated => Ok(half()),
        Kind::Reset => {
            reset.store(true, Relaxed);
            Err(cut_off())
        }
        Kind::Hang => future::pending().await,
        Kind::Close | Kind::Delay | Kind::LeaveOut(_) => Err(cut_off()),
    }
}

fn answer(asked: &Asked, state: &State, left_out: &[String]) -> Response<Body> {
    let rules = state.rules.read().unwrap_or_else(PoisonError::into_inner);
    json_response(StatusCode::OK, &api::answer(asked, &rules, left_out))
}

fn refusal(status: StatusCode, message: &str) -> Response<Body> {
    json_response(status, &json!({ "error": message }))
}

fn json_response(status: StatusCode, json: &Value) -> Response<Body> {
    let mut response = Response::new(whole(json.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never: Infallible| match never {}).boxed()
}

/// A body that breaks off, after its beginning has had time to leave.
fn half() -> Response<Body> {
    let steps = futures_util::stream::unfold(0, |step| async move {
        match step {
            0 => Some((Ok(Frame::data(Bytes::from_static(b"{\"name\": \"beg"))), 1)),
            _ => {
                sleep(Duration::from_millis(5)).await;
                Some((Err(cut_off()), 2))
            }
        }
    });
    let mut response = Response::new(BodyExt::boxed(StreamBody::new(steps)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, HeaderValue::from_static("1000"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn cut_off() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "a fault that was injected")
}

fn is_authorized(key: Option<&str>, state: &State) -> bool {
    let wanted = lock(&state.api_key);
    match (key, wanted.as_deref()) {
        (None | Some(""), _) => false,
        (Some(key), Some(wanted)) => key == wanted,
        (Some(_), None) => true,
    }
}

fn is_json(content_type: Option<&HeaderValue>) -> bool {
    let Some(content_type) = content_type else { return true };
    let content_type = content_type.to_str().unwrap_or_default().to_ascii_lowercase();
    content_type.split(';').next().is_some_and(|essence| essence.trim() == "application/json")
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection that can be made to end in a reset.
struct Stream {
    inner: TcpStream,
    reset: Arc<AtomicBool>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.reset.load(Relaxed) {
            // Without it the connection is closed instead, which is a fault as well.
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
            // A shutdown would send the end of the stream before the reset.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

//! One attempt of a call over awc, within its limits of time and size.

use std::{
    fmt, io,
    rc::Rc,
    sync::Arc,
    time::{Duration, SystemTime},
};

use actix_http::error::ParseError;
use actix_rt::time::timeout;
use actix_tls::connect as tcp;
use awc::{
    Client, Connector,
    error::{ConnectError, PayloadError, SendRequestError},
    http::{
        StatusCode, Uri,
        header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER},
        uri,
    },
};
use rustls::{CertificateError, ClientConfig};

use super::{
    connect::{Noting, noting_reuse},
    tls, wire,
};
use crate::{
    clock,
    config::Config,
    error::{ConnectFault, Error},
    evaluation::Evaluation,
    messages::{CallKind, CallRequest},
};

/// The API, over HTTP. Lives on one arbiter, as awc's client does.
pub(super) struct HttpClient {
    pooled: Client,
    /// Keeps no connection, so that it opens one for each attempt.
    fresh: Client,
    check_gate: Uri,
    get_config: Uri,
    api_key: HeaderValue,
    max_body: usize,
}

/// How one attempt failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: Error,
    /// The connection came from the pool and died before the first byte of an answer.
    pub(super) died_on_reuse: bool,
}

/// The longest answer that is read, in bytes.
const MAX_BODY: usize = 2 * 1024 * 1024;

/// The longest body of an error that is looked at, in bytes.
const MAX_ERROR_BODY: usize = 16 * 1024;

/// The longest part of a body that goes into an error, in characters.
const MAX_EXCERPT: usize = 120;

impl HttpClient {
    pub(super) fn new(config: &Config, tls: &Arc<ClientConfig>) -> Result<Rc<Self>, Error> {
        tls::ensure_default_provider();
        let mut api_key = HeaderValue::from_str(config.api_key()).map_err(|_| {
            let (value, rule) = ("[redacted]".to_owned(), "must be a header's value".to_owned());
            Error::InvalidConfig { setting: "api_key", value, rule }
        })?;
        // awc logs request heads at TRACE.
        api_key.set_sensitive(true);
        Ok(Rc::new(Self {
            pooled: client(config, tls, Duration::from_secs(15)),
            fresh: client(config, tls, Duration::ZERO),
            check_gate: endpoint(config.uri(), CallKind::CheckGate)?,
            get_config: endpoint(config.uri(), CallKind::GetConfig)?,
            api_key,
            max_body: MAX_BODY,
        }))
    }

    /// One attempt: connect, send, and read headers and body, all within `limit`.
    ///
    /// awc's own timeout leaves the body out, so there is one deadline around everything.
    pub(super) async fn attempt(
        &self,
        call: &CallRequest,
        fresh: bool,
        limit: Duration,
    ) -> Result<Vec<Option<Evaluation>>, Failure> {
        let path = call.kind.path();
        let attempt = noting_reuse(timeout(limit, self.exchange(call, fresh)));
        let (result, reused) = attempt.await;
        let result = result.unwrap_or(Err(Broken::Error(Error::AttemptTimeout { limit })));
        result.map_err(|broken| match broken {
            Broken::BeforeAnswer(error) => Failure {
                died_on_reuse: reused && is_closed(&error),
                error: send_error(error, path),
            },
            Broken::Error(error) => Failure { error, died_on_reuse: false },
        })
    }

    async fn exchange(
        &self,
        call: &CallRequest,
        fresh: bool,
    ) -> Result<Vec<Option<Evaluation>>, Broken> {
        let path = call.kind.path();
        let client = if fresh { &self.fresh } else { &self.pooled };
        let uri = match call.kind {
            CallKind::CheckGate => &self.check_gate,
            CallKind::GetConfig => &self.get_config,
        };
        let body = wire::encode(call).map_err(|_| Broken::Error(UNENCODABLE))?;
        let request = client
            .post(uri)
            .insert_header(("statsig-api-key", self.api_key.clone()))
            .insert_header((CONTENT_TYPE, "application/json"));
        let mut response = request.send_body(body).await.map_err(Broken::BeforeAnswer)?;

        let status = response.status();
        let excerpts = Excerpts { call, api_key: self.api_key.to_str().unwrap_or_default() };
        if !status.is_success() {
            let retry_after = retry_after(response.headers(), clock::wall());
            // Read to the end where it is short, so that the connection can be used again.
            let body = response.body().limit(MAX_ERROR_BODY).await.unwrap_or_default();
            return Err(Broken::Error(status_error(status, path, retry_after, || {
                excerpts.of(&body)
            })));
        }
        if !is_json(response.headers()) {
            let reason = "the content type is not JSON".to_owned();
            return Err(Broken::Error(Error::InvalidResponse {
                path,
                reason,
                excerpt: String::new(),
            }));
        }
        let body = response.body().limit(self.max_body).await;
        let body = body.map_err(|error| Broken::Error(payload_error(error, path)))?;
        wire::decode(call, &body).map_err(|error| {
            let reason = excerpts.without_secrets(&error.to_string());
            Broken::Error(Error::InvalidResponse { path, reason, excerpt: excerpts.of(&body) })
        })
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient").field("check_gate", &self.check_gate).finish_non_exhaustive()
    }
}

/// Why an exchange ended without evaluations.
enum Broken {
    BeforeAnswer(SendRequestError),
    Error(Error),
}

const UNENCODABLE: Error = Error::Internal { detail: "a call could not be written as JSON" };

fn client(config: &Config, tls: &Arc<ClientConfig>, keep_alive: Duration) -> Client {
    let connector = Connector::new()
        .connector(Noting(tcp::Connector::default().service()))
        // The attempt's deadline is around these; they only must not be shorter.
        .timeout(config.attempt_timeout() + Duration::from_secs(1))
        .handshake_timeout(config.attempt_timeout() + Duration::from_secs(1))
        .conn_keep_alive(keep_alive)
        .disconnect_timeout(Duration::from_millis(500))
        // The transport bounds what is in flight. A request that waited here for a connection
        // would be taken for one that cannot connect.
        .limit(0)
        .rustls_0_23(Arc::clone(tls));
    Client::builder()
        .connector(connector)
        .disable_timeout()
        // A redirect would carry the key to wherever it points.
        .disable_redirects()
        .no_default_headers()
        .add_default_header(("user-agent", USER_AGENT))
        .finish()
}

const USER_AGENT: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));

fn endpoint(base: &Uri, kind: CallKind) -> Result<Uri, Error> {
    let mut parts = base.clone().into_parts();
    let path = format!("{}{}", base.path().trim_end_matches('/'), kind.path());
    parts.path_and_query = uri::PathAndQuery::try_from(path).ok();
    Uri::from_parts(parts).map_err(|error| Error::InvalidConfig {
        setting: "base_url",
        value: base.to_string(),
        rule: format!("must be a URL that a path can be added to ({error})"),
    })
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(content_type) = headers.get(CONTENT_TYPE) else { return true };
    let essence = content_type.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    let essence = essence.trim().to_ascii_lowercase();
    essence == "application/json" || essence.ends_with("+json")
}

fn status_error(
    status: StatusCode,
    path: &'static str,
    retry_after: Option<Duration>,
    excerpt: impl FnOnce() -> String,
) -> Error {
    let code = status.as_u16();
    match code {
        401 | 403 => Error::Unauthorized { path, status: code },
        408 | 429 | 500..=599 => Error::Unavailable { path, status: code, retry_after },
        _ => Error::Refused { path, status: code, excerpt: excerpt() },
    }
}

/// `Retry-After`: whole seconds or an HTTP date; anything else counts as not sent.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(text).ok()?;
    Some(at.duration_since(now).unwrap_or_default())
}

fn payload_error(error: PayloadError, path: &'static str) -> Error {
    match error {
        PayloadError::Overflow => Error::InvalidResponse {
            path,
            reason: format!("the body has more than {MAX_BODY} bytes"),
            excerpt: String::new(),
        },
        PayloadError::EncodingCorrupted => Error::InvalidResponse {
            path,
            reason: "the body's encoding is corrupt".to_owned(),
            excerpt: String::new(),
        },
        broken => connect_error(ConnectFault::Closed, &broken),
    }
}

/// Whether the connection was closed or reset, as opposed to never made.
fn is_closed(error: &SendRequestError) -> bool {
    match error {
        SendRequestError::Connect(ConnectError::Disconnected) => true,
        SendRequestError::Send(error) => is_closed_io(error),
        SendRequestError::Response(ParseError::Incomplete) => true,
        SendRequestError::Response(ParseError::Io(error)) => is_closed_io(error),
        _ => false,
    }
}

fn is_closed_io(error: &io::Error) -> bool {
    use io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof,
    };
    matches!(
        error.kind(),
        BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof
    )
}

/// awc's errors are not `Send` and name no source: kind and text are copied.
fn send_error(error: SendRequestError, path: &'static str) -> Error {
    let fault = match &error {
        error if is_closed(error) => ConnectFault::Closed,
        SendRequestError::Connect(connect) => match connect {
            ConnectError::Resolver(_) | ConnectError::NoRecords | ConnectError::Unresolved => {
                ConnectFault::Resolve
            }
            ConnectError::Io(error) => io_fault(error),
            _ => ConnectFault::Io,
        },
        // The latter has nothing to do with what was read: in TLS 1.3 a server may refuse a client
        // that takes the handshake for done.
        SendRequestError::Send(error) | SendRequestError::Response(ParseError::Io(error)) => {
            io_fault(error)
        }
        SendRequestError::Response(error) => {
            let reason = format!("not an HTTP response ({error})");
            return Error::InvalidResponse { path, reason, excerpt: String::new() };
        }
        _ => ConnectFault::Io,
    };
    connect_error(fault, &error)
}

fn connect_error(fault: ConnectFault, source: &dyn fmt::Display) -> Error {
    Error::Connect { fault, source: Arc::new(io::Error::other(source.to_string())) }
}

fn io_fault(error: &io::Error) -> ConnectFault {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(certificate)) => match certificate {
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => ConnectFault::CertificateExpired,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                ConnectFault::CertificateWrongHost
            }
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                ConnectFault::CertificateUntrusted
            }
            _ => ConnectFault::Tls,
        },
        Some(_) => ConnectFault::Tls,
        None if error.kind() == io::ErrorKind::ConnectionRefused => ConnectFault::Refused,
        None if is_closed_io(error) => ConnectFault::Closed,
        None => ConnectFault::Io,
    }
}

/// Makes short, safe quotations of what a server said, which may repeat what it was sent.
struct Excerpts<'a> {
    call: &'a CallRequest,
    api_key: &'a str,
}

impl Excerpts<'_> {
    fn of(&self, body: &[u8]) -> String {
        self.without_secrets(&String::from_utf8_lossy(&body[..body.len().min(4 * MAX_EXCERPT)]))
    }

    fn without_secrets(&self, text: &str) -> String {
        if self.call.user.has_private_attributes() {
            return "[withheld: the user has private attributes]".to_owned();
        }
        let printable = |c: char| if c.is_control() { ' ' } else { c };
        text.replace(self.api_key, "[redacted]").chars().map(printable).take(MAX_EXCERPT).collect()
    }
}

#[cfg(test)]
mod tests {
    use awc::http::header::HeaderName;

    use super::*;

    fn headers(name: HeaderName, value: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_static(value));
        headers
    }

    #[test]
    fn retry_after_is_read_as_seconds_or_as_a_date_and_rubbish_is_ignored() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777 - 5);
        let read = |value| retry_after(&headers(RETRY_AFTER, value), now);

        assert_eq!(read("120"), Some(Duration::from_secs(120)));
        assert_eq!(read("0"), Some(Duration::ZERO));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::from_secs(5)));
        assert_eq!(read("Sun, 06 Nov 1983 08:49:37 GMT"), Some(Duration::ZERO));
        for rubbish in ["", "soon", "-1", "1.5", "99999999999999999999999"] {
            assert_eq!(read(rubbish), None, "{rubbish}");
        }
    }

    #[test]
    fn a_status_says_whether_the_key_the_call_or_the_server_is_at_fault() {
        let of = |code| {
            let status = StatusCode::from_u16(code).unwrap();
            status_error(status, "/v1/check_gate", None, || "why".to_owned()).kind()
        };
        for (kind, codes) in [
            ("unauthorized", &[401, 403][..]),
            ("unavailable", &[408, 429, 500, 502, 503, 504, 599]),
            ("refused", &[302, 400, 404, 409, 413]),
        ] {
            for code in codes {
                assert_eq!(of(*code), kind, "{code}");
            }
        }
    }

    #[test]
    fn json_is_told_by_its_content_type_and_none_is_tolerated() {
        for value in ["application/json", "Application/JSON; charset=utf-8", "application/a+json"] {
            assert!(is_json(&headers(CONTENT_TYPE, value)), "{value}");
        }
        assert!(is_json(&HeaderMap::new()));
        assert!(!is_json(&headers(CONTENT_TYPE, "text/html")));
    }

    #[test]
    fn paths_are_appended_to_the_base_url() {
        let of = |base: &str| endpoint(&base.parse().unwrap(), CallKind::CheckGate).unwrap();
        assert_eq!(of("https://a.b"), "https://a.b/v1/check_gate");
        assert_eq!(of("http://[::1]:8/c/d"), "http://[::1]:8/c/d/v1/check_gate");
    }
}

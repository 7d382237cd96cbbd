//! One attempt of a call over awc, within its limits of time and size.

use std::{fmt, rc::Rc, sync::Arc, time::Duration};

use actix_rt::time::timeout;
use actix_tls::connect as tcp;
use awc::{
    Client, Connector, FrozenClientRequest,
    error::{PayloadError, SendRequestError},
    http::{
        Uri,
        header::{
            ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap,
            HeaderValue,
        },
        uri,
    },
};
use futures_util::{Stream, StreamExt};
use rustls::ClientConfig;
use serde_json::error::Category;

use super::{
    answer::{Head, without_mark},
    connect::{Noting, noting_reuse},
    excerpt::Excerpts,
    failure::{connect_error, is_closed, payload_error, retry_after, send_error, status_error},
    unpack::{Unpackable, unpack, unpack_beginning},
    wire,
};
use crate::{
    call::{CallKind, CallRequest},
    clock,
    config::Config,
    error::{ConnectFault, Error},
    evaluation::Evaluation,
};

/// The API, over HTTP. Lives on one arbiter, as awc's client does.
pub(super) struct HttpClient {
    pooled: Requests,
    /// Keeps no connection, so that it opens one for each attempt.
    fresh: Requests,
    api_key: HeaderValue,
    max_body: usize,
    patience: Duration,
}

/// A client's requests, complete but for their bodies: the same heads serve every call.
struct Requests {
    check_gate: FrozenClientRequest,
    get_config: FrozenClientRequest,
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

/// The longest that is waited for the body of an error, whose status has said what matters.
const ERROR_BODY_PATIENCE: Duration = Duration::from_millis(250);

impl HttpClient {
    pub(super) fn new(config: &Config, tls: &Arc<ClientConfig>) -> Result<Rc<Self>, Error> {
        let mut api_key = HeaderValue::from_str(config.api_key()).map_err(|_| {
            let (value, rule) = ("[redacted]".to_owned(), "must be a header's value".to_owned());
            Error::InvalidConfig { setting: "api_key", value, rule }
        })?;
        // awc logs request heads at TRACE.
        api_key.set_sensitive(true);
        let requests = |keep_alive| {
            let client = client(config, tls, keep_alive);
            let to = |kind| request(&client, &endpoint(config.uri(), kind)?, &api_key);
            let (check_gate, get_config) = (to(CallKind::CheckGate)?, to(CallKind::GetConfig)?);
            Ok(Requests { check_gate, get_config })
        };
        Ok(Rc::new(Self {
            pooled: requests(Duration::from_secs(15))?,
            fresh: requests(Duration::ZERO)?,
            api_key,
            max_body: MAX_BODY,
            patience: ERROR_BODY_PATIENCE.min(config.attempt_timeout() / 4),
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
        // In a box: each layer around a future copies it at least once.
        let attempt = Box::pin(timeout(limit, self.exchange(call, fresh)));
        let (result, reused) = noting_reuse(attempt).await;
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
        let requests = if fresh { &self.fresh } else { &self.pooled };
        let request = match call.kind {
            CallKind::CheckGate => &requests.check_gate,
            CallKind::GetConfig => &requests.get_config,
        };
        let body = wire::encode(call).map_err(|_| Broken::Error(UNENCODABLE))?;
        let mut response = request.send_body(body).await.map_err(Broken::BeforeAnswer)?;

        let status = response.status();
        let head = Head::of(status.as_u16(), response.headers());
        let excerpts = Excerpts { call, api_key: self.api_key.to_str().unwrap_or_default() };
        if !status.is_success() || matches!(status.as_u16(), 204 | 205) {
            let retry_after = retry_after(response.headers(), clock::wall());
            // Read to the end where it is short, so that the connection can be used again.
            let body = self.beginning(&mut response).await;
            let body = unpack_beginning(body, MAX_ERROR_BODY);
            let error = head
                .intermediary(path, &body)
                .unwrap_or_else(|| status_error(status, path, retry_after, || excerpts.of(&body)));
            return Err(Broken::Error(error));
        }
        let length = content_length(response.headers());
        let encoding = foreign_encoding(response.headers());
        let body = response.body().limit(self.max_body).await;
        let body = body.map_err(|error| Broken::Error(payload_error(error, path)))?;
        if length.is_some_and(|length| body.len() < length) {
            return Err(Broken::Error(cut_short()));
        }
        let body = unpack(&body, self.max_body).map_err(|why| match why {
            Unpackable::TooLong => Broken::Error(payload_error(PayloadError::Overflow, path)),
            Unpackable::CutShort if length.is_none() => Broken::Error(cut_short()),
            _ => Broken::Error(payload_error(PayloadError::EncodingCorrupted, path)),
        })?;
        let json = without_mark(&body);
        wire::decode(call.kind, &call.names, json).map_err(|error| match error.classify() {
            Category::Eof if length.is_none() => Broken::Error(cut_short()),
            _ => Broken::Error(head.intermediary(path, &body).unwrap_or_else(|| {
                let reason = encoding.map_or_else(|| excerpts.reason(&error), str::to_owned);
                Error::InvalidResponse { path, reason, excerpt: excerpts.of(&body) }
            })),
        })
    }

    /// What has come of a body, until it is long enough or takes too long or breaks off.
    async fn beginning<B: AsRef<[u8]>, E>(
        &self,
        mut body: impl Stream<Item = Result<B, E>> + Unpin,
    ) -> Vec<u8> {
        let mut read = Vec::new();
        let reading = async {
            while read.len() < MAX_ERROR_BODY
                && let Some(Ok(chunk)) = body.next().await
            {
                read.extend_from_slice(chunk.as_ref());
            }
        };
        // Whatever has come by then will do.
        let _ = timeout(self.patience, reading).await;
        read
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let check_gate = self.pooled.check_gate.get_uri();
        f.debug_struct("HttpClient").field("check_gate", check_gate).finish_non_exhaustive()
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

fn request(
    client: &Client,
    uri: &Uri,
    api_key: &HeaderValue,
) -> Result<FrozenClientRequest, Error> {
    let request = client
        .post(uri)
        // As awc would say it, which does so for each request anew.
        .insert_header((HOST, host(uri)))
        .insert_header(("statsig-api-key", api_key.clone()))
        .insert_header((CONTENT_TYPE, "application/json"))
        // Answers are small. What comes compressed all the same is unpacked here, not by awc, whose
        // compression another crate of the app may turn on.
        .insert_header((ACCEPT_ENCODING, "identity"))
        .no_decompress();
    request.freeze().map_err(|error| unusable(uri, &error))
}

fn host(uri: &Uri) -> String {
    let host = uri.host().unwrap_or_default();
    match uri.port_u16() {
        None | Some(80 | 443) => host.to_owned(),
        Some(port) => format!("{host}:{port}"),
    }
}

const USER_AGENT: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));

fn endpoint(base: &Uri, kind: CallKind) -> Result<Uri, Error> {
    let mut parts = base.clone().into_parts();
    let path = format!("{}{}", base.path().trim_end_matches('/'), kind.path());
    parts.path_and_query = uri::PathAndQuery::try_from(path).ok();
    Uri::from_parts(parts).map_err(|error| unusable(base, &error))
}

fn unusable(base: &Uri, error: &dyn fmt::Display) -> Error {
    Error::InvalidConfig {
        setting: "base_url",
        value: base.to_string(),
        rule: format!("must be a URL that a path can be added to ({error})"),
    }
}

fn content_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

/// awc takes a connection that is closed in the middle of a body for the body's end.
fn cut_short() -> Error {
    connect_error(ConnectFault::Closed, &"the body was cut short")
}

/// Why a body cannot be read, if it cannot: its headers say that it is compressed in another way than
/// with gzip. A body is read first, for a proxy that unpacks one may leave the header.
fn foreign_encoding(headers: &HeaderMap) -> Option<&'static str> {
    let encoding = headers.get(CONTENT_ENCODING)?.as_bytes();
    let is_known = |known: &&[u8]| encoding.eq_ignore_ascii_case(known);
    let known: [&[u8]; 4] = [b"identity", b"gzip", b"x-gzip", b""];
    let reason = "the body has a content encoding other than gzip, which nobody asked for";
    (!known.iter().any(is_known)).then_some(reason)
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
    fn an_encoding_other_than_gzip_is_the_reason_where_a_body_cannot_be_read() {
        for value in ["Identity", "gzip", "X-GZIP", ""] {
            assert_eq!(foreign_encoding(&headers(CONTENT_ENCODING, value)), None, "{value}");
        }
        for value in ["deflate", "br", "gzip, br"] {
            let reason = foreign_encoding(&headers(CONTENT_ENCODING, value));
            assert!(reason.is_some_and(|reason| reason.contains("content encoding")), "{value}");
        }
    }

    #[test]
    fn paths_are_appended_to_the_base_url() {
        let of = |base: &str| endpoint(&base.parse().unwrap(), CallKind::CheckGate).unwrap();
        assert_eq!(of("https://a.b"), "https://a.b/v1/check_gate");
        assert_eq!(of("http://[::1]:8/c/d"), "http://[::1]:8/c/d/v1/check_gate");
    }
}

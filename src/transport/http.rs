//! One attempt of a call over awc, within its limits of time and size.

use std::{fmt, rc::Rc, sync::Arc, time::Duration};

use actix_rt::time::timeout;
use awc::{
    Client, FrozenClientRequest,
    error::PayloadError,
    http::{
        StatusCode, Uri,
        header::{
            ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap,
            HeaderValue, PROXY_AUTHORIZATION, TRANSFER_ENCODING,
        },
        uri,
    },
};
use futures_util::{Stream, StreamExt};
use rustls::ClientConfig;
use serde_json::error::Category;

use super::{
    answer::{Head, without_mark},
    body,
    broken::{Broken, Failure, judged, of_another},
    connect::{Connector, KEEP_ALIVE, Link, Way, noting_link, without_tls},
    excerpt::Excerpts,
    failure::{connect_error, payload_error, retry_after, status_error},
    foreign::foreign_name,
    unpack::{Unpackable, unpack, unpack_beginning},
    upstream::Server,
    wire::{self, Decoded},
};
use crate::{
    call::{CallKind, CallRequest},
    clock,
    config::{Config, Proxy},
    error::{ConnectFault, Error},
    evaluation::Evaluation,
    shared::Shared,
};

/// The API, over HTTP. Lives on one arbiter, as awc's client does.
pub(super) struct HttpClient {
    pooled: Requests,
    /// Keeps no connection, so that it opens one for each attempt.
    fresh: Requests,
    api_key: HeaderValue,
    /// The proxy that takes plain HTTP for us.
    proxy: Option<Proxy>,
    server: Arc<Server>,
    shared: Arc<Shared>,
    max_body: usize,
    patience: Duration,
}

/// A client's requests, complete but for their bodies: the same heads serve every call.
struct Requests {
    check_gate: FrozenClientRequest,
    get_config: FrozenClientRequest,
}

/// The longest answer that is read, in bytes.
const MAX_BODY: usize = 2 * 1024 * 1024;

/// The longest body of an error that is looked at, in bytes.
const MAX_ERROR_BODY: usize = 16 * 1024;

/// The longest that is waited for the body of an error, whose status has said what matters.
const ERROR_BODY_PATIENCE: Duration = Duration::from_millis(250);

impl HttpClient {
    pub(super) fn new(
        config: &Config,
        tls: &Arc<ClientConfig>,
        shared: &Arc<Shared>,
        server: &Arc<Server>,
    ) -> Result<Rc<Self>, Error> {
        let mut api_key = HeaderValue::from_str(config.api_key()).map_err(|_| {
            let (value, rule) = ("[redacted]".to_owned(), "must be a header's value".to_owned());
            Error::InvalidConfig { setting: "api_key", value, rule }
        })?;
        // awc logs request heads at TRACE.
        api_key.set_sensitive(true);
        let way = Way::new(config, tls, shared);
        let requests = |connector| {
            let client = client(config, connector);
            let to = |kind| request(&client, config, kind, &api_key);
            let (check_gate, get_config) = (to(CallKind::CheckGate)?, to(CallKind::GetConfig)?);
            Ok(Requests { check_gate, get_config })
        };
        Ok(Rc::new(Self {
            pooled: requests(Connector::keeping(&way))?,
            fresh: requests(Connector::fresh(&way))?,
            api_key,
            proxy: plain_proxy(config).cloned(),
            server: Arc::clone(server),
            shared: Arc::clone(shared),
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
        let (result, link) = noting_link(attempt).await;
        let result = result.unwrap_or(Err(Broken::Error(Error::AttemptTimeout { limit })));
        let result = match (result, link.as_deref()) {
            (Ok(evaluations), Some(link)) if self.leaves_out_more(call, &evaluations, link) => {
                link.give_up();
                Err(Broken::Distrusted(of_another(path)))
            }
            (result, _) => result,
        };
        let result = judged(result, path, link.as_deref(), &self.shared);
        result.map_err(|broken| broken.failure(path, link.as_deref()))
    }

    /// Whether an answer over a reused connection leaves out a name that the server leaves out of no
    /// first answer, so that it may be the answer to a request for fewer.
    fn leaves_out_more(
        &self,
        call: &CallRequest,
        evaluations: &[Option<Evaluation>],
        link: &Link,
    ) -> bool {
        let mut is_sign = false;
        for (name, evaluation) in call.names.iter().zip(evaluations) {
            if evaluation.is_none() {
                // Each is to be remembered.
                is_sign |= self.server.misnamed.is_proof(name, !link.is_reused());
            }
        }
        is_sign
    }

    /// The name that shows that a body may be the answer to another request.
    fn foreign_name(
        &self,
        call: &CallRequest,
        body: &[u8],
        decoded: &Result<Decoded, serde_json::Error>,
    ) -> Option<String> {
        // Names are compared as they are decoded. What fits needs no closer look.
        let may_be = decoded.as_ref().map_or(true, |decoded| decoded.has_unasked);
        may_be.then(|| foreign_name(call.kind, &call.names, body)).flatten()
    }

    async fn exchange(
        &self,
        call: &CallRequest,
        fresh: bool,
    ) -> Result<Vec<Option<Evaluation>>, Broken> {
        let requests = if fresh { &self.fresh } else { &self.pooled };
        let request = match call.kind {
            CallKind::CheckGate => &requests.check_gate,
            CallKind::GetConfig => &requests.get_config,
        };
        let body = wire::encode(call).map_err(|_| Broken::Error(UNENCODABLE))?;
        let response = request.send_body(body).await.map_err(Broken::BeforeAnswer)?;

        let head = Head::of(response.status().as_u16(), response.headers());
        let excerpts = Excerpts {
            call,
            api_key: self.api_key.to_str().unwrap_or_default(),
            has_proxy_credentials: self.proxy.as_ref().is_some_and(|p| p.authorization().is_some()),
        };
        let (status, headers) = (response.status(), response.headers());
        if !status.is_success() || matches!(status.as_u16(), 204 | 205) {
            let retry_after = retry_after(headers, clock::wall());
            let error = self.refusal(&head, status, retry_after, response, &excerpts).await;
            return Err(Broken::Error(error));
        }
        let (length, encoding) = (content_length(headers), foreign_encoding(headers));
        self.evaluations(&head, length, encoding, response, &excerpts, fresh).await
    }

    /// Why there is no answer.
    async fn refusal<B: AsRef<[u8]>, E>(
        &self,
        head: &Head,
        status: StatusCode,
        retry_after: Option<Duration>,
        body: impl Stream<Item = Result<B, E>> + Unpin,
        excerpts: &Excerpts<'_>,
    ) -> Error {
        if let Some(proxy) = &self.proxy
            && status == StatusCode::PROXY_AUTHENTICATION_REQUIRED
        {
            return connect_error(ConnectFault::Proxy, &proxy.wants_credentials());
        }
        let path = excerpts.call.kind.path();
        // Read to the end where it is short, so that the connection can be used again.
        let body = unpack_beginning(self.beginning(body).await, MAX_ERROR_BODY);
        head.intermediary(path, &body)
            .unwrap_or_else(|| status_error(status, path, retry_after, || excerpts.of(&body)))
    }

    /// What the body of an answer says.
    async fn evaluations<B: AsRef<[u8]>>(
        &self,
        head: &Head,
        length: Option<usize>,
        encoding: Option<&'static str>,
        body: impl Stream<Item = Result<B, PayloadError>> + Unpin,
        excerpts: &Excerpts<'_>,
        fresh: bool,
    ) -> Result<Vec<Option<Evaluation>>, Broken> {
        let (call, path) = (excerpts.call, excerpts.call.kind.path());
        let long = &self.shared.long_bodies;
        let body = body::read(body, length, self.max_body, long).await;
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
        let decoded = wire::decode(call.kind, &call.names, json);
        let foreign = self.foreign_name(call, json, &decoded);
        let is_misnamed = foreign.is_some();
        if foreign.is_some_and(|name| self.server.misnamed.is_proof(&name, fresh)) {
            // Proof that its connection is off by one.
            return Err(Broken::OfAnother(of_another(path)));
        }
        decoded.map(|decoded| decoded.evaluations).map_err(|error| match error.classify() {
            Category::Eof if length.is_none() => Broken::Error(cut_short()),
            _ => {
                let error = head.intermediary(path, &body).unwrap_or_else(|| {
                    let reason = encoding.map_or_else(|| excerpts.reason(&error), str::to_owned);
                    // What may be another's answer is not for those who asked.
                    let excerpt = if is_misnamed { String::new() } else { excerpts.of(&body) };
                    Error::InvalidResponse { path, reason, excerpt }
                });
                if is_misnamed { Broken::Misnamed(error) } else { Broken::Error(error) }
            }
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

const UNENCODABLE: Error = Error::Internal { detail: "a call could not be written as JSON" };

fn client(config: &Config, connector: Connector) -> Client {
    let connector = awc::Connector::new()
        .connector(connector)
        // The attempt's deadline is around it; it only must not be shorter.
        .timeout(config.attempt_timeout() + Duration::from_secs(1))
        // The connector has a lifetime of its own, by the clock that everything here goes by.
        .conn_lifetime(Duration::MAX)
        .conn_keep_alive(KEEP_ALIVE)
        .disconnect_timeout(Duration::from_millis(500))
        // The transport bounds what is in flight. A request that waited here for a connection
        // would be taken for one that cannot connect.
        .limit(0);
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
    config: &Config,
    kind: CallKind,
    api_key: &HeaderValue,
) -> Result<FrozenClientRequest, Error> {
    let uri = &endpoint(config.uri(), kind)?;
    let mut request = client
        .post(without_tls(uri))
        // As awc would say it, which does so for each request anew.
        .insert_header((HOST, host(uri)))
        .insert_header(("statsig-api-key", api_key.clone()))
        .insert_header((CONTENT_TYPE, "application/json"))
        // Answers are small. What comes compressed all the same is unpacked here, not by awc, whose
        // compression another crate of the app may turn on.
        .insert_header((ACCEPT_ENCODING, "identity"))
        .no_decompress();
    let authorization = plain_proxy(config).and_then(Proxy::authorization);
    if let Some(Ok(mut authorization)) = authorization.map(HeaderValue::from_str) {
        authorization.set_sensitive(true);
        request = request.insert_header((PROXY_AUTHORIZATION, authorization));
    }
    request.freeze().map_err(|error| unusable(uri, &error))
}

/// The proxy that reads our requests. Where there is TLS, it hears no more than CONNECT.
fn plain_proxy(config: &Config) -> Option<&Proxy> {
    config.way_out().proxy.as_ref().filter(|_| !is_https(config.uri()))
}

/// The host, with the port unless it is the scheme's own.
fn host(uri: &Uri) -> String {
    let host = uri.host().unwrap_or_default();
    let own = if is_https(uri) { 443 } else { 80 };
    match uri.port_u16().filter(|port| *port != own) {
        None => host.to_owned(),
        Some(port) => format!("{host}:{port}"),
    }
}

fn is_https(uri: &Uri) -> bool {
    uri.scheme_str() == Some("https")
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

/// The length of the body, if it has no end of its own: RFC 9112, section 6.3.
fn content_length(headers: &HeaderMap) -> Option<usize> {
    if headers.contains_key(TRANSFER_ENCODING) {
        return None;
    }
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
    fn host_has_the_port_unless_it_is_the_schemes_own() {
        for (url, wanted) in [
            ("https://a.b", "a.b"),
            ("https://a.b:443/c", "a.b"),
            ("https://a.b:80", "a.b:80"),
            ("https://a.b:8443", "a.b:8443"),
            ("http://a.b:80", "a.b"),
            ("http://a.b:443", "a.b:443"),
            ("http://[::1]:8080", "[::1]:8080"),
        ] {
            assert_eq!(host(&url.parse().unwrap()), wanted, "{url}");
        }
    }

    #[test]
    fn paths_are_appended_to_the_base_url() {
        let of = |base: &str| endpoint(&base.parse().unwrap(), CallKind::CheckGate).unwrap();
        assert_eq!(of("https://a.b"), "https://a.b/v1/check_gate");
        assert_eq!(of("http://[::1]:8/c/d"), "http://[::1]:8/c/d/v1/check_gate");
    }
}

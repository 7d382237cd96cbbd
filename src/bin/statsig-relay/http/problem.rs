//! Errors as responses: a status and `{"error": {"kind": "…", "message": "…", "request_id": "…"}}`.
//!
//! `kind` is a short fixed word: the component's [`Error::kind`], or one of the relay's own.
//! `message` is for people.

use std::{borrow::Cow, fmt, time::Duration};

use actix_statsig::Error;
use actix_web::{
    HttpResponse, ResponseError,
    http::{
        StatusCode,
        header::{ACCEPT_ENCODING, ALLOW, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE},
    },
};
use serde_json::json;

use crate::{access::loopback::Distrust, http::request_id::RequestId};

/// An error answer.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    kind: &'static str,
    message: String,
    /// A header that tells the client what to do, such as `Retry-After`.
    header: Option<(HeaderName, Cow<'static, str>)>,
}

impl Problem {
    /// The error for a request that does not follow the API document.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", message)
    }

    /// The error for a body that is not JSON. The message says where.
    pub(crate) fn not_json(error: &serde_json::Error) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_json", format!("the body is not JSON: {error}"))
    }

    /// The error for a body that is too long.
    pub(crate) fn too_large(limit: usize) -> Self {
        let message = format!("the body has more than {limit} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    }

    /// The error for a body with an unsupported encoding.
    pub(crate) fn unknown_encoding() -> Self {
        let message = "the body's content-encoding must be gzip or identity";
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        Self::new(status, "unknown_encoding", message).with(ACCEPT_ENCODING, "gzip, identity")
    }

    /// The error for a body that did not arrive in time.
    pub(crate) fn too_slow() -> Self {
        let message = "the body did not arrive in time";
        Self::new(StatusCode::REQUEST_TIMEOUT, "too_slow", message)
    }

    /// The error if other requests use the whole byte budget of requests.
    pub(crate) fn request_budget_exceeded() -> Self {
        let message = "other requests fill the memory for requests: try again later";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "no_room", message).with(RETRY_AFTER, "1")
    }

    /// The error if unread answers of other clients use the whole byte budget of answers.
    pub(crate) fn answer_budget_exceeded() -> Self {
        let message = "unread answers of other clients fill the answer buffer: try \
                       again later";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "no_room", message).with(RETRY_AFTER, "1")
    }

    /// The error for a path that the relay does not serve.
    pub(crate) fn not_found(path: &str) -> Self {
        let message = format!("no such path, {path}: use /v1/check_gate or /v1/get_config");
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    /// The error for a method that the path does not support.
    pub(crate) fn wrong_method(allow: &'static str) -> Self {
        let message = format!("the method must be {allow}");
        let status = StatusCode::METHOD_NOT_ALLOWED;
        Self::new(status, "wrong_method", message).with(ALLOW, allow)
    }

    /// The error for a caller that is not trusted as local and sent no listed key. The message is
    /// the same for a wrong key as for a missing key.
    pub(crate) fn unknown_caller(reason: Option<Distrust>) -> Self {
        let message = match reason {
            None => "the header statsig-api-key must be one of the keys that this relay accepts",
            Some(Distrust::CrossSite) => {
                "on this machine, ask localhost or a loopback address, and not from a page of \
                 another site; or send a listed key as statsig-api-key"
            }
            Some(Distrust::Forwarded) => {
                "a forwarded request needs a listed key as statsig-api-key, even from this \
                 machine"
            }
        };
        let status = StatusCode::UNAUTHORIZED;
        Self::new(status, "unknown_caller", message).with(WWW_AUTHENTICATE, "Bearer")
    }

    /// Prefixes the message with a field of the body.
    pub(crate) fn in_field(self, field: &str) -> Self {
        Self { message: format!("{field}: {}", self.message), ..self }
    }

    pub(crate) fn kind(&self) -> &'static str {
        self.kind
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, message: message.into(), header: None }
    }

    fn with(self, header: HeaderName, value: impl Into<Cow<'static, str>>) -> Self {
        Self { header: Some((header, value.into())), ..self }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let problem = Self::new(status(&error), error.kind().as_str(), error.to_string());
        match error {
            error if error.is_overload() => problem.with(RETRY_AFTER, "1"),
            Error::CircuitOpen { .. } => problem.with(RETRY_AFTER, "1"),
            Error::Unavailable { status: 429 | 503, retry_after, .. } => match retry_after {
                Some(wait) => problem.with(RETRY_AFTER, seconds(wait).to_string()),
                None if problem.status == StatusCode::TOO_MANY_REQUESTS => {
                    problem.with(RETRY_AFTER, "1")
                }
                None => problem,
            },
            _ => problem,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status);
        if let Some((name, value)) = self.header.clone() {
            response.insert_header((name, value.into_owned()));
        }
        let id = RequestId::current();
        let id = id.as_ref().map(RequestId::as_str);
        let Self { kind, message, .. } = self;
        let mut response =
            response.json(json!({"error": {"kind": kind, "message": message, "request_id": id}}));
        response.extensions_mut().insert(self.clone());
        response
    }
}

/// Rounds up, because a client that retries a moment too early is refused again.
fn seconds(wait: Duration) -> u64 {
    wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1)
}

/// Returns 4xx for the client's faults, 502 or 504 for Statsig's, and 503 or 500 for the relay's.
/// Passes on Statsig's 429, or its 503 with `Retry-After`.
fn status(error: &Error) -> StatusCode {
    match error {
        Error::InvalidName { .. } | Error::InvalidUser { .. } => StatusCode::BAD_REQUEST,
        error if error.is_overload() => StatusCode::TOO_MANY_REQUESTS,
        Error::Unavailable { status: 429, .. } => StatusCode::TOO_MANY_REQUESTS,
        Error::Unavailable { status: 503, retry_after: Some(_), .. } => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        Error::ShuttingDown | Error::Closed | Error::CircuitOpen { .. } => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        Error::Timeout { .. } | Error::AttemptTimeout { .. } => StatusCode::GATEWAY_TIMEOUT,
        Error::Connect { .. }
        | Error::Intermediary { .. }
        | Error::Unauthorized { .. }
        | Error::Refused { .. }
        | Error::Unavailable { .. }
        | Error::InvalidResponse { .. }
        | Error::MissingName { .. } => StatusCode::BAD_GATEWAY,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use actix_statsig::{CallKind, ConnectFault, User};

    use super::*;

    const KIND: CallKind = CallKind::CheckGate;

    #[test]
    fn status_says_who_is_at_fault() {
        let limit = Duration::from_secs(1);
        let connect = Error::connect(ConnectFault::Refused, "broken");
        for (code, error) in [
            (400, User::new("").unwrap_err()),
            (400, Error::invalid_name("a", "is short")),
            (429, Error::overloaded(1)),
            (429, Error::overloaded_bytes(1)),
            (429, Error::overloaded_user(1, "names", "max_pending")),
            (503, Error::ShuttingDown),
            (503, Error::Closed),
            (503, Error::circuit_open(Error::attempt_timeout(limit))),
            (504, Error::timeout(limit, None)),
            (504, Error::attempt_timeout(limit)),
            (502, connect),
            (502, Error::unauthorized(KIND, 401)),
            (502, Error::refused(KIND, 400, "")),
            (502, Error::unavailable(KIND, 503, None)),
            (503, Error::unavailable(KIND, 503, Some(limit))),
            (502, Error::unavailable(KIND, 500, Some(limit))),
            (429, Error::unavailable(KIND, 429, None)),
            (502, Error::intermediary(KIND, 403, "text/html")),
            (502, Error::missing_name(KIND, "beta")),
            (500, Error::internal("a panic")),
            (500, Error::NoArbiter),
        ] {
            assert_eq!(status(&error).as_u16(), code, "{error}");
        }
    }

    #[test]
    fn calm_that_statsig_asks_for_is_passed_on_with_how_long() {
        let retry_after = |status, millis: Option<u64>| {
            let retry_after = millis.map(Duration::from_millis);
            let error = Error::unavailable(KIND, status, retry_after);
            let response = Problem::from(error).error_response();
            let header = response.headers().get(RETRY_AFTER)?.to_str().unwrap().to_owned();
            Some((response.status().as_u16(), header))
        };
        assert_eq!(retry_after(429, Some(19_001)), Some((429, "20".to_owned())));
        assert_eq!(retry_after(503, Some(2_000)), Some((503, "2".to_owned())));
        assert_eq!(retry_after(429, Some(0)), Some((429, "1".to_owned())));
        assert_eq!(retry_after(429, None), Some((429, "1".to_owned())));
        assert_eq!(retry_after(503, None), None);
        let cause = Error::attempt_timeout(Duration::from_secs(1));
        let open = Problem::from(Error::circuit_open(cause)).error_response();
        assert_eq!(open.headers().get(RETRY_AFTER).unwrap(), "1");
    }

    #[test]
    fn overload_has_retry_after_and_wrong_method_has_allow() {
        let overloaded = Problem::from(Error::overloaded(1)).error_response();
        assert_eq!(overloaded.headers().get(RETRY_AFTER).unwrap(), "1");
        let wrong_method = Problem::wrong_method("POST").error_response();
        assert_eq!(wrong_method.status(), 405);
        assert_eq!(wrong_method.headers().get(ALLOW).unwrap(), "POST");
    }
}

//! What goes wrong, as responses: a fitting status and
//! `{"error": {"kind": "…", "message": "…", "request_id": "…"}}`.
//!
//! `kind` is a short fixed word, the component's [`Error::kind`] or one of the relay's own;
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

use crate::{loopback::Doubt, request_id::RequestId};

/// Why a request is not answered with evaluations.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    kind: &'static str,
    message: String,
    /// What tells the client's software what to do instead.
    header: Option<(HeaderName, Cow<'static, str>)>,
}

impl Problem {
    /// The request is not what the API document describes.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", message)
    }

    /// The body is not JSON; the message says where.
    pub(crate) fn not_json(error: &serde_json::Error) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_json", format!("the body is not JSON: {error}"))
    }

    /// The body has more bytes than are read.
    pub(crate) fn too_large(limit: usize) -> Self {
        let message = format!("the body has more than {limit} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    }

    /// The body is encoded in a way that is not read here.
    pub(crate) fn unknown_encoding() -> Self {
        let message = "the body's content-encoding must be gzip or identity";
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        Self::new(status, "unknown_encoding", message).with(ACCEPT_ENCODING, "gzip, identity")
    }

    /// The body did not arrive in time.
    pub(crate) fn too_slow() -> Self {
        let message = "the body did not arrive in time";
        Self::new(StatusCode::REQUEST_TIMEOUT, "too_slow", message)
    }

    /// The body does not fit beside those of other requests.
    pub(crate) fn no_room() -> Self {
        let message = "the relay has no room for more requests of this size: try again later";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "no_room", message).with(RETRY_AFTER, "1")
    }

    /// The answer does not fit beside those that other clients have not taken.
    pub(crate) fn no_room_for_answer() -> Self {
        let message = "clients that do not read their answers leave no room for one of this size: \
                       try again later";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "no_room", message).with(RETRY_AFTER, "1")
    }

    /// There is no such path.
    pub(crate) fn not_found(path: &str) -> Self {
        let message = format!("{path} is not answered here: /v1/check_gate and /v1/get_config are");
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    /// The path is not for this method.
    pub(crate) fn wrong_method(allow: &'static str) -> Self {
        let message = format!("the method must be {allow}");
        let status = StatusCode::METHOD_NOT_ALLOWED;
        Self::new(status, "wrong_method", message).with(ALLOW, allow)
    }

    /// Whoever asks has no key that is listed, and is not on this machine, or seems not to be. Says
    /// the same of a key that is wrong as of none.
    pub(crate) fn unknown_caller(doubt: Option<Doubt>) -> Self {
        let message = match doubt {
            None => "statsig-api-key must be a key that this relay has on its list of callers",
            Some(Doubt::Lured) => {
                "on this machine, ask for localhost or a loopback address and from no page of \
                 another site, or with a listed key as statsig-api-key"
            }
            Some(Doubt::Forwarded) => {
                "what was forwarded needs a listed key as statsig-api-key, though it comes from \
                 this machine"
            }
        };
        let status = StatusCode::UNAUTHORIZED;
        Self::new(status, "unknown_caller", message).with(WWW_AUTHENTICATE, "Bearer")
    }

    /// The same, with the field of the body that it is about.
    pub(crate) fn at(self, field: &str) -> Self {
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

/// Rounded up: who comes a moment too early is sent away again.
fn seconds(wait: Duration) -> u64 {
    wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1)
}

/// Whose fault it is: the client's, the relay's for now, or that of whoever it asks. When Statsig asks
/// for calm, the relay passes that on.
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
    fn a_status_says_whose_fault_it_is() {
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
    fn overload_says_when_to_come_back_and_a_wrong_method_which_is_right() {
        let overloaded = Problem::from(Error::overloaded(1)).error_response();
        assert_eq!(overloaded.headers().get(RETRY_AFTER).unwrap(), "1");
        let wrong_method = Problem::wrong_method("POST").error_response();
        assert_eq!(wrong_method.status(), 405);
        assert_eq!(wrong_method.headers().get(ALLOW).unwrap(), "POST");
    }
}

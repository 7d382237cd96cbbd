//! Errors as responses: a fitting status, and a body that reveals nothing else.

use std::{fmt, rc::Rc};

use actix_web::{
    HttpRequest, HttpResponse, ResponseError,
    http::{StatusCode, header::ContentType},
};
use thiserror::Error as ThisError;

use crate::model::error::Error;

/// Handlers can return the component's errors with `?`. The body names only the status.
/// [Statuses](crate::web#statuses) lists the status of each error, and the lines in the log.
impl ResponseError for Error {
    fn status_code(&self) -> StatusCode {
        match self {
            _ if self.is_retryable() => StatusCode::SERVICE_UNAVAILABLE,
            Self::ShuttingDown | Self::Closed => StatusCode::SERVICE_UNAVAILABLE,
            Self::Connect { .. }
            | Self::Unauthorized { .. }
            | Self::Refused { .. }
            | Self::InvalidResponse { .. }
            | Self::MissingName { .. } => StatusCode::BAD_GATEWAY,
            Self::InvalidUser { .. } => StatusCode::BAD_REQUEST,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn error_response(&self) -> HttpResponse {
        status_only(self.status_code())
    }
}

/// No `FlagsConfig` is set for the request. The text is for the developer.
#[derive(Debug, ThisError)]
#[error(
    "no `FlagsConfig` for this request: add `.app_data(FlagsConfig::new(statsig.clone(), identify))` to \
     the `App`, or to the scope or resource that uses `Flags` or `RequireGate`"
)]
pub(super) struct MissingConfig;

impl MissingConfig {
    pub(super) fn log(request: &HttpRequest) -> Self {
        log(request, &Self);
        Self
    }
}

impl ResponseError for MissingConfig {
    fn error_response(&self) -> HttpResponse {
        status_only(self.status_code())
    }
}

/// `identify` extracted `Flags`. The text is for the developer.
#[derive(Debug, ThisError)]
#[error(
    "`identify` extracts `Flags`, which need the user that `identify` builds: build the user from the \
     request alone, and ask for flags in the handler; or call `Statsig` with another user"
)]
pub(super) struct FlagsInIdentify;

impl FlagsInIdentify {
    pub(super) fn log(request: &HttpRequest) -> Self {
        log(request, &Self);
        Self
    }
}

impl ResponseError for FlagsInIdentify {
    fn error_response(&self) -> HttpResponse {
        status_only(self.status_code())
    }
}

fn log(request: &HttpRequest, error: &impl fmt::Display) {
    tracing::error!(handler = handler(request), "{error}");
}

/// Returns the pattern of the request's route, or the request's path if actix has not chosen the
/// route yet.
pub(super) fn handler(request: &HttpRequest) -> String {
    request.match_pattern().unwrap_or_else(|| request.path().to_owned())
}

fn status_only(status: StatusCode) -> HttpResponse {
    let reason = status.canonical_reason().unwrap_or_default();
    HttpResponse::build(status).content_type(ContentType::plaintext()).body(reason)
}

/// The error that the app's `identify` returned, shared by all extractors and middlewares of the
/// request that need the user. Its response and its texts are those of the app's own error.
///
/// ```
/// # use actix_statsig::web::IdentifyError;
/// # #[derive(Debug)] struct LoginRequired;
/// /// A check for a middleware that inspects responses.
/// fn is_login_required(error: &actix_web::Error) -> bool {
///     let error = error.as_error::<IdentifyError>();
///     error.is_some_and(|error| error.app_error().as_error::<LoginRequired>().is_some())
/// }
/// # impl std::fmt::Display for LoginRequired {
/// #     fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str("log in") }
/// # }
/// # impl actix_web::ResponseError for LoginRequired {}
/// ```
#[derive(Clone)]
pub struct IdentifyError(Rc<actix_web::Error>);

impl IdentifyError {
    pub(super) fn new(error: actix_web::Error) -> Self {
        Self(Rc::new(error))
    }

    /// Returns the app's own error.
    pub fn app_error(&self) -> &actix_web::Error {
        &self.0
    }
}

impl fmt::Display for IdentifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for IdentifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl ResponseError for IdentifyError {
    fn status_code(&self) -> StatusCode {
        self.0.as_response_error().status_code()
    }

    fn error_response(&self) -> HttpResponse {
        self.0.error_response()
    }
}

#[cfg(test)]
mod tests {
    use std::{io, sync::Arc, time::Duration};

    use super::*;
    use crate::{
        config::Config,
        model::{error::ConnectFault, user::User},
    };

    const PATH: &str = "/v1/check_gate";

    fn connect(fault: ConnectFault) -> Error {
        Error::Connect { fault, source: Arc::new(io::Error::other("broken")) }
    }

    #[test]
    fn status_says_whether_to_retry_and_who_is_at_fault() {
        let limit = Duration::from_secs(1);
        let unavailable = Error::Unavailable { path: PATH, status: 500, retry_after: None };
        let (unit, setting) = ("names", "max_pending");
        let not_json = Arc::new(serde_json::from_str::<u8>("").unwrap_err());
        for (code, error) in [
            (503, Error::Overloaded { limit: 1 }),
            (503, Error::OverloadedBytes { limit: 1 }),
            (503, Error::OverloadedUser { limit: 1, unit, setting }),
            (503, Error::Timeout { limit, last: None }),
            (503, Error::AttemptTimeout { limit }),
            (503, connect(ConnectFault::Refused)),
            (503, Error::CircuitOpen { cause: Arc::new(unavailable.clone()) }),
            (503, unavailable),
            (503, Error::Intermediary { path: PATH, status: 403, content_type: "text/html" }),
            (503, Error::ShuttingDown),
            (503, Error::Closed),
            (502, connect(ConnectFault::CertificateExpired)),
            (502, Error::Unauthorized { path: PATH, status: 401 }),
            (502, Error::Refused { path: PATH, status: 400, excerpt: String::new() }),
            (
                502,
                Error::InvalidResponse {
                    path: PATH,
                    reason: String::new(),
                    excerpt: String::new(),
                },
            ),
            (502, Error::MissingName { path: PATH, name: "beta".into() }),
            (400, User::new("").unwrap_err()),
            (500, Error::InvalidName { name: "a".into(), rule: "is short" }),
            (500, Error::MissingKey { config: "shop".into(), key: "theme".into() }),
            (500, wrong_type(not_json)),
            (500, Error::Internal { detail: "a panic" }),
            (500, Config::builder("").build().unwrap_err()),
            (500, Error::NoArbiter),
            (500, Error::Start { source: Arc::new(io::Error::other("no thread")) }),
        ] {
            assert_eq!(error.status_code().as_u16(), code, "{error}");
        }
    }

    fn wrong_type(source: Arc<serde_json::Error>) -> Error {
        let (config, at) = ("shop".into(), "key `theme`".into());
        Error::WrongType { config, at, found: "a string", expected: "u8", source }
    }
}

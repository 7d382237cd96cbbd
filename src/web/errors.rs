//! What goes wrong, as responses: a fitting status, and a body that tells a stranger nothing else.

use std::fmt;

use actix_web::{
    HttpRequest, HttpResponse, ResponseError,
    http::{StatusCode, header::ContentType},
};
use thiserror::Error as ThisError;

use crate::model::error::Error;

/// `?` works in handlers. The status is 503 for what time may mend and while the component leaves,
/// 502 for what Statsig or the way to it does wrong for good, 400 for a [`User`](crate::User) whom
/// the API would refuse, for it is made from the request, and 500 otherwise. The body is no more than
/// the status.
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
        bare(self.status_code())
    }
}

/// An `App` that asks for flags, and was not told how. What it says is for the developer.
#[derive(Debug, ThisError)]
#[error(
    "this part of the app asks for flags and is not wired: its `App` lacks the line \
     `.configure(&flags)`, where `flags` is `statsig.configure(|request| …)`"
)]
pub(super) struct NotConfigured;

impl NotConfigured {
    pub(super) fn log(request: &HttpRequest) -> Self {
        log(request, &Self);
        Self
    }
}

impl ResponseError for NotConfigured {
    fn error_response(&self) -> HttpResponse {
        bare(self.status_code())
    }
}

/// A function that identifies the user asks for the user's flags. What it says is for the developer.
#[derive(Debug, ThisError)]
#[error(
    "`identify` extracts `Flags`, which need the user that it is about to make: build the user from the \
     request alone, and ask for flags in the handler, or ask `Statsig` about a user of your own"
)]
pub(super) struct AsksWithin;

impl AsksWithin {
    pub(super) fn log(request: &HttpRequest) -> Self {
        log(request, &Self);
        Self
    }
}

impl ResponseError for AsksWithin {
    fn error_response(&self) -> HttpResponse {
        bare(self.status_code())
    }
}

fn log(request: &HttpRequest, error: &impl fmt::Display) {
    let handler = request.match_pattern();
    let handler = handler.as_deref().unwrap_or_else(|| request.path());
    tracing::error!(handler, "{error}");
}

fn bare(status: StatusCode) -> HttpResponse {
    let reason = status.canonical_reason().unwrap_or_default();
    HttpResponse::build(status).content_type(ContentType::plaintext()).body(reason)
}

#[cfg(test)]
mod tests {
    use std::{io, sync::Arc, time::Duration};

    use super::*;
    use crate::model::{error::ConnectFault, user::User};

    const PATH: &str = "/v1/check_gate";

    fn connect(fault: ConnectFault) -> Error {
        Error::Connect { fault, source: Arc::new(io::Error::other("broken")) }
    }

    #[test]
    fn a_status_says_whether_to_come_back_and_whose_fault_it_is() {
        let limit = Duration::from_secs(1);
        let unavailable = Error::Unavailable { path: PATH, status: 500, retry_after: None };
        for (code, error) in [
            (503, Error::Overloaded { limit: 1 }),
            (503, Error::Timeout { limit, last: None }),
            (503, connect(ConnectFault::Refused)),
            (503, Error::CircuitOpen { cause: Arc::new(unavailable.clone()) }),
            (503, unavailable),
            (503, Error::Intermediary { path: PATH, status: 403, content_type: "text/html" }),
            (503, Error::ShuttingDown),
            (503, Error::Closed),
            (502, connect(ConnectFault::CertificateExpired)),
            (502, Error::Unauthorized { path: PATH, status: 401 }),
            (502, Error::Refused { path: PATH, status: 400, excerpt: String::new() }),
            (502, Error::MissingName { path: PATH, name: "beta".into() }),
            (400, User::new("").unwrap_err()),
            (500, Error::InvalidName { name: "a".into(), rule: "is short" }),
            (500, Error::Internal { detail: "a panic" }),
        ] {
            assert_eq!(error.status_code().as_u16(), code, "{error}");
        }
    }
}

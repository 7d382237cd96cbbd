//! Constructors for errors, for an app's own transports and for tests.

use std::{io, sync::Arc, time::Duration};

use super::{ConnectFault, Error};
use crate::model::call_kind::CallKind;

/// # Errors for transports and tests
///
/// A [transport of your own](crate::transport) answers a failed call with the variant that fits.
/// The component treats these errors like those of the HTTP transport.
///
/// ```
/// use actix_statsig::{CallKind, Error};
///
/// let error = Error::unavailable(CallKind::CheckGate, 503, None);
/// assert!(error.is_retryable());
/// assert_eq!(error.to_string(), "/v1/check_gate answered 503");
/// ```
impl Error {
    /// Makes an [`InvalidName`](Self::InvalidName).
    pub fn invalid_name(name: impl Into<String>, rule: &'static str) -> Self {
        Self::InvalidName { name: name.into(), rule }
    }

    /// Makes an [`Overloaded`](Self::Overloaded).
    pub fn overloaded(limit: usize) -> Self {
        Self::Overloaded { limit }
    }

    /// Makes an [`OverloadedBytes`](Self::OverloadedBytes).
    pub fn overloaded_bytes(limit: usize) -> Self {
        Self::OverloadedBytes { limit }
    }

    /// Makes an [`OverloadedUser`](Self::OverloadedUser).
    pub fn overloaded_user(limit: usize, unit: &'static str, setting: &'static str) -> Self {
        Self::OverloadedUser { limit, unit, setting }
    }

    /// Makes a [`Start`](Self::Start), for a transport that cannot be started.
    pub fn start(source: io::Error) -> Self {
        Self::Start { source: Arc::new(source) }
    }

    /// Makes a [`Timeout`](Self::Timeout), with the error of the last attempt.
    pub fn timeout(limit: Duration, last: Option<Self>) -> Self {
        Self::Timeout { limit, last: last.map(Arc::new) }
    }

    /// Makes an [`AttemptTimeout`](Self::AttemptTimeout).
    pub fn attempt_timeout(limit: Duration) -> Self {
        Self::AttemptTimeout { limit }
    }

    /// Makes a [`Connect`](Self::Connect).
    pub fn connect(
        fault: ConnectFault,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Connect { fault, source: source.into().into() }
    }

    /// Makes an [`Unauthorized`](Self::Unauthorized).
    pub fn unauthorized(kind: CallKind, status: u16) -> Self {
        Self::Unauthorized { path: kind.path(), status }
    }

    /// Makes an [`Intermediary`](Self::Intermediary).
    pub fn intermediary(kind: CallKind, status: u16, content_type: &'static str) -> Self {
        Self::Intermediary { path: kind.path(), status, content_type }
    }

    /// Makes a [`Refused`](Self::Refused).
    pub fn refused(kind: CallKind, status: u16, excerpt: impl Into<String>) -> Self {
        Self::Refused { path: kind.path(), status, excerpt: excerpt.into() }
    }

    /// Makes an [`Unavailable`](Self::Unavailable).
    pub fn unavailable(kind: CallKind, status: u16, retry_after: Option<Duration>) -> Self {
        Self::Unavailable { path: kind.path(), status, retry_after }
    }

    /// Makes a [`CircuitOpen`](Self::CircuitOpen), with the error of the last call.
    pub fn circuit_open(cause: Self) -> Self {
        Self::CircuitOpen { cause: Arc::new(cause) }
    }

    /// Makes an [`InvalidResponse`](Self::InvalidResponse).
    pub fn invalid_response(
        kind: CallKind,
        reason: impl Into<String>,
        excerpt: impl Into<String>,
    ) -> Self {
        Self::InvalidResponse { path: kind.path(), reason: reason.into(), excerpt: excerpt.into() }
    }

    /// Makes a [`MissingName`](Self::MissingName).
    pub fn missing_name(kind: CallKind, name: impl Into<Arc<str>>) -> Self {
        Self::MissingName { path: kind.path(), name: name.into() }
    }

    /// Makes an [`Internal`](Self::Internal).
    pub fn internal(detail: &'static str) -> Self {
        Self::Internal { detail }
    }
}

//! What an error means for the caller and for the component.

use super::Error;

impl Error {
    /// Returns `true` if the same request may succeed later, without a change to the request, the
    /// configuration or the rules on Statsig.
    ///
    /// ```
    /// use actix_statsig::Error;
    ///
    /// assert!(Error::overloaded(10_000).is_retryable());
    /// assert!(!Error::ShuttingDown.is_retryable());
    /// ```
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Overloaded { .. }
            | Self::OverloadedBytes { .. }
            | Self::OverloadedUser { .. }
            | Self::Timeout { .. }
            | Self::AttemptTimeout { .. }
            | Self::CircuitOpen { .. }
            | Self::Intermediary { .. }
            | Self::Unavailable { .. } => true,
            Self::Connect { fault, .. } => !fault.is_tls(),
            _ => false,
        }
    }

    /// Returns `true` if the component refused the request because too much was pending: of all users or
    /// of this user, in names or in bytes.
    ///
    /// ```
    /// assert!(actix_statsig::Error::overloaded(10_000).is_overload());
    /// ```
    pub fn is_overload(&self) -> bool {
        matches!(
            self,
            Self::Overloaded { .. } | Self::OverloadedBytes { .. } | Self::OverloadedUser { .. }
        )
    }

    /// Returns whether Statsig or the network fails, so that a stale evaluation is better than the
    /// error. A refusal is an answer; an error of the component says nothing about Statsig.
    pub(crate) fn is_outage(&self) -> bool {
        matches!(
            self,
            Self::Timeout { .. }
                | Self::AttemptTimeout { .. }
                | Self::CircuitOpen { .. }
                | Self::Unavailable { .. }
                | Self::Connect { .. }
                | Self::Intermediary { .. }
                | Self::InvalidResponse { .. }
        )
    }

    /// Returns whether a call that ends with this error makes the component not ready. A refusal is
    /// an answer.
    pub(crate) fn is_failure(&self) -> bool {
        self.is_outage() || matches!(self, Self::Unauthorized { .. } | Self::Internal { .. })
    }
}

/// Returns the outcome for spans and metrics: `ok`, or the kind of the error.
pub(crate) fn outcome<T>(result: Result<T, &Error>) -> &'static str {
    result.err().map_or("ok", |error| error.kind().as_str())
}

#[cfg(test)]
mod tests {
    use std::{io, sync::Arc, time::Duration};

    use super::*;
    use crate::model::error::ConnectFault;

    fn connect(fault: ConnectFault) -> Error {
        Error::Connect { fault, source: Arc::new(io::Error::other("broken")) }
    }

    #[test]
    fn only_transient_errors_are_retryable() {
        let unavailable =
            Error::Unavailable { path: "/v1/check_gate", status: 503, retry_after: None };
        for error in [
            unavailable,
            Error::Intermediary { path: "/v1/check_gate", status: 403, content_type: "text/html" },
            connect(ConnectFault::Refused),
            Error::Timeout { limit: Duration::from_secs(1), last: None },
        ] {
            assert!(error.is_retryable(), "{error}");
        }
        for error in [
            Error::Unauthorized { path: "/v1/check_gate", status: 401 },
            connect(ConnectFault::CertificateExpired),
            Error::Internal { detail: "a panic" },
            Error::Closed,
        ] {
            assert!(!error.is_retryable(), "{error}");
        }
    }
}

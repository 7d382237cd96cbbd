//! What an error means for the caller and for the component.

use super::Error;

impl Error {
    /// Whether the same request may succeed when it is made again later, without a change to the
    /// request, the configuration or the server's rules.
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

    /// Whether too much is pending already for this request to be taken: of all users or of its own,
    /// in names or in bytes.
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

    /// Whether it is Statsig, or the way to it, that fails: a stale evaluation is then better than
    /// none. A refusal is an answer, and what the component itself does wrong is not Statsig's.
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

    /// Whether a call that ends with it costs the component its readiness. A refusal is an answer.
    pub(crate) fn is_failure(&self) -> bool {
        self.is_outage() || matches!(self, Self::Unauthorized { .. } | Self::Internal { .. })
    }
}

/// How it ended, as spans and metrics have it: `ok`, or the kind of the error.
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
    fn what_time_may_mend_is_retryable_and_what_it_cannot_is_not() {
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

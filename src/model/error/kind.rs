//! What an error means: whether to try again, who is at fault, and the word it is counted by.

use super::Error;

impl Error {
    /// Whether the same request may succeed when it is made again later, without a change to the
    /// request, the configuration or the server's rules.
    ///
    /// ```
    /// use actix_statsig::Error;
    ///
    /// assert!(Error::Overloaded { limit: 10_000 }.is_retryable());
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
    /// assert!(actix_statsig::Error::Overloaded { limit: 10_000 }.is_overload());
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

    /// The error's kind as a short, fixed word: what [`Stats`](crate::Stats) counts errors by.
    ///
    /// ```
    /// assert_eq!(actix_statsig::Error::ShuttingDown.kind(), "shutting_down");
    /// ```
    pub fn kind(&self) -> &'static str {
        KINDS[self.index()]
    }

    pub(crate) fn index(&self) -> usize {
        match self {
            Self::InvalidConfig { .. } => 0,
            Self::InvalidUser { .. } => 1,
            Self::InvalidName { .. } => 2,
            Self::Overloaded { .. }
            | Self::OverloadedBytes { .. }
            | Self::OverloadedUser { .. } => 3,
            Self::ShuttingDown => 4,
            Self::Closed => 5,
            Self::NoArbiter => 6,
            Self::Start { .. } => 7,
            Self::Timeout { .. } => 8,
            Self::AttemptTimeout { .. } => 9,
            Self::Connect { .. } => 10,
            Self::Unauthorized { .. } => 11,
            Self::Refused { .. } => 12,
            Self::Unavailable { .. } => 13,
            Self::InvalidResponse { .. } => 14,
            Self::MissingName { .. } => 15,
            Self::MissingKey { .. } => 16,
            Self::WrongType { .. } => 17,
            Self::Internal { .. } => 18,
            Self::CircuitOpen { .. } => 19,
            Self::Intermediary { .. } => 20,
        }
    }
}

/// How it ended, as spans and metrics have it: `ok`, or the kind of the error.
pub(crate) fn outcome<T>(result: Result<T, &Error>) -> &'static str {
    result.err().map_or("ok", Error::kind)
}

/// The kinds of error, in the order of [`Error::index`].
pub(crate) const KINDS: [&str; 21] = [
    "invalid_config",
    "invalid_user",
    "invalid_name",
    "overloaded",
    "shutting_down",
    "closed",
    "no_arbiter",
    "start",
    "timeout",
    "attempt_timeout",
    "connect",
    "unauthorized",
    "refused",
    "unavailable",
    "invalid_response",
    "missing_name",
    "missing_key",
    "wrong_type",
    "internal",
    "circuit_open",
    "intermediary",
];

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

    #[test]
    fn each_kind_has_a_word_of_its_own() {
        let distinct: std::collections::HashSet<_> = KINDS.iter().collect();
        assert_eq!(distinct.len(), KINDS.len());
        assert_eq!(Error::Internal { detail: "" }.kind(), "internal");
        assert_eq!(connect(ConnectFault::Io).kind(), "connect");
    }
}

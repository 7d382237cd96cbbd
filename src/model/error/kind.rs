//! The kinds of error, each with a short word for logs, metrics and statistics.

use std::fmt;

use serde::Serialize;

use super::Error;

/// The kind of an [`Error`]. [`Stats`](crate::Stats) counts errors by it.
///
/// Each kind has a short, fixed word, which logs, spans and metrics use:
///
/// ```
/// use actix_statsig::{Error, ErrorKind};
///
/// let error = Error::ShuttingDown;
/// assert_eq!(error.kind(), ErrorKind::ShuttingDown);
/// assert_eq!(error.kind().as_str(), "shutting_down");
/// ```
// In alphabetical order, so that maps sorted by kind are sorted by word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// `attempt_timeout`: [`Error::AttemptTimeout`]
    AttemptTimeout,
    /// `circuit_open`: [`Error::CircuitOpen`]
    CircuitOpen,
    /// `closed`: [`Error::Closed`]
    Closed,
    /// `connect`: [`Error::Connect`]
    Connect,
    /// `intermediary`: [`Error::Intermediary`]
    Intermediary,
    /// `internal`: [`Error::Internal`]
    Internal,
    /// `invalid_config`: [`Error::InvalidConfig`]
    InvalidConfig,
    /// `invalid_name`: [`Error::InvalidName`]
    InvalidName,
    /// `invalid_response`: [`Error::InvalidResponse`]
    InvalidResponse,
    /// `invalid_user`: [`Error::InvalidUser`]
    InvalidUser,
    /// `missing_key`: [`Error::MissingKey`]
    MissingKey,
    /// `missing_name`: [`Error::MissingName`]
    MissingName,
    /// `no_arbiter`: [`Error::NoArbiter`]
    NoArbiter,
    /// `overloaded`: [`Error::Overloaded`], [`Error::OverloadedBytes`] and [`Error::OverloadedUser`]
    Overloaded,
    /// `refused`: [`Error::Refused`]
    Refused,
    /// `shutting_down`: [`Error::ShuttingDown`]
    ShuttingDown,
    /// `start`: [`Error::Start`]
    Start,
    /// `timeout`: [`Error::Timeout`]
    Timeout,
    /// `unauthorized`: [`Error::Unauthorized`]
    Unauthorized,
    /// `unavailable`: [`Error::Unavailable`]
    Unavailable,
    /// `wrong_type`: [`Error::WrongType`]
    WrongType,
}

impl ErrorKind {
    /// All kinds, each at the index `kind as usize`.
    pub(crate) const ALL: [Self; 21] = [
        Self::AttemptTimeout,
        Self::CircuitOpen,
        Self::Closed,
        Self::Connect,
        Self::Intermediary,
        Self::Internal,
        Self::InvalidConfig,
        Self::InvalidName,
        Self::InvalidResponse,
        Self::InvalidUser,
        Self::MissingKey,
        Self::MissingName,
        Self::NoArbiter,
        Self::Overloaded,
        Self::Refused,
        Self::ShuttingDown,
        Self::Start,
        Self::Timeout,
        Self::Unauthorized,
        Self::Unavailable,
        Self::WrongType,
    ];

    /// Returns the kind's word, for example `invalid_name`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AttemptTimeout => "attempt_timeout",
            Self::CircuitOpen => "circuit_open",
            Self::Closed => "closed",
            Self::Connect => "connect",
            Self::Intermediary => "intermediary",
            Self::Internal => "internal",
            Self::InvalidConfig => "invalid_config",
            Self::InvalidName => "invalid_name",
            Self::InvalidResponse => "invalid_response",
            Self::InvalidUser => "invalid_user",
            Self::MissingKey => "missing_key",
            Self::MissingName => "missing_name",
            Self::NoArbiter => "no_arbiter",
            Self::Overloaded => "overloaded",
            Self::Refused => "refused",
            Self::ShuttingDown => "shutting_down",
            Self::Start => "start",
            Self::Timeout => "timeout",
            Self::Unauthorized => "unauthorized",
            Self::Unavailable => "unavailable",
            Self::WrongType => "wrong_type",
        }
    }
}

/// Writes the kind's word.
impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Error {
    /// Returns the error's kind.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::InvalidConfig { .. } => ErrorKind::InvalidConfig,
            Self::InvalidUser { .. } => ErrorKind::InvalidUser,
            Self::InvalidName { .. } => ErrorKind::InvalidName,
            Self::Overloaded { .. }
            | Self::OverloadedBytes { .. }
            | Self::OverloadedUser { .. } => ErrorKind::Overloaded,
            Self::ShuttingDown => ErrorKind::ShuttingDown,
            Self::Closed => ErrorKind::Closed,
            Self::NoArbiter => ErrorKind::NoArbiter,
            Self::Start { .. } => ErrorKind::Start,
            Self::Timeout { .. } => ErrorKind::Timeout,
            Self::AttemptTimeout { .. } => ErrorKind::AttemptTimeout,
            Self::Connect { .. } => ErrorKind::Connect,
            Self::Unauthorized { .. } => ErrorKind::Unauthorized,
            Self::Refused { .. } => ErrorKind::Refused,
            Self::Unavailable { .. } => ErrorKind::Unavailable,
            Self::InvalidResponse { .. } => ErrorKind::InvalidResponse,
            Self::MissingName { .. } => ErrorKind::MissingName,
            Self::MissingKey { .. } => ErrorKind::MissingKey,
            Self::WrongType { .. } => ErrorKind::WrongType,
            Self::Internal { .. } => ErrorKind::Internal,
            Self::CircuitOpen { .. } => ErrorKind::CircuitOpen,
            Self::Intermediary { .. } => ErrorKind::Intermediary,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_in_the_order_of_their_words_and_serialize_as_them() {
        assert!(ErrorKind::ALL.is_sorted_by(|a, b| a < b && a.as_str() < b.as_str()));
        for (index, kind) in ErrorKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index);
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
            assert_eq!(format!("{kind:>16}"), format!("{:>16}", kind.as_str()));
        }
    }
}

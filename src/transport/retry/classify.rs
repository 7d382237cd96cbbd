//! Classifies an attempt's error by what it says about the server's health. Pure.

use crate::model::error::{ConnectFault, Error};

/// What an attempt's error says about the server, or the network in front of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorClass {
    /// The server works: it refused the request, or asked for a pause.
    Healthy,
    /// The server or the network in front of it fails.
    Failure {
        /// No single user's request can cause this failure.
        of_any_user: bool,
    },
    Inconclusive,
}

/// Classifies an error. A server that answers 429 is healthy.
pub(crate) fn classify(error: &Error) -> ErrorClass {
    match error {
        Error::Unavailable { status: 429, .. }
        | Error::Unauthorized { .. }
        | Error::Refused { .. }
        | Error::MissingName { .. } => ErrorClass::Healthy,
        Error::Unavailable { .. }
        | Error::Timeout { .. }
        | Error::AttemptTimeout { .. }
        | Error::Intermediary { .. }
        // One user's request may crash the process that serves it.
        | Error::Connect { fault: ConnectFault::Closed, .. } => {
            ErrorClass::Failure { of_any_user: false }
        }
        Error::Connect { .. } => ErrorClass::Failure { of_any_user: true },
        // One config may be unreadable, or a proxy may have answered.
        _ => ErrorClass::Inconclusive,
    }
}

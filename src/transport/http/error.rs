//! How an attempt failed, and whether its connection is to blame.

use awc::error::SendRequestError;

use super::{
    connect::ReuseTracker,
    error_mapping::{is_closed, send_error},
};
use crate::{model::error::Error, shared::Shared};

/// How one attempt failed.
#[derive(Debug)]
pub(in crate::transport) struct Failure {
    pub(in crate::transport) error: Error,
    /// The connection came from the pool and died before the first byte of an answer, or cannot be
    /// trusted: the call is to go out again on a fresh one.
    pub(in crate::transport) retry_on_fresh_connection: bool,
    /// The answer was the answer to another request.
    pub(in crate::transport) is_misrouted: bool,
}

/// Why an exchange ended without evaluations.
pub(in crate::transport) enum ExchangeError {
    BeforeAnswer(SendRequestError),
    Failed(Error),
    /// The answer was the answer to another request.
    Misrouted(Error),
    /// The answer may have been that.
    Suspect(Error),
    /// It names another than was asked, as the server has done on a new connection too.
    Misnamed(Error),
}

/// An answer that came over a connection that may have been off by one is none.
pub(in crate::transport) fn discard_suspect<T>(
    result: Result<T, ExchangeError>,
    path: &'static str,
    tracker: Option<&ReuseTracker>,
    shared: &Shared,
) -> Result<T, ExchangeError> {
    let Some(tracker) = tracker else { return result };
    if let Err(ExchangeError::Misnamed(_)) = result {
        // No proof, but this one may be off by one all the same.
        tracker.discard();
    }
    match result {
        Err(ExchangeError::Misrouted(_)) => {
            shared.end_connections_of(tracker.generation());
            result
        }
        Err(
            ExchangeError::BeforeAnswer(_) | ExchangeError::Failed(Error::AttemptTimeout { .. }),
        ) => result,
        _ if tracker.is_reused() && tracker.generation() != shared.connection_generation() => {
            Err(ExchangeError::Suspect(misrouted(path)))
        }
        _ => result,
    }
}

pub(in crate::transport) fn misrouted(path: &'static str) -> Error {
    // What it says is not for those who asked.
    let (reason, excerpt) = ("it answers another request".to_owned(), String::new());
    Error::InvalidResponse { path, reason, excerpt }
}

impl ExchangeError {
    pub(in crate::transport) fn failure(
        self,
        path: &'static str,
        tracker: Option<&ReuseTracker>,
    ) -> Failure {
        let is_misrouted = matches!(self, Self::Misrouted(_));
        let (error, retry_on_fresh_connection) = match self {
            Self::BeforeAnswer(error) => {
                let may_die =
                    tracker.is_some_and(|tracker| tracker.is_reused() || tracker.is_discarded());
                let died = may_die && is_closed(&error);
                (send_error(error, path), died)
            }
            Self::Failed(error) | Self::Misnamed(error) => (error, false),
            Self::Misrouted(error) | Self::Suspect(error) => (error, true),
        };
        Failure { error, retry_on_fresh_connection, is_misrouted }
    }
}

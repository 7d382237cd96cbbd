//! How an exchange failed, and whether its connection is to blame.

use awc::error::SendRequestError;

use super::{
    connect::ReuseTracker,
    error_mapping::{is_closed, send_error},
};
use crate::{model::error::Error, shared::Shared};

/// How an attempt failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: Error,
    /// The connection came from the pool and closed before the first byte of the answer, or its
    /// answers cannot be trusted.
    pub(crate) retry_on_fresh_connection: bool,
    /// The answer belonged to another request.
    pub(crate) is_misrouted: bool,
}

/// Why an exchange ended without evaluations.
pub(crate) enum ExchangeError {
    BeforeAnswer(SendRequestError),
    Failed(Error),
    /// The answer belonged to another request.
    Misrouted(Error),
    /// The answer may have belonged to another request.
    Suspect(Error),
    /// The answer has another name than the request. The server has answered with that name over a
    /// new connection before, so this proves nothing.
    Misnamed(Error),
}

/// Replaces an answer with an error if its connection may have mixed up answers.
pub(crate) fn reject_suspect<T>(
    result: Result<T, ExchangeError>,
    path: &'static str,
    tracker: Option<&ReuseTracker>,
    shared: &Shared,
) -> Result<T, ExchangeError> {
    let Some(tracker) = tracker else { return result };
    let is_distrusted = tracker.generation() != shared.connection_generation();
    let is_in_doubt = tracker.is_reused() && (tracker.is_discarded() || is_distrusted);
    if let Err(ExchangeError::Misnamed(_)) = result {
        // This proves nothing, but the connection may still have mixed up its answers.
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
        _ if is_in_doubt => Err(ExchangeError::Suspect(misrouted(path))),
        _ => result,
    }
}

pub(crate) fn misrouted(path: &'static str) -> Error {
    // No excerpt: the answer may be about another user.
    let (reason, excerpt) = ("the answer belongs to another request".to_owned(), String::new());
    Error::InvalidResponse { path, reason, excerpt }
}

impl ExchangeError {
    pub(crate) fn into_failure(
        self,
        path: &'static str,
        tracker: Option<&ReuseTracker>,
    ) -> Failure {
        let is_misrouted = matches!(self, Self::Misrouted(_));
        let (error, retry_on_fresh_connection) = match self {
            Self::BeforeAnswer(error) => {
                let was_pooled =
                    tracker.is_some_and(|tracker| tracker.is_reused() || tracker.is_discarded());
                let is_stale = was_pooled && is_closed(&error);
                (send_error(error, path), is_stale)
            }
            Self::Failed(error) | Self::Misnamed(error) => (error, false),
            Self::Misrouted(error) | Self::Suspect(error) => (error, true),
        };
        Failure { error, retry_on_fresh_connection, is_misrouted }
    }
}

//! How an attempt failed, and whether its connection is to blame.

use awc::error::SendRequestError;

use super::{
    connect::Link,
    failure::{is_closed, send_error},
};
use crate::{model::error::Error, shared::Shared};

/// How one attempt failed.
#[derive(Debug)]
pub(in crate::transport) struct Failure {
    pub(in crate::transport) error: Error,
    /// The connection came from the pool and died before the first byte of an answer, or cannot be
    /// trusted: the call is to go out again on a fresh one.
    pub(in crate::transport) died_on_reuse: bool,
    /// The answer was the answer to another request.
    pub(in crate::transport) is_of_another: bool,
}

/// Why an exchange ended without evaluations.
pub(in crate::transport) enum Broken {
    BeforeAnswer(SendRequestError),
    Error(Error),
    /// The answer was the answer to another request.
    OfAnother(Error),
    /// The answer may have been that.
    Distrusted(Error),
    /// It names another than was asked, as the server has done on a new connection too.
    Misnamed(Error),
}

/// An answer that came over a connection that may have been off by one is none.
pub(in crate::transport) fn judged<T>(
    result: Result<T, Broken>,
    path: &'static str,
    link: Option<&Link>,
    shared: &Shared,
) -> Result<T, Broken> {
    let Some(link) = link else { return result };
    let is_distrusted = link.generation() != shared.connection_generation();
    let is_in_doubt = link.is_reused() && (link.is_unusable() || is_distrusted);
    if let Err(Broken::Misnamed(_)) = result {
        // No proof, but this one may be off by one all the same.
        link.give_up();
    }
    match result {
        Err(Broken::OfAnother(_)) => {
            shared.end_connections_of(link.generation());
            result
        }
        Err(Broken::BeforeAnswer(_) | Broken::Error(Error::AttemptTimeout { .. })) => result,
        _ if is_in_doubt => Err(Broken::Distrusted(of_another(path))),
        _ => result,
    }
}

pub(in crate::transport) fn of_another(path: &'static str) -> Error {
    // What it says is not for those who asked.
    let (reason, excerpt) = ("it answers another request".to_owned(), String::new());
    Error::InvalidResponse { path, reason, excerpt }
}

impl Broken {
    pub(in crate::transport) fn failure(self, path: &'static str, link: Option<&Link>) -> Failure {
        let is_of_another = matches!(self, Self::OfAnother(_));
        let (error, died_on_reuse) = match self {
            Self::BeforeAnswer(error) => {
                let may_die = link.is_some_and(|link| link.is_reused() || link.is_unusable());
                let died = may_die && is_closed(&error);
                (send_error(error, path), died)
            }
            Self::Error(error) | Self::Misnamed(error) => (error, false),
            Self::OfAnother(error) | Self::Distrusted(error) => (error, true),
        };
        Failure { error, died_on_reuse, is_of_another }
    }
}

//! The error type. It is cheap to clone.

mod classify;
mod connect_fault;
mod constructors;
mod kind;

use std::{io, sync::Arc, time::Duration};

use thiserror::Error as ThisError;

pub(crate) use self::classify::outcome;
pub use self::{connect_fault::ConnectFault, kind::ErrorKind};

/// Why a request was not answered with evaluations, or why the component could not be set up.
///
/// It is cheap to clone: one failed call may answer many callers. No variant contains the API key, a
/// private attribute or a whole response body.
///
/// [`kind`](Self::kind) is for statistics, [`is_retryable`](Self::is_retryable) and
/// [`is_overload`](Self::is_overload) are for decisions. Variants may get more fields, so end
/// patterns with `..`. Functions such as [`Error::unavailable`] make errors for a transport of your
/// own or a test.
#[derive(Clone, Debug, ThisError)]
#[non_exhaustive]
pub enum Error {
    /// A setting of [`Config`](crate::Config) breaks one of its bounds.
    #[error("setting `{setting}` cannot be {value}: {rule}")]
    #[non_exhaustive]
    InvalidConfig {
        /// The setting's name, as in the settings table.
        setting: &'static str,
        /// The value that was set; `[redacted]` for the key.
        value: String,
        /// The rule it breaks.
        rule: String,
    },

    /// A field of a [`User`](crate::User) breaks one of the API's rules.
    #[error("user field `{field}` {rule}")]
    #[non_exhaustive]
    InvalidUser {
        /// The field by the API's name, for example `country` or `custom.plan`.
        field: String,
        /// The rule it breaks.
        rule: &'static str,
    },

    /// The name of a gate or config breaks the API's rule for names. No call was made.
    #[error("name {name:?} {rule}")]
    #[non_exhaustive]
    InvalidName {
        /// The first 100 bytes of the name.
        name: String,
        /// The rule it breaks.
        rule: &'static str,
    },

    /// More names would be pending than [`max_pending`](crate::Config::max_pending) allows.
    ///
    /// [`is_overload`](Self::is_overload) covers this variant and the next two.
    #[error("overloaded: more than {limit} names would be pending (`max_pending`)")]
    #[non_exhaustive]
    Overloaded {
        /// The limit.
        limit: usize,
    },

    /// More bytes of requests would be pending than
    /// [`max_pending_bytes`](crate::Config::max_pending_bytes) allows.
    ///
    /// Evaluations that wait for other names of their request count too. If they exceed the limit, the
    /// request that holds the most of them gets this error.
    #[error(
        "overloaded: more than {limit} bytes of requests would be pending (`max_pending_bytes`)"
    )]
    #[non_exhaustive]
    OverloadedBytes {
        /// The limit.
        limit: usize,
    },

    /// This user has used its share of the pending requests: three quarters of what other users
    /// leave. There is still room for other users.
    #[error(
        "overloaded: more than {limit} {unit} of this user would be pending; the rest of \
         `{setting}` is for other users"
    )]
    #[non_exhaustive]
    OverloadedUser {
        /// The user's share at present.
        limit: usize,
        /// The unit of the limit: `names` or `bytes`.
        unit: &'static str,
        /// The setting that limits all users together: `max_pending` or `max_pending_bytes`.
        setting: &'static str,
    },

    /// The component is shutting down or has shut down.
    #[error("the component is shutting down")]
    ShuttingDown,

    /// The component ended without a shutdown: its `System` or runtime was stopped.
    #[error("the component has ended, because its runtime was stopped")]
    Closed,

    /// [`Statsig::start_in_current_arbiter`](crate::Statsig::start_in_current_arbiter) was called
    /// on a thread without a running arbiter.
    #[error(
        "no actix arbiter runs on this thread: use `Statsig::start`, or start inside an actix `System`"
    )]
    NoArbiter,

    /// The component's own thread could not be started.
    #[error("the component's thread could not be started")]
    #[non_exhaustive]
    Start {
        /// The error of the operating system.
        source: Arc<io::Error>,
    },

    /// The request was not answered within its [`timeout`](crate::Config::timeout).
    #[error("no answer within {limit:?}")]
    #[non_exhaustive]
    Timeout {
        /// The limit for the whole request.
        limit: Duration,
        /// The error of the last attempt, if one failed.
        #[source]
        last: Option<Arc<Error>>,
    },

    /// The last attempt took longer than [`attempt_timeout`](crate::Config::attempt_timeout).
    #[error("the attempt took longer than {limit:?}")]
    #[non_exhaustive]
    AttemptTimeout {
        /// The limit for one attempt.
        limit: Duration,
    },

    /// The server could not be reached, or the connection broke before the answer was complete.
    #[error("connection failed: {fault}")]
    #[non_exhaustive]
    Connect {
        /// The kind of failure.
        fault: ConnectFault,
        /// The error of the layer below.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },

    /// Statsig refused the API key with 401 or 403, in JSON as the API answers. Never retried with
    /// the same key.
    #[error("{path} answered {status}: Statsig refused the API key; check `api_key`")]
    #[non_exhaustive]
    Unauthorized {
        /// The call's path.
        path: &'static str,
        /// The HTTP status.
        status: u16,
    },

    /// Something between the app and Statsig answered in its place: a proxy, a firewall, a sign-in page.
    ///
    /// Statsig's API answers each call with JSON. It never answers with a redirect, 204, 404, 407 or a
    /// page of HTML. The component treats this as an outage: it retries, and serves stale evaluations.
    #[error(
        "something between here and Statsig answered {status} {content_type} to {path}{}",
        hint(*status)
    )]
    #[non_exhaustive]
    Intermediary {
        /// The call's path.
        path: &'static str,
        /// The HTTP status.
        status: u16,
        /// The type of the body, for example `text/html`, or this crate's own word for an uncommon
        /// type.
        content_type: &'static str,
    },

    /// Statsig's API refused the call for good: with 400, 409, 413, 422 or a similar status. Other
    /// statuses have their own variants.
    #[error("{path} answered {status}: {excerpt:?}")]
    #[non_exhaustive]
    Refused {
        /// The call's path.
        path: &'static str,
        /// The HTTP status.
        status: u16,
        /// The beginning of the response body.
        excerpt: String,
    },

    /// Statsig was unavailable (408, 429 or 5xx) in the last attempt, or its `Retry-After` is
    /// longer than the call's remaining time.
    #[error("{path} answered {status}")]
    #[non_exhaustive]
    Unavailable {
        /// The call's path.
        path: &'static str,
        /// The HTTP status.
        status: u16,
        /// The `Retry-After` of the answer, if there was one.
        retry_after: Option<Duration>,
    },

    /// The circuit breaker is open after repeated failures, and the call was not sent, because the
    /// next probe failed too or did not complete within two seconds. See
    /// [`circuit_breaker`](crate::Config::circuit_breaker).
    #[error("not sent: the circuit breaker is open, because the last calls failed")]
    #[non_exhaustive]
    CircuitOpen {
        /// The error of the last failed call.
        #[source]
        cause: Arc<Error>,
    },

    /// The response does not have the form that the API document describes.
    #[error("{path} answered in an unexpected form: {reason}: {excerpt:?}")]
    #[non_exhaustive]
    InvalidResponse {
        /// The call's path.
        path: &'static str,
        /// What is wrong with the response.
        reason: String,
        /// The beginning of the response body, if it was read.
        excerpt: String,
    },

    /// Statsig answered the call but left out this name.
    #[error("{path} answered but left out {name:?}")]
    #[non_exhaustive]
    MissingName {
        /// The call's path.
        path: &'static str,
        /// The name of the gate or config.
        name: Arc<str>,
    },

    /// A [`ConfigEvaluation`](crate::ConfigEvaluation) has no such key.
    #[error("config {config:?} has no key {key:?}")]
    #[non_exhaustive]
    MissingKey {
        /// The config's name.
        config: Arc<str>,
        /// The first 200 bytes of the key.
        key: String,
    },

    /// The value of a [`ConfigEvaluation`](crate::ConfigEvaluation), or of one of its keys, has a
    /// type that the app does not expect.
    #[error("config {config:?}, {at}: expected {expected}, found {found}")]
    #[non_exhaustive]
    WrongType {
        /// The config's name.
        config: Arc<str>,
        /// The part of the config: ``key `…` `` or `the whole value`.
        at: String,
        /// The JSON type of the value, for example `a number`.
        found: &'static str,
        /// The expected type: `a string`, `a boolean` or the name of a Rust type.
        expected: &'static str,
        /// serde's error, which may quote the value: its first 1,000 bytes.
        source: Arc<serde_json::Error>,
    },

    /// The component's own code failed: a handler or a task panicked while it served this request, or
    /// the request was pending during three restarts.
    #[error("internal error: {detail}")]
    #[non_exhaustive]
    Internal {
        /// What failed.
        detail: &'static str,
    },
}

/// Returns a hint on what to check first.
fn hint(status: u16) -> &'static str {
    match status {
        300..=399 => ": redirects are not followed; check `base_url`",
        404 | 405 | 410 => ": check `base_url`",
        407 => ": the proxy requires credentials",
        511 => ": the network requires a sign-in",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_keep_the_source_of_a_failure() {
        let last = Arc::new(Error::Connect {
            fault: ConnectFault::Closed,
            source: Arc::new(io::Error::other("broken")),
        });
        let error = Error::Timeout { limit: Duration::from_secs(3), last: Some(last) }.clone();

        let attempt = std::error::Error::source(&error).expect("the last attempt");
        let io = attempt.source().expect("the I/O error");

        assert_eq!(io.to_string(), "broken");
    }

    #[test]
    fn intermediary_error_names_the_answer_and_what_to_check() {
        let text = |status, content_type| {
            Error::Intermediary { path: "/v1/check_gate", status, content_type }.to_string()
        };
        assert_eq!(
            text(403, "text/html"),
            "something between here and Statsig answered 403 text/html to /v1/check_gate"
        );
        assert!(text(404, "application/json").ends_with(": check `base_url`"));
    }
}

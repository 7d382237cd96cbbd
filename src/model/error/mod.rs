//! What can go wrong, as one clonable type.

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
/// It is cheap to clone: one failed call may be the answer to many callers. No variant carries the
/// API key, a private attribute or a whole response body.
#[derive(Clone, Debug, ThisError)]
#[non_exhaustive]
pub enum Error {
    /// A setting of [`Config`](crate::Config) breaks one of its bounds.
    #[error("setting `{setting}` cannot be {value}: {rule}")]
    #[non_exhaustive]
    InvalidConfig {
        /// The setting's name, as in the settings table.
        setting: &'static str,
        /// What was given; `[redacted]` for the key.
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

    /// A gate's or config's name breaks the API's rule for names. Nothing was sent.
    #[error("name {name:?} {rule}")]
    #[non_exhaustive]
    InvalidName {
        /// The name as it was given, cut to the API's longest.
        name: String,
        /// The rule it breaks.
        rule: &'static str,
    },

    /// As many names as [`max_pending`](crate::Config::max_pending) allows are waiting already.
    ///
    /// The two that follow are overload as well: [`is_overload`](Self::is_overload) is for all three.
    #[error("overloaded: more than {limit} names would be pending")]
    #[non_exhaustive]
    Overloaded {
        /// The bound that was reached.
        limit: usize,
    },

    /// The requests that are waiting already have as many bytes as
    /// [`max_pending_bytes`](crate::Config::max_pending_bytes) allows. Or the evaluations that wait for
    /// other names of their requests have more than that, and this request holds the most of them.
    #[error("overloaded: more than {limit} bytes of requests would be pending")]
    #[non_exhaustive]
    OverloadedBytes {
        /// The bound that was reached.
        limit: usize,
    },

    /// As much of this user is waiting already as one user may hold: three quarters of what others
    /// leave. There is still room for other users.
    #[error(
        "overloaded: more than {limit} {unit} of this user would be pending; the rest of \
         `{setting}` is kept for other users"
    )]
    #[non_exhaustive]
    OverloadedUser {
        /// The most that this user may hold for now.
        limit: usize,
        /// What it is counted in: `names` or `bytes`.
        unit: &'static str,
        /// The setting that it is a part of: `max_pending` or `max_pending_bytes`.
        setting: &'static str,
    },

    /// The component is draining or has been shut down.
    #[error("the component is shutting down")]
    ShuttingDown,

    /// The component ended without a shutdown: the `System` or runtime it lived in was stopped.
    #[error("the component has ended, because the runtime it lived in was stopped")]
    Closed,

    /// [`Statsig::start_in_current_arbiter`](crate::Statsig::start_in_current_arbiter) was called where no actix arbiter runs.
    #[error("no actix arbiter runs on this thread: use `Statsig::start`, or call from inside one")]
    NoArbiter,

    /// The component's own thread could not be started.
    #[error("the component's thread could not be started")]
    #[non_exhaustive]
    Start {
        /// What the operating system said.
        source: Arc<io::Error>,
    },

    /// The request's [`timeout`](crate::Config::timeout) passed before it was answered.
    #[error("no answer within {limit:?}")]
    #[non_exhaustive]
    Timeout {
        /// The whole request's limit.
        limit: Duration,
        /// How the last attempt failed, if one had.
        #[source]
        last: Option<Arc<Error>>,
    },

    /// One attempt took longer than [`attempt_timeout`](crate::Config::attempt_timeout), and it was
    /// the last one that was allowed.
    #[error("the attempt took longer than {limit:?}")]
    #[non_exhaustive]
    AttemptTimeout {
        /// The attempt's limit.
        limit: Duration,
    },

    /// The server could not be reached, or the connection broke before the answer was complete.
    #[error("connection failed: {fault}")]
    #[non_exhaustive]
    Connect {
        /// What kind of failure it was.
        fault: ConnectFault,
        /// What the layer below said.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },

    /// The server refused the API key (401 or 403, in JSON as the API answers). Never retried.
    #[error("{path} answered {status}: the API key was refused")]
    #[non_exhaustive]
    Unauthorized {
        /// The call's path.
        path: &'static str,
        /// The HTTP status.
        status: u16,
    },

    /// Something between here and Statsig answered in its place: a proxy, a firewall, a sign-in page.
    ///
    /// Statsig's API answers a call with JSON. Neither a redirect, 204, 404 or 407 nor a page of HTML
    /// comes from the API. This is an outage on the way: it may pass, and stale evaluations are given
    /// meanwhile.
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
        /// The kind of body, for example `text/html`; a word of our own for what is uncommon.
        content_type: &'static str,
    },

    /// Statsig's API refused the call for good: with 400, 409, 413, 422 or a status like these. Other
    /// statuses have variants of their own.
    #[error("{path} answered {status}: {excerpt:?}")]
    #[non_exhaustive]
    Refused {
        /// The call's path.
        path: &'static str,
        /// The HTTP status.
        status: u16,
        /// The beginning of what the server said about it.
        excerpt: String,
    },

    /// The server could not answer for now (408, 429 or 5xx), in the last attempt that was allowed; or
    /// it has asked to be left alone for longer than this call has time, and was not asked again.
    #[error("{path} answered {status}")]
    #[non_exhaustive]
    Unavailable {
        /// The call's path.
        path: &'static str,
        /// The HTTP status.
        status: u16,
        /// How long the server asked to be left alone, if it did.
        retry_after: Option<Duration>,
    },

    /// The last calls failed in a row, and so did a probe that began after this one came, or it took
    /// longer than two seconds. See [`circuit_breaker`](crate::Config::circuit_breaker).
    #[error("not tried, because the last calls failed")]
    #[non_exhaustive]
    CircuitOpen {
        /// How the last of them failed.
        #[source]
        cause: Arc<Error>,
    },

    /// The server answered with something that is not what the API document describes.
    #[error("{path} answered what the API does not describe: {reason}: {excerpt:?}")]
    #[non_exhaustive]
    InvalidResponse {
        /// The call's path.
        path: &'static str,
        /// What is wrong with it.
        reason: String,
        /// The beginning of the body, if it was read.
        excerpt: String,
    },

    /// The server answered the call but left this name out.
    #[error("{path} left out {name:?}")]
    #[non_exhaustive]
    MissingName {
        /// The call's path.
        path: &'static str,
        /// The name that was asked for.
        name: Arc<str>,
    },

    /// A [`ConfigEvaluation`](crate::ConfigEvaluation) has no such key.
    #[error("config {config:?} has no key {key:?}")]
    #[non_exhaustive]
    MissingKey {
        /// The config's name.
        config: Arc<str>,
        /// The key that was asked for; of a long one the first 200 bytes.
        key: String,
    },

    /// A [`ConfigEvaluation`](crate::ConfigEvaluation), or one key of it, is not of the type asked for.
    #[error("config {config:?}, {at}: found {found}, which is no {wanted}")]
    #[non_exhaustive]
    WrongType {
        /// The config's name.
        config: Arc<str>,
        /// Which part of it: ``key `…` `` or `the whole value`.
        at: String,
        /// The JSON type that is there.
        found: &'static str,
        /// The Rust type that was asked for.
        wanted: &'static str,
        /// What serde said; of a long text, which quotes the value, the first 1,000 bytes.
        source: Arc<serde_json::Error>,
    },

    /// The component's own code failed: a handler or a task panicked while it served this request,
    /// or the request was pending through a third restart.
    #[error("internal failure: {detail}")]
    #[non_exhaustive]
    Internal {
        /// What failed.
        detail: &'static str,
    },
}

/// What to look at first.
fn hint(status: u16) -> &'static str {
    match status {
        300..=399 => ": redirects are not followed; is `base_url` right?",
        404 | 405 | 410 => ": is `base_url` right?",
        407 => ": the proxy wants credentials",
        511 => ": the network wants a sign-in",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_of_a_failure_is_kept_through_clones() {
        let last = Arc::new(Error::Connect {
            fault: ConnectFault::Closed,
            source: Arc::new(io::Error::other("broken")),
        });
        let error = Error::Timeout { limit: Duration::from_secs(3), last: Some(last) }.clone();

        let attempt = std::error::Error::source(&error).expect("the last attempt");
        let io = attempt.source().expect("what the connection said");

        assert_eq!(io.to_string(), "broken");
    }

    #[test]
    fn an_intermediary_is_named_with_what_it_answered_and_what_to_look_at() {
        let says = |status, content_type| {
            Error::Intermediary { path: "/v1/check_gate", status, content_type }.to_string()
        };
        assert_eq!(
            says(403, "text/html"),
            "something between here and Statsig answered 403 text/html to /v1/check_gate"
        );
        assert!(says(404, "application/json").ends_with(": is `base_url` right?"));
    }
}

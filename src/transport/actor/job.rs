//! A call in the transport's hands, and one attempt at it.

use std::{panic::AssertUnwindSafe, sync::Arc, thread, time::Instant};

use futures_util::FutureExt;

use crate::{
    message::call::{Call, CallRequest},
    model::{
        error::{Error, outcome},
        evaluation::Evaluation,
    },
    rt::failpoint::failpoint,
    telemetry::spans,
    transport::{
        http::{HttpClient, error::Failure},
        retry::{breaker::Probe, policy::AttemptHistory, shared_health::AttemptInfo},
    },
};

/// A call and what has been tried for it.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) call: Call,
    pub(super) received: Instant,
    pub(super) history: AttemptHistory,
    pub(super) last_error: Option<Arc<Error>>,
    /// It could not start when it came: by now its callers may have left.
    pub(super) has_waited: bool,
}

impl Job {
    pub(super) fn new(call: Call, received: Instant) -> Self {
        let (history, last_error) = (AttemptHistory::default(), None);
        // What asks for a part of a call that was refused comes later than its callers asked.
        let has_waited = call.request().refusal.is_some();
        Self { call, received, history, last_error, has_waited }
    }

    pub(super) fn is_first_attempt(&self) -> bool {
        self.history == AttemptHistory::default()
    }

    /// Makes an attempt, if somebody wants it still.
    pub(super) async fn attempt(&self, http: &HttpClient, info: AttemptInfo) -> AttemptResult {
        if self.has_waited && !self.call.is_wanted().await {
            return Ok(None);
        }
        let request = self.call.request();
        let number = self.history.attempts + 1;
        let span = spans::attempt(self.call.span(), request.kind.operation(), number);
        let attempt = async {
            failpoint("attempt");
            http.attempt(request, self.history.reconnected, info.limit).await
        };
        let made = AssertUnwindSafe(spans::inside(&span, attempt)).catch_unwind().await;
        let result = match &made {
            Ok(result) => result.as_ref().map(drop).map_err(|failure| &failure.error),
            Err(_) => Err(&ATTEMPT_PANICKED),
        };
        spans::ended(&span, outcome(result));
        #[cfg(feature = "metrics")]
        crate::telemetry::metrics::attempt_ended(
            request.kind,
            crate::rt::clock::now() - info.started,
            result,
        );
        made.map(Some)
    }
}

/// Asks on behalf of nobody whether the server is well, over a connection of its own.
pub(super) async fn probe(http: &HttpClient, probe: Probe) -> thread::Result<Result<(), Error>> {
    let attempt = async {
        let request = CallRequest::probe(probe.started + probe.limit)?;
        let made = http.attempt(&request, true, probe.limit).await;
        made.map(drop).map_err(|failure| failure.error)
    };
    AssertUnwindSafe(attempt).catch_unwind().await
}

/// `Ok(None)` if nobody wanted it any more, `Err` if it panicked.
pub(super) type AttemptResult = thread::Result<Option<Result<Vec<Option<Evaluation>>, Failure>>>;

pub(super) const ATTEMPT_PANICKED: Error = Error::Internal { detail: "an attempt panicked" };

//! A call in the transport, and one attempt of the call.

use std::{panic::AssertUnwindSafe, sync::Arc, thread, time::Instant};

use futures_util::FutureExt;

use crate::{
    message::call::Call,
    model::{
        error::{Error, outcome},
        evaluation::Evaluation,
    },
    rt::failpoint::failpoint,
    telemetry::spans,
    transport::{
        http::{HttpClient, error::Failure},
        retry::{policy::AttemptHistory, shared_health::AttemptInfo},
    },
};

/// A call with its attempts so far.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) call: Call,
    pub(super) received: Instant,
    pub(super) history: AttemptHistory,
    pub(super) last_error: Option<Arc<Error>>,
    /// The call could not start at once, so its callers may have left by now.
    pub(super) has_waited: bool,
}

/// How an attempt ended: `Ok(None)` if no caller wanted it any more, `Err` if it panicked.
pub(super) type AttemptResult = thread::Result<Option<Result<Vec<Option<Evaluation>>, Failure>>>;

pub(super) const ATTEMPT_PANICKED: Error = Error::Internal { detail: "an attempt panicked" };

impl Job {
    pub(super) fn new(call: Call, received: Instant) -> Self {
        // The callers of a retried part have already waited for the refused call.
        let has_waited = call.request().refusal.is_some();
        Self { call, received, history: AttemptHistory::default(), last_error: None, has_waited }
    }

    pub(super) fn is_first_attempt(&self) -> bool {
        self.history == AttemptHistory::default()
    }

    /// Makes an attempt, unless all callers have left.
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
        let caught = AssertUnwindSafe(spans::inside(&span, attempt)).catch_unwind().await;
        let result = match &caught {
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
        caught.map(Some)
    }
}

//! The actor's part in making attempts: how one begins, and what consequences from its end.

use std::{
    panic::AssertUnwindSafe,
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Instant,
};

use actix::{ActorContext, AsyncContext, Context, Message};
use actix_rt::time::sleep;
use futures_util::FutureExt;

use super::{
    CONNECTIONS_FAIL, TransportActor,
    job::{ATTEMPT_PANICKED, AttemptResult, Job},
};
use crate::{
    model::{error::Error, user::User},
    rt::{clock, failpoint::failpoint},
    telemetry::spans,
    transport::{
        http::{HttpClient, error::Failure},
        retry::{policy::RetryDecision, shared_health::AttemptInfo},
    },
};

/// An attempt has ended.
#[derive(Debug)]
pub(super) struct AttemptCompleted {
    job: Job,
    result: AttemptResult,
    info: AttemptInfo,
    /// How often the key had changed when it began.
    key_changes: u64,
}

impl AttemptCompleted {
    pub(super) fn user(&self) -> &User {
        &self.job.call.request().user
    }
}

impl Message for AttemptCompleted {
    type Result = ();
}

/// A call's backoff is over.
#[derive(Debug)]
pub(super) struct BackoffElapsed(pub(super) Job);

impl Message for BackoffElapsed {
    type Result = ();
}

impl TransportActor {
    pub(super) fn start(
        &mut self,
        job: Job,
        http: Rc<HttpClient>,
        now: Instant,
        ctx: &mut Context<Self>,
    ) {
        self.queue.acquire(&job.call.request().user);
        let left = job.call.request().deadline.saturating_duration_since(now);
        let limit = left.min(self.config.attempt_timeout());
        let info = AttemptInfo { started: now, limit };
        let key_changes = self.key_changes;
        let transport = ctx.address();
        // A task of its own: in the actor's context every wake would poll every attempt, and a
        // panic in one would end them all.
        actix_rt::spawn(async move {
            let attempt = AssertUnwindSafe(job.attempt(&http, info)).catch_unwind();
            let result = attempt.await.flatten();
            transport.do_send(AttemptCompleted { job, result, info, key_changes });
        });
    }

    pub(super) fn on_attempt_completed(
        &mut self,
        attempted: AttemptCompleted,
        ctx: &mut Context<Self>,
    ) {
        failpoint("transport.attempted");
        let AttemptCompleted { mut job, result, info, key_changes } = attempted;
        let now = clock::now();
        let Failure { error, retry_on_fresh_connection, is_misrouted } = match result {
            Ok(Some(Ok(evaluations))) => {
                self.upstream.answered(&job.call.request().user, now);
                return self.finish(job, Ok(evaluations));
            }
            Ok(Some(Err(failure))) => failure,
            Ok(None) => {
                // Nobody is there to read it; whoever joins in this moment is asked for again.
                let timeout = self.timeout(&job);
                return job.call.complete(Err(timeout));
            }
            Err(_) => {
                self.finish(job, Err(ATTEMPT_PANICKED));
                // Who knows what it left behind in the client: the restart makes another one.
                self.restart_reason = Some("an attempt panicked");
                return ctx.stop();
            }
        };
        if is_misrouted {
            self.discard_connections(&job);
        }
        let is_of_an_old_key = key_changes != self.shared.api_key.changes();
        if is_of_an_old_key && matches!(error, Error::Unauthorized { .. }) {
            // Says nothing of the new one.
            self.count_retry();
            return self.enqueue(job, ctx);
        }
        if retry_on_fresh_connection && !job.history.reconnected {
            // No sign of trouble, and no attempt that counts.
            job.history.reconnected = true;
            self.count_retry();
            return self.enqueue(job, ctx);
        }
        job.history.attempts += 1;
        let request = job.call.request();
        let consequences = self.upstream.failed(info, &request.user, &error, now);
        if consequences.renews_pool {
            self.restart_reason = Some(CONNECTIONS_FAIL);
            ctx.stop();
        }
        if consequences.starts_pause {
            tracing::warn!(%error, "Statsig asks to be left alone: calls wait, or fail at once");
        }
        let left = request.deadline.saturating_duration_since(now);
        if left.is_zero() {
            job.last_error = job.last_error.or(Some(Arc::new(error)));
            return self.time_out(job);
        }
        let decision = self.retry.decide(job.history, &error, left, fastrand::f64());
        let call = job.call.span();
        spans::under(
            call,
            || tracing::debug!(parent: call, %error, ?decision, "an attempt failed"),
        );
        match decision {
            RetryDecision::RetryAfter(delay)
                if self.upstream.may_retry(&job.call.request().user) =>
            {
                self.count_retry();
                job.last_error = Some(Arc::new(error));
                job.has_waited = true;
                let transport = ctx.address();
                actix_rt::spawn(async move {
                    sleep(delay).await;
                    transport.do_send(BackoffElapsed(job));
                });
            }
            RetryDecision::RetryAfter(_) | RetryDecision::GiveUp => self.finish(job, Err(error)),
        }
    }

    /// A connection is off by one. Whatever was answered over it is in doubt, and what was answered
    /// beside it, for the same may be amiss there: all connections go, and all that is kept.
    fn discard_connections(&mut self, job: &Job) {
        let path = job.call.request().kind.path();
        tracing::warn!(
            path,
            "a connection gave the answer to another request: closing all connections and \
             forgetting what was answered"
        );
        job.call.distrust_answers();
        self.http = None;
    }

    pub(super) fn count_retry(&self) {
        self.shared.counters.retries.fetch_add(1, Relaxed);
    }
}

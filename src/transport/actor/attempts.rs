//! Starts the attempts of a call, and handles their ends.

use std::{
    panic::AssertUnwindSafe,
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Instant,
};

use actix::{ActorContext, AsyncContext, Context};
use actix_rt::time::sleep;
use futures_util::FutureExt;

use super::{
    TransportActor,
    job::{ATTEMPT_PANICKED, Job},
    message::{AttemptCompleted, BackoffElapsed},
};
use crate::{
    model::error::Error,
    rt::{clock, failpoint::failpoint},
    telemetry::spans,
    transport::{
        http::{HttpClient, error::Failure},
        retry::{policy::RetryDecision, shared_health::AttemptInfo},
    },
};

impl TransportActor {
    pub(super) fn start_attempt(
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
        // Each attempt gets a task of its own. In the actor's context, every wake would poll every
        // attempt, and a panic in one attempt would end them all.
        actix_rt::spawn(async move {
            let attempt = AssertUnwindSafe(job.attempt(&http, info)).catch_unwind();
            let result = attempt.await.flatten();
            transport.do_send(AttemptCompleted { job, result, info, key_changes });
        });
    }

    pub(super) fn on_attempt_completed(
        &mut self,
        completed: AttemptCompleted,
        ctx: &mut Context<Self>,
    ) {
        failpoint("transport.attempted");
        let AttemptCompleted { job, result, info, key_changes } = completed;
        match result {
            Ok(Some(Ok(evaluations))) => {
                self.health.on_answer(&job.call.request().user, clock::now());
                self.finish(job, Ok(evaluations));
            }
            Ok(Some(Err(failure))) => self.on_attempt_failed(job, failure, info, key_changes, ctx),
            Ok(None) => {
                // All callers have left. The `BatchActor` retries the call for a caller that joins
                // now.
                let timeout = self.timeout(&job);
                job.call.complete(Err(timeout));
            }
            Err(_) => {
                self.finish(job, Err(ATTEMPT_PANICKED));
                // The panic may have left the client in any state: the restart makes a new client.
                self.restart_reason = Some("an attempt panicked");
                ctx.stop();
            }
        }
    }

    fn on_attempt_failed(
        &mut self,
        mut job: Job,
        failure: Failure,
        info: AttemptInfo,
        key_changes: u64,
        ctx: &mut Context<Self>,
    ) {
        let now = clock::now();
        let Failure { error, retry_on_fresh_connection, is_misrouted } = failure;
        if is_misrouted {
            self.discard_connections(&job);
        }
        let had_old_key = key_changes != self.shared.api_key.changes();
        if had_old_key && matches!(error, Error::Unauthorized { .. }) {
            // The new key may be accepted.
            self.count_retry();
            return self.enqueue(job, ctx);
        }
        if retry_on_fresh_connection && !job.history.reconnected {
            // The connection failed, not the server: this attempt does not count.
            job.history.reconnected = true;
            self.count_retry();
            return self.enqueue(job, ctx);
        }
        job.history.attempts += 1;
        let request = job.call.request();
        if self.health.on_failure(info, &request.user, &error, now) {
            tracing::warn!(%error, "Statsig asks for a pause: calls wait, or fail at once");
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
            RetryDecision::RetryAfter(delay) if self.health.may_retry(&job.call.request().user) => {
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

    /// Closes all connections and has the `BatchActor` clear the cache, after a misrouted answer.
    /// Other answers over that connection, and over those beside it, may have been misrouted too.
    fn discard_connections(&mut self, job: &Job) {
        let path = job.call.request().kind.path();
        tracing::warn!(
            path,
            "a connection gave the answer to another request: closing all connections and clearing \
             the cache"
        );
        job.call.distrust_answers();
        self.http = None;
    }

    pub(super) fn count_retry(&self) {
        self.shared.counters.retries.fetch_add(1, Relaxed);
    }
}

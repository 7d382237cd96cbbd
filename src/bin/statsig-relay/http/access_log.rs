//! The log line and the metrics of each request.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use actix_web::{
    Error,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    middleware::Next,
};
use tracing::Instrument;

use crate::{
    http::{problem::Problem, request_id::RequestId},
    machine::clock::now,
};

/// Gives the request an id, and logs and counts its answer.
pub(crate) async fn log_request<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let began = now();
    let id = RequestId::of(&request);
    // The span has the highest level, so that every log line has the id, whatever the filter.
    let span = tracing::error_span!("request", request_id = id.as_str());
    let mut response = id.clone().scope(next.call(request)).instrument(span.clone()).await?;
    span.in_scope(|| log(&response, began.elapsed()));
    count(&response, began.elapsed());
    id.insert_into(response.headers_mut());
    Ok(response)
}

/// Logs an answer, but never a body, which contains the user. A problem's message may quote the
/// body, unless Statsig or the relay caused the problem.
fn log(response: &ServiceResponse<impl MessageBody>, took: Duration) {
    let (method, path) = (response.request().method(), response.request().path());
    let status = response.status().as_u16();
    let duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    let extensions = response.response().extensions();
    let problem = extensions.get::<Problem>();
    let error = problem.map(Problem::kind);
    // A load balancer polls /readyz, so its failures are not warnings.
    if response.status().is_server_error() && path != "/readyz" {
        let why = problem.map(Problem::message);
        tracing::warn!(%method, path, status, duration_us, error, why, "a request failed");
    } else {
        tracing::debug!(%method, path, status, duration_us, error, "a request was answered");
    }
    if error == Some("unauthorized") && !KEY_REFUSED.swap(true, Relaxed) {
        tracing::error!(
            "Statsig refuses the API key: until the key is replaced, only the cache answers"
        );
    }
}

/// Allows the error about a refused key to be logged again.
pub(crate) fn api_key_changed() {
    KEY_REFUSED.store(false, Relaxed);
}

/// Whether the refused key has been logged already.
static KEY_REFUSED: AtomicBool = AtomicBool::new(false);

/// Counts all unknown paths as one, because clients could otherwise fill the metrics with made-up
/// paths.
fn count(response: &ServiceResponse<impl MessageBody>, took: Duration) {
    let path = response.request().match_pattern().unwrap_or_else(|| "other".to_owned());
    let status = response.status().as_str().to_owned();
    metrics::counter!("statsig_relay_requests_total", "path" => path.clone(), "status" => status)
        .increment(1);
    metrics::histogram!("statsig_relay_request_duration_seconds", "path" => path).record(took);
}

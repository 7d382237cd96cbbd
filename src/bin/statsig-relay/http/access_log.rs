//! What is told of each request: its line in the log, and its place in the metrics.

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

/// Gives a request its id, and tells what became of it.
pub(crate) async fn observe<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let began = now();
    let id = RequestId::of(&request);
    // At the highest level: whatever is logged, it says which request it was about.
    let span = tracing::error_span!("request", request_id = id.as_str());
    let mut response = id.clone().within(next.call(request)).instrument(span.clone()).await?;
    span.in_scope(|| log(&response, began.elapsed()));
    count(&response, began.elapsed());
    id.show(response.headers_mut());
    Ok(response)
}

/// Never a body: it has the user. The message of a problem may repeat some of it, unless it is
/// about Statsig or the relay itself.
fn log(response: &ServiceResponse<impl MessageBody>, took: Duration) {
    let (method, path) = (response.request().method(), response.request().path());
    let status = response.status().as_u16();
    let duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    let extensions = response.response().extensions();
    let problem = extensions.get::<Problem>();
    let error = problem.map(Problem::kind);
    // Whoever asks whether it is ready is told so, and asks time and again.
    if response.status().is_server_error() && path != "/readyz" {
        let why = problem.map(Problem::message);
        tracing::warn!(%method, path, status, duration_us, error, why, "a request failed");
    } else {
        tracing::debug!(%method, path, status, duration_us, error, "answered a request");
    }
    if error == Some("unauthorized") && !KEY_REFUSED.swap(true, Relaxed) {
        tracing::error!(
            "Statsig refuses the API key: only cached answers are given until the key is replaced"
        );
    }
}

/// Of another key it is told again.
pub(crate) fn key_has_changed() {
    KEY_REFUSED.store(false, Relaxed);
}

/// Whether it has been told already; once is enough.
static KEY_REFUSED: AtomicBool = AtomicBool::new(false);

/// Paths that are not served count as one: strangers would fill the metrics with their own.
fn count(response: &ServiceResponse<impl MessageBody>, took: Duration) {
    let path = response.request().match_pattern().unwrap_or_else(|| "other".to_owned());
    let status = response.status().as_str().to_owned();
    metrics::counter!("statsig_relay_requests_total", "path" => path.clone(), "status" => status)
        .increment(1);
    metrics::histogram!("statsig_relay_request_duration_seconds", "path" => path).record(took);
}

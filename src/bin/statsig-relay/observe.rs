//! What is known of each request: its id, its line in the log, and its place in the metrics.

use std::{
    rc::Rc,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::{Duration, Instant},
};

use actix_web::{
    Error,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    http::header::{HeaderName, HeaderValue},
    middleware::Next,
};
use tracing::Instrument;

use crate::respond::Problem;

const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id that is taken from a caller.
const LONGEST: usize = 128;

tokio::task_local! {
    static REQUEST_ID: RequestId;
}

/// What a request is called, here and in its caller's own logs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RequestId(Rc<str>);

impl RequestId {
    /// The id of the request that is being answered.
    pub(crate) fn current() -> Option<Self> {
        REQUEST_ID.try_with(Self::clone).ok()
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The caller's, if it is one that can stand in a log; otherwise a new one.
    fn of(request: &ServiceRequest) -> Self {
        let given = request.headers().get(HEADER).and_then(|id| id.to_str().ok());
        match given.filter(|id| is_sane(id)) {
            Some(id) => Self(id.into()),
            None => Self(format!("{:032x}", fastrand::u128(..)).into()),
        }
    }
}

fn is_sane(id: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(&byte);
    (1..=LONGEST).contains(&id.len()) && id.bytes().all(is_allowed)
}

/// Gives a request its id, and tells what became of it.
pub(crate) async fn observe<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let began = now();
    let id = RequestId::of(&request);
    // At the highest level: whatever is logged, it says which request it was about.
    let span = tracing::error_span!("request", request_id = id.as_str());
    let answering = REQUEST_ID.scope(id.clone(), next.call(request));
    let mut response = answering.instrument(span.clone()).await?;
    span.in_scope(|| log(&response, began.elapsed()));
    count(&response, began.elapsed());
    if let Ok(id) = HeaderValue::from_str(id.as_str()) {
        response.headers_mut().insert(HEADER, id);
    }
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
            "Statsig refuses the API key: it answers nothing until it is given another"
        );
    }
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

#[expect(clippy::disallowed_methods, reason = "here it is measured, and nothing decided by it")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn id(given: &str) -> String {
        let request = TestRequest::default().insert_header((HEADER, given));
        RequestId::of(&request.to_srv_request()).as_str().to_owned()
    }

    #[test]
    fn a_sane_id_is_the_callers_own_and_any_other_is_made() {
        let longest = "x".repeat(LONGEST);
        for sane in ["1", "Root=1-67891233-abcdef012345678912345678", "a/b+c==", &longest] {
            assert_eq!(id(sane), *sane);
        }
        for odd in ["", " ", "two words", "a\tb", "<b>", "\"", "{}", &"x".repeat(LONGEST + 1)] {
            let made = id(odd);
            assert!(
                made.len() == 32 && made.bytes().all(|byte| byte.is_ascii_hexdigit()),
                "{made}"
            );
        }
        assert_ne!(id(""), id(""));
    }
}

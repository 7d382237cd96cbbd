//! Makes one attempt of a call over awc, within its time and size limits.

mod body;
pub(super) mod connect;
mod decompress;
pub(super) mod error;
mod error_mapping;
mod excerpt;
mod intermediary;
mod mismatch;
mod request;
mod response;
pub(crate) mod tls;
pub(super) mod wire;

use std::{fmt, rc::Rc, sync::Arc, time::Duration};

use actix_rt::time::timeout;
use awc::http::header::HeaderValue;
use rustls::ClientConfig;

use self::{
    connect::{ConnectionFactory, Connector, ReuseTracker, track_reuse},
    error::{ExchangeError, Failure, misrouted, reject_suspect},
    excerpt::Excerpts,
    request::{Requests, plain_proxy},
};
use super::retry::shared_health::SharedHealth;
use crate::{
    config::{Config, Proxy},
    message::call::CallRequest,
    model::{call_kind::CallKind, error::Error, evaluation::Evaluation},
    shared::Shared,
};

/// A client of the API. It stays on one arbiter, as awc's client must.
pub(super) struct HttpClient {
    pooled: Requests,
    /// Opens a connection for each attempt.
    fresh: Requests,
    api_key: HeaderValue,
    /// The proxy that forwards plain HTTP, if any.
    proxy: Option<Proxy>,
    health: Arc<SharedHealth>,
    shared: Arc<Shared>,
    error_body_timeout: Duration,
}

/// The longest wait for the body of an error. It is short, because the status says what matters.
const MAX_ERROR_BODY_TIMEOUT: Duration = Duration::from_millis(250);

impl HttpClient {
    pub(super) fn new(
        config: &Config,
        tls: &Arc<ClientConfig>,
        shared: &Arc<Shared>,
        health: &Arc<SharedHealth>,
    ) -> Result<Rc<Self>, Error> {
        let mut api_key = HeaderValue::from_str(config.api_key()).map_err(|_| {
            let (value, rule) =
                ("[redacted]".to_owned(), "must be a valid header value".to_owned());
            Error::InvalidConfig { setting: "api_key", value, rule }
        })?;
        // Hides the key from awc, which logs request heads at TRACE.
        api_key.set_sensitive(true);
        let connections = ConnectionFactory::new(config, tls, shared);
        let requests = |connector| Requests::new(config, connector, &api_key);
        Ok(Rc::new(Self {
            pooled: requests(Connector::pooled(&connections))?,
            fresh: requests(Connector::single_use(&connections))?,
            api_key,
            proxy: plain_proxy(config).cloned(),
            health: Arc::clone(health),
            shared: Arc::clone(shared),
            error_body_timeout: MAX_ERROR_BODY_TIMEOUT.min(config.attempt_timeout() / 4),
        }))
    }

    /// Makes one attempt within `limit`: connects, sends, and reads headers and body.
    ///
    /// awc's own timeout excludes the body, so this timeout covers everything.
    pub(super) async fn attempt(
        &self,
        call: &CallRequest,
        fresh: bool,
        limit: Duration,
    ) -> Result<Vec<Option<Evaluation>>, Failure> {
        let path = call.kind.path();
        // Box the future, because each layer around it copies it at least once.
        let attempt = Box::pin(timeout(limit, self.exchange(call, fresh)));
        let (result, tracker) = track_reuse(attempt).await;
        let tracker = tracker.as_deref();
        let mut result =
            result.unwrap_or(Err(ExchangeError::Failed(Error::AttemptTimeout { limit })));
        if let (Ok(evaluations), Some(tracker)) = (&result, tracker)
            && self.omits_unexpectedly(call, evaluations, tracker)
        {
            tracker.discard();
            result = Err(ExchangeError::Suspect(misrouted(path)));
        }
        let result = reject_suspect(result, path, tracker, &self.shared);
        result.map_err(|error| error.into_failure(path, tracker))
    }

    /// Whether an answer over a reused connection omits a name that the server has never omitted in
    /// the first answer over a connection. Such an answer may belong to a request for fewer names.
    fn omits_unexpectedly(
        &self,
        call: &CallRequest,
        evaluations: &[Option<Evaluation>],
        tracker: &ReuseTracker,
    ) -> bool {
        let mut is_unexpected = false;
        for (name, evaluation) in call.names.iter().zip(evaluations) {
            if evaluation.is_none() {
                // No early return: `is_proof` remembers each name.
                is_unexpected |= self.health.known_omitted.is_proof(name, !tracker.is_reused());
            }
        }
        is_unexpected
    }

    async fn exchange(
        &self,
        call: &CallRequest,
        fresh: bool,
    ) -> Result<Vec<Option<Evaluation>>, ExchangeError> {
        let requests = if fresh { &self.fresh } else { &self.pooled };
        let body = wire::encode(call).map_err(|_| ExchangeError::Failed(UNENCODABLE))?;
        let response =
            requests.of(call.kind).send_body(body).await.map_err(ExchangeError::BeforeAnswer)?;

        let excerpts = Excerpts {
            call,
            api_key: self.api_key.to_str().unwrap_or_default(),
            has_proxy_credentials: self.proxy.as_ref().is_some_and(|p| p.authorization().is_some()),
        };
        self.read(response, &excerpts, fresh).await
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let check_gate = self.pooled.of(CallKind::CheckGate).get_uri();
        f.debug_struct("HttpClient").field("check_gate", check_gate).finish_non_exhaustive()
    }
}

const UNENCODABLE: Error = Error::Internal { detail: "a call could not be serialized as JSON" };

//! One attempt of a call over awc, within its limits of time and size.

mod answer;
mod body;
pub(super) mod connect;
pub(super) mod error;
mod excerpt;
mod failure;
mod foreign;
mod request;
mod response;
pub(crate) mod tls;
mod unpack;
pub(super) mod wire;

use std::{fmt, rc::Rc, sync::Arc, time::Duration};

use actix_rt::time::timeout;
use awc::http::header::HeaderValue;
use rustls::ClientConfig;

use self::{
    connect::{Connector, Link, Way, noting_link},
    error::{Broken, Failure, judged, of_another},
    excerpt::Excerpts,
    request::{Requests, plain_proxy},
};
use super::retry::upstream::Server;
use crate::{
    config::{Config, Proxy},
    message::call::CallRequest,
    model::{call_kind::CallKind, error::Error, evaluation::Evaluation},
    shared::Shared,
};

/// The API, over HTTP. Lives on one arbiter, as awc's client does.
pub(super) struct HttpClient {
    pooled: Requests,
    /// Keeps no connection, so that it opens one for each attempt.
    fresh: Requests,
    api_key: HeaderValue,
    /// The proxy that takes plain HTTP for us.
    proxy: Option<Proxy>,
    server: Arc<Server>,
    shared: Arc<Shared>,
    patience: Duration,
}

/// The longest that is waited for the body of an error, whose status has said what matters.
const ERROR_BODY_PATIENCE: Duration = Duration::from_millis(250);

impl HttpClient {
    pub(super) fn new(
        config: &Config,
        tls: &Arc<ClientConfig>,
        shared: &Arc<Shared>,
        server: &Arc<Server>,
    ) -> Result<Rc<Self>, Error> {
        let mut api_key = HeaderValue::from_str(config.api_key()).map_err(|_| {
            let (value, rule) = ("[redacted]".to_owned(), "must be a header's value".to_owned());
            Error::InvalidConfig { setting: "api_key", value, rule }
        })?;
        // awc logs request heads at TRACE.
        api_key.set_sensitive(true);
        let way = Way::new(config, tls, shared);
        let requests = |connector| Requests::new(config, connector, &api_key);
        Ok(Rc::new(Self {
            pooled: requests(Connector::keeping(&way))?,
            fresh: requests(Connector::fresh(&way))?,
            api_key,
            proxy: plain_proxy(config).cloned(),
            server: Arc::clone(server),
            shared: Arc::clone(shared),
            patience: ERROR_BODY_PATIENCE.min(config.attempt_timeout() / 4),
        }))
    }

    /// One attempt: connect, send, and read headers and body, all within `limit`.
    ///
    /// awc's own timeout leaves the body out, so there is one deadline around everything.
    pub(super) async fn attempt(
        &self,
        call: &CallRequest,
        fresh: bool,
        limit: Duration,
    ) -> Result<Vec<Option<Evaluation>>, Failure> {
        let path = call.kind.path();
        // In a box: each layer around a future copies it at least once.
        let attempt = Box::pin(timeout(limit, self.exchange(call, fresh)));
        let (result, link) = noting_link(attempt).await;
        let result = result.unwrap_or(Err(Broken::Error(Error::AttemptTimeout { limit })));
        let result = match (result, link.as_deref()) {
            (Ok(evaluations), Some(link)) if self.leaves_out_more(call, &evaluations, link) => {
                link.give_up();
                Err(Broken::Distrusted(of_another(path)))
            }
            (result, _) => result,
        };
        let result = judged(result, path, link.as_deref(), &self.shared);
        result.map_err(|broken| broken.failure(path, link.as_deref()))
    }

    /// Whether an answer over a reused connection leaves out a name that the server leaves out of no
    /// first answer, so that it may be the answer to a request for fewer.
    fn leaves_out_more(
        &self,
        call: &CallRequest,
        evaluations: &[Option<Evaluation>],
        link: &Link,
    ) -> bool {
        let mut is_sign = false;
        for (name, evaluation) in call.names.iter().zip(evaluations) {
            if evaluation.is_none() {
                // Each is to be remembered.
                is_sign |= self.server.left_out.is_proof(name, !link.is_reused());
            }
        }
        is_sign
    }

    async fn exchange(
        &self,
        call: &CallRequest,
        fresh: bool,
    ) -> Result<Vec<Option<Evaluation>>, Broken> {
        let requests = if fresh { &self.fresh } else { &self.pooled };
        let body = wire::encode(call).map_err(|_| Broken::Error(UNENCODABLE))?;
        let response =
            requests.of(call.kind).send_body(body).await.map_err(Broken::BeforeAnswer)?;

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

const UNENCODABLE: Error = Error::Internal { detail: "a call could not be written as JSON" };

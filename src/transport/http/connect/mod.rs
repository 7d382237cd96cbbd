//! The connections below awc: dialing, TLS, and the bytes that awc reads and writes.
//!
//! awc runs TLS above a custom connector, which would then see only ciphertext. So this connector
//! runs TLS itself, and awc gets the URL `http://host:443`.

mod chunked;
mod cooldown;
mod cooldown_pool;
mod dial;
mod framing;
mod request_line;
mod reuse_tracker;
mod socket;
mod stream;

use std::{future::poll_fn, rc::Rc, sync::Arc, task::Poll};

use actix_service::Service;
use actix_tls::connect::{ConnectError, ConnectInfo, Connection};
use awc::http::Uri;
use futures_util::future::LocalBoxFuture;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio_rustls::TlsConnector;

use self::{
    cooldown_pool::CooldownPool,
    dial::{Dialed, Dialer},
    socket::{Socket, Tcp},
    stream::{Options, Stream},
};
pub(super) use self::{
    dial::DialError,
    framing::FramingError,
    reuse_tracker::{ReuseTracker, track_reuse},
    stream::KEEP_ALIVE,
};
use super::tls::server_name;
use crate::{config::Config, shared::Shared};

/// Opens connections for awc.
#[derive(Clone)]
pub(super) struct Connector {
    connections: Rc<ConnectionFactory>,
    is_single_use: bool,
}

/// Opens connections to the API.
pub(super) struct ConnectionFactory {
    dialer: Dialer,
    /// `None` for plain HTTP.
    tls: Option<(TlsConnector, ServerName<'static>)>,
    shared: Arc<Shared>,
    cooldown_pool: Rc<CooldownPool>,
}

impl ConnectionFactory {
    pub(super) fn new(config: &Config, tls: &Arc<ClientConfig>, shared: &Arc<Shared>) -> Rc<Self> {
        let uri = config.uri();
        let is_tls = uri.scheme_str() == Some("https");
        // `tls::client_config` has refused a host that no certificate can name.
        let name = server_name(uri).filter(|_| is_tls);
        let tls = name.map(|name| (TlsConnector::from(Arc::clone(tls)), name));
        let (dialer, shared) = (Dialer::new(config), Arc::clone(shared));
        // As many connections as can be in use. The limit of open files allows two for each call.
        let max_size = config.max_in_flight().div_ceil(config.transports());
        Rc::new(Self { dialer, tls, shared, cooldown_pool: Rc::new(CooldownPool::new(max_size)) })
    }

    async fn open(&self, is_single_use: bool) -> Result<Stream, ConnectError> {
        if !is_single_use
            && let Some(stream) = poll_fn(|cx| Poll::Ready(self.cooldown_pool.take(cx))).await
        {
            return Ok(stream);
        }
        // Read the generation first: if connections are discarded while this one opens, it must be
        // discarded too.
        let generation = self.shared.connection_generation();
        let dialed = self.dialer.dial().await.map_err(|error| ConnectError::Io(error.into()))?;
        let Dialed { stream, absolute_form, mut address_guard } = dialed;
        let tcp = Tcp::new(stream);
        let socket = match &self.tls {
            None => Socket::Plain(tcp),
            Some((tls, name)) => {
                let stream = tls.connect(name.clone(), tcp).await.map_err(ConnectError::Io)?;
                Socket::Tls(Box::new(stream))
            }
        };
        address_guard.mark_working();
        let cooldown_pool = Rc::downgrade(&self.cooldown_pool);
        let options = Options { is_single_use, absolute_form, cooldown_pool };
        Ok(Stream::new(Some(socket), generation, Arc::clone(&self.shared), options))
    }
}

impl Connector {
    /// A connector whose connections are reused.
    pub(super) fn pooled(connections: &Rc<ConnectionFactory>) -> Self {
        Self { connections: Rc::clone(connections), is_single_use: false }
    }

    /// A connector whose connections serve one request each.
    pub(super) fn single_use(connections: &Rc<ConnectionFactory>) -> Self {
        Self { connections: Rc::clone(connections), is_single_use: true }
    }
}

impl Service<ConnectInfo<Uri>> for Connector {
    type Response = Connection<Uri, Stream>;
    type Error = ConnectError;
    type Future = LocalBoxFuture<'static, Result<Self::Response, Self::Error>>;

    actix_service::always_ready!();

    fn call(&self, request: ConnectInfo<Uri>) -> Self::Future {
        let Self { connections, is_single_use } = self.clone();
        Box::pin(async move {
            let stream = connections.open(is_single_use).await?;
            Ok(Connection::new(request.request().clone(), stream))
        })
    }
}

/// Returns the bytes that awc would see, and whether the connection could be reused.
#[cfg(feature = "test-util")]
pub(crate) fn frame<'a>(
    parts: impl IntoIterator<Item = &'a [u8]>,
) -> Result<(Vec<u8>, bool), String> {
    let (mut framing, mut out) = (framing::Framing::new(), Vec::new());
    for part in parts {
        framing.read(part, &mut out).map_err(|fault| fault.to_string())?;
    }
    Ok((out, framing.is_complete() && !framing.is_ambiguous()))
}

/// Returns the URL for awc, which must not do TLS again.
pub(super) fn without_tls(uri: &Uri) -> Uri {
    let https = uri.scheme_str() == Some("https");
    let (Some(authority), true) = (uri.authority(), https) else { return uri.clone() };
    let authority = match uri.port_u16() {
        Some(_) => authority.to_string(),
        None => format!("{}:443", authority.host()),
    };
    let mut parts = uri.clone().into_parts();
    (parts.scheme, parts.authority) =
        (Some("http".parse().expect("a scheme")), authority.parse().ok());
    Uri::from_parts(parts).unwrap_or_else(|_| uri.clone())
}

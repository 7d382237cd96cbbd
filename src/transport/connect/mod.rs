//! The way to the API: addresses, TLS, and what awc is given to speak over.
//!
//! awc would do TLS above a connector of ours, so that whatever stands in the connector would see
//! ciphertext. The connector therefore does TLS itself, and awc is asked for `http://host:443`.

mod dial;
mod reuse;
mod socket;

use std::{rc::Rc, sync::Arc};

use actix_service::Service;
use actix_tls::connect::{ConnectError, ConnectInfo, Connection};
use awc::http::Uri;
use futures_util::future::LocalBoxFuture;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio_rustls::TlsConnector;

pub(super) use self::{dial::DialError, reuse::noting_reuse};
use self::{
    dial::{Dialed, Dialer},
    socket::Socket,
};
use crate::config::Config;

/// Opens connections for awc.
#[derive(Clone)]
pub(super) struct Connector {
    way: Rc<Way>,
}

/// How a connection to the API is made.
pub(super) struct Way {
    dialer: Dialer,
    /// `None` for plain HTTP.
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Way {
    pub(super) fn new(config: &Config, tls: &Arc<ClientConfig>) -> Rc<Self> {
        let uri = config.uri();
        let is_tls = uri.scheme_str() == Some("https");
        // `tls::client_config` has refused a host that no certificate can be for.
        let name = ServerName::try_from(uri.host().unwrap_or_default().to_owned()).ok();
        let tls = name.filter(|_| is_tls).map(|name| (TlsConnector::from(Arc::clone(tls)), name));
        Rc::new(Self { dialer: Dialer::new(config), tls })
    }

    async fn open(&self) -> Result<Socket, ConnectError> {
        let dialed = self.dialer.dial().await.map_err(|error| ConnectError::Io(error.into()))?;
        let Dialed { stream, absolute_form: _, mut trial } = dialed;
        let Some((tls, name)) = &self.tls else {
            trial.passed();
            return Ok(Socket::Plain(stream));
        };
        let stream = tls.connect(name.clone(), stream).await.map_err(ConnectError::Io)?;
        trial.passed();
        Ok(Socket::Tls(Box::new(stream)))
    }
}

impl Connector {
    pub(super) fn new(way: &Rc<Way>) -> Self {
        Self { way: Rc::clone(way) }
    }
}

impl Service<ConnectInfo<Uri>> for Connector {
    type Response = Connection<Uri, Socket>;
    type Error = ConnectError;
    type Future = LocalBoxFuture<'static, Result<Self::Response, Self::Error>>;

    actix_service::always_ready!();

    fn call(&self, request: ConnectInfo<Uri>) -> Self::Future {
        reuse::connected();
        let way = Rc::clone(&self.way);
        Box::pin(async move {
            let socket = way.open().await?;
            Ok(Connection::new(request.request().clone(), socket))
        })
    }
}

/// The URL to ask awc for, which must not do TLS again.
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

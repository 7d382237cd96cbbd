//! From the base URL to a TCP connection.

use std::rc::Rc;

use actix_rt::net::TcpStream;
use actix_service::Service;
use actix_tls::connect::{self, ConnectError, ConnectInfo};

use crate::config::Config;

/// Connects to the host of the base URL.
pub(super) struct Dialer {
    host: String,
    port: u16,
}

/// A connection, over which nothing has been sent to the API.
pub(super) struct Dialed {
    pub(super) stream: TcpStream,
    /// `http://host:port`, for a proxy that takes requests in absolute form.
    pub(super) absolute_form: Option<Rc<str>>,
}

impl Dialer {
    pub(super) fn new(config: &Config) -> Self {
        let uri = config.uri();
        let default = if uri.scheme_str() == Some("https") { 443 } else { 80 };
        let host = uri.host().unwrap_or_default().to_owned();
        Self { host, port: uri.port_u16().unwrap_or(default) }
    }

    pub(super) async fn dial(&self) -> Result<Dialed, ConnectError> {
        let info = ConnectInfo::new(format!("{}:{}", self.host, self.port));
        let connected = connect::Connector::default().service().call(info).await?;
        Ok(Dialed { stream: connected.into_parts().0, absolute_form: None })
    }
}

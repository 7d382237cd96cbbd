//! Opens a TCP connection to the base URL's host, directly or through a proxy.

mod addresses;
mod error;
mod race;
mod resolve;
#[cfg(test)]
mod tests;
mod tunnel;

use std::{
    cell::RefCell,
    io,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::Arc,
};

use actix_rt::net::TcpStream;
use tokio::io::{AsyncRead, AsyncWrite};

pub(crate) use self::error::DialError;
use self::{addresses::AddressHistory, race::race, resolve::Resolver};
use crate::config::{Config, Proxy};

/// Connects to the host of the base URL. Resolves its name anew for each connection.
pub(super) struct Dialer<N = System> {
    host: String,
    port: u16,
    is_tls: bool,
    proxy: Option<Proxy>,
    network: N,
    history: Rc<RefCell<AddressHistory>>,
}

/// A connection over which no request has been sent.
#[derive(Debug)]
pub(super) struct Dialed<S = TcpStream> {
    pub(super) stream: S,
    /// `http://host:port`, for a proxy that expects requests in absolute form.
    pub(super) absolute_form: Option<Rc<str>>,
    pub(super) address_guard: AddressGuard,
}

/// Counts the address as failed when dropped, unless it was [marked as
/// working](Self::mark_working): a server may accept connections without serving them.
#[derive(Debug)]
pub(super) struct AddressGuard {
    address: Option<SocketAddr>,
    history: Rc<RefCell<AddressHistory>>,
}

impl AddressGuard {
    /// Records that the server at the address has answered in the expected protocol.
    pub(super) fn mark_working(&mut self) {
        self.address = None;
    }
}

impl Drop for AddressGuard {
    fn drop(&mut self) {
        if let Some(address) = self.address {
            self.history.borrow_mut().on_failure(address);
        }
    }
}

/// The resolver and the sockets, which tests replace.
pub(super) trait Network {
    type Stream: AsyncRead + AsyncWrite + Unpin;

    fn resolve(
        &self,
        host: &str,
        port: u16,
    ) -> impl Future<Output = Result<Vec<SocketAddr>, Arc<io::Error>>>;

    fn connect(&self, address: SocketAddr) -> impl Future<Output = io::Result<Self::Stream>>;
}

impl Dialer {
    pub(super) fn new(config: &Config) -> Self {
        Self::over(config, System(Resolver::system()))
    }
}

impl<N: Network> Dialer<N> {
    fn over(config: &Config, network: N) -> Self {
        let uri = config.uri();
        let is_tls = uri.scheme_str() == Some("https");
        Self {
            host: uri.host().unwrap_or_default().to_owned(),
            port: uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 }),
            is_tls,
            proxy: config.proxy_choice().proxy.clone(),
            network,
            history: Rc::default(),
        }
    }

    pub(super) async fn dial(&self) -> Result<Dialed<N::Stream>, DialError> {
        let Some(proxy) = &self.proxy else { return self.connect(&self.host, self.port).await };
        let connected = self.connect(proxy.host(), proxy.port()).await;
        let mut dialed = connected.map_err(|error| DialError::ProxyUnreachable {
            proxy: proxy.to_string(),
            source: Box::new(error),
        })?;
        if self.is_tls {
            let target = format!("{}:{}", self.host, self.port);
            let opened = tunnel::open(&mut dialed.stream, proxy, &target).await;
            opened.map_err(|problem| DialError::Proxy { proxy: proxy.to_string(), problem })?;
            // Later failures are not the proxy's fault.
            dialed.address_guard.mark_working();
        } else {
            let port = if self.port == 80 { String::new() } else { format!(":{}", self.port) };
            dialed.absolute_form = Some(format!("http://{}{port}", self.host).into());
        }
        Ok(dialed)
    }

    async fn connect(&self, host: &str, port: u16) -> Result<Dialed<N::Stream>, DialError> {
        let resolved = match literal_address(host) {
            Some(ip) => vec![SocketAddr::new(ip, port)],
            None => self
                .network
                .resolve(host, port)
                .await
                .map_err(|source| DialError::Resolve { host: host.to_owned(), source })?,
        };
        if resolved.is_empty() {
            return Err(DialError::NoAddresses { host: host.to_owned() });
        }
        let connected = race(&resolved, &self.history, |address| self.network.connect(address));
        let (address, stream) = connected.await.map_err(|failures| DialError::Unreachable {
            host: format!("{host}:{port}"),
            failures,
        })?;
        let address_guard =
            AddressGuard { address: Some(address), history: Rc::clone(&self.history) };
        Ok(Dialed { stream, absolute_form: None, address_guard })
    }
}

/// Returns the host's address if the host is not a name. A URL has brackets around an IPv6 address.
fn literal_address(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    bare.parse().ok()
}

/// The system's resolver and sockets.
pub(super) struct System(Resolver);

impl Network for System {
    type Stream = TcpStream;

    async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, Arc<io::Error>> {
        self.0.resolve(host, port).await
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(address).await?;
        // Requests are written whole, so Nagle's algorithm would only delay them.
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }
}

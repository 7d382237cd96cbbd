//! The addresses that the relay listens on.

#[cfg(unix)]
pub(crate) mod unix;

#[cfg(unix)]
use std::os::unix::net::UnixListener;
use std::{
    io,
    net::{SocketAddr, TcpListener, ToSocketAddrs},
    path::PathBuf,
};

use tokio::net::TcpSocket;

#[cfg(unix)]
use self::unix::SocketFile;

/// The most connections that wait to be accepted.
pub(crate) const BACKLOG: u32 = 1024;

/// The place to listen.
#[derive(Debug, PartialEq)]
pub(crate) enum ListenAddress {
    /// Each of these addresses.
    Addresses(Vec<SocketAddr>),
    /// A Unix socket.
    Path(PathBuf),
}

impl ListenAddress {
    /// Parses `ADDRESS:PORT` or `unix:PATH`. A name is resolved.
    pub(crate) fn parse(text: &str) -> io::Result<Self> {
        match text.strip_prefix("unix:") {
            Some(_) if !cfg!(unix) => Err(io::ErrorKind::Unsupported.into()),
            Some("") => {
                Err(io::Error::new(io::ErrorKind::InvalidInput, "expected a path after unix:"))
            }
            Some(path) => Ok(Self::Path(path.into())),
            None => Ok(Self::Addresses(text.to_socket_addrs()?.collect())),
        }
    }

    /// Listens. A Unix socket's file gets these permissions.
    pub(crate) fn bind(&self, socket_mode: u32) -> io::Result<Vec<Listener>> {
        match self {
            Self::Addresses(addresses) => {
                Ok(bind(addresses)?.into_iter().map(Listener::Tcp).collect())
            }
            #[cfg(unix)]
            Self::Path(path) => {
                let (listener, file) = unix::listen(path, socket_mode)?;
                Ok(vec![Listener::Unix(listener, file)])
            }
            #[cfg(not(unix))]
            Self::Path(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Returns the network addresses; a Unix socket has none.
    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        match self {
            Self::Addresses(addresses) => addresses,
            Self::Path(_) => &[],
        }
    }
}

/// A socket that listens.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixListener, SocketFile),
}

impl Listener {
    /// Returns the URL for clients.
    pub(crate) fn url(&self) -> io::Result<String> {
        match self {
            Self::Tcp(listener) => Ok(format!("http://{}", listener.local_addr()?)),
            #[cfg(unix)]
            Self::Unix(_, file) => Ok(format!("unix:{}", file.path().display())),
        }
    }
}

/// Listens on each address; a name may have several.
///
/// An address in use is an error even if others are free, because some clients would reach the
/// other process. An address that this machine lacks is skipped, unless it is the only one.
fn bind(addresses: &[SocketAddr]) -> io::Result<Vec<TcpListener>> {
    let (mut bound, mut absent) = (Vec::new(), None);
    for address in addresses {
        match listen(*address) {
            Ok(listener) => bound.push(listener),
            Err(error) if is_absent(&error) => absent = Some(error),
            Err(error) => return Err(error),
        }
    }
    match absent {
        Some(error) if bound.is_empty() => Err(error),
        _ => Ok(bound),
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    // A machine without IPv6 has no such address.
    let socket = socket.map_err(|error| io::Error::new(io::ErrorKind::AddrNotAvailable, error))?;
    // Lets a relay start where another has just ended. On systems other than Unix, the option means
    // something else.
    socket.set_reuseaddr(cfg!(unix))?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

fn is_absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_web::test]
    async fn one_taken_address_is_an_error() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let _taken = TcpListener::bind(taken).unwrap();
        let free = SocketAddr::new("127.0.0.2".parse().unwrap(), taken.port());
        for addresses in [[taken, free], [free, taken]] {
            assert_eq!(bind(&addresses).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        }
    }

    #[actix_web::test]
    async fn address_this_machine_lacks_is_skipped_if_another_works() {
        let absent = "192.0.2.1:0".parse().unwrap();
        let bound = bind(&[absent, "127.0.0.1:0".parse().unwrap()]).unwrap();
        assert_eq!(bound.len(), 1);
        assert!(bound[0].local_addr().unwrap().ip().is_loopback());
        assert_eq!(bind(&[absent]).unwrap_err().kind(), io::ErrorKind::AddrNotAvailable);
    }
}

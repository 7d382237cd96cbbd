//! The sockets that clients connect to.

use actix_web::rt::net::TcpStream;
use tokio::io::{AsyncRead, AsyncWrite};

use super::handle::Peer;

/// A connected socket.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Unpin + 'static {
    /// Returns the other end.
    fn peer(&self) -> Peer;

    /// Makes a drop reset the connection. Unsent bytes are discarded.
    fn abort(&self);
}

impl Socket for TcpStream {
    fn peer(&self) -> Peer {
        self.peer_addr().map_or(Peer::Unknown, Peer::At)
    }

    fn abort(&self) {
        // An error means that the client may have closed the connection already.
        let _ = self.set_zero_linger();
    }
}

#[cfg(unix)]
impl Socket for tokio::net::UnixStream {
    fn peer(&self) -> Peer {
        Peer::ThisMachine
    }

    /// Does nothing, because the system keeps no bytes of a dropped Unix socket.
    fn abort(&self) {}
}

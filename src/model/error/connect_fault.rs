//! The kinds of connection failure.

use thiserror::Error as ThisError;

/// The kind of failure of an [`Error::Connect`](crate::Error::Connect).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ThisError)]
#[non_exhaustive]
pub enum ConnectFault {
    /// The host name could not be resolved.
    #[error("the host name could not be resolved")]
    Resolve,
    /// Nothing listens at the address.
    #[error("the connection was refused")]
    Refused,
    /// The connection was closed or reset before the answer was complete.
    #[error("the connection was closed before the answer was complete")]
    Closed,
    /// The server's certificate has expired or is not valid yet.
    #[error("the server's certificate has expired or is not valid yet")]
    CertificateExpired,
    /// The server's certificate is for another host.
    #[error("the server's certificate is for another host")]
    CertificateWrongHost,
    /// The server's certificate is signed by an untrusted authority.
    #[error("the server's certificate is signed by an untrusted authority")]
    CertificateUntrusted,
    /// Any other failure of the TLS handshake.
    #[error("the TLS handshake failed")]
    Tls,
    /// The proxy could not be reached, or refused to connect to the server.
    #[error("the proxy could not be reached or refused to connect")]
    Proxy,
    /// Any other failure of the connection.
    #[error("an I/O error")]
    Io,
}

impl ConnectFault {
    /// Returns `true` if the server's certificate or the TLS handshake failed. Another attempt would
    /// fail the same way.
    pub fn is_tls(self) -> bool {
        matches!(
            self,
            Self::CertificateExpired
                | Self::CertificateWrongHost
                | Self::CertificateUntrusted
                | Self::Tls
        )
    }
}

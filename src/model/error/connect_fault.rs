//! What kind of connection failure it was.

use thiserror::Error as ThisError;

/// What kind of connection failure [`Error::Connect`](crate::Error::Connect) was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ThisError)]
#[non_exhaustive]
pub enum ConnectFault {
    /// The host's name could not be resolved.
    #[error("the host name could not be resolved")]
    Resolve,
    /// Nobody listens at the address.
    #[error("the connection was refused")]
    Refused,
    /// The connection was closed or reset before the answer was complete.
    #[error("the connection was closed before the answer was complete")]
    Closed,
    /// The server's certificate has expired or is not valid yet.
    #[error("the server's certificate is outside its time of validity")]
    CertificateExpired,
    /// The server's certificate is for another host.
    #[error("the server's certificate is for another host")]
    CertificateWrongHost,
    /// The server's certificate was issued by nobody who is trusted here.
    #[error("the server's certificate was issued by nobody who is trusted here")]
    CertificateUntrusted,
    /// Any other failure of the TLS handshake.
    #[error("the TLS handshake failed")]
    Tls,
    /// The proxy could not be reached, or did not connect to the server.
    #[error("the proxy could not be reached or refused to connect")]
    Proxy,
    /// Any other failure of the connection.
    #[error("input or output failed")]
    Io,
}

impl ConnectFault {
    /// Whether the fault lies in the server's certificate or TLS set-up, which another attempt
    /// does not change.
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

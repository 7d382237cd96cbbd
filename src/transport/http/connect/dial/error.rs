//! Errors of dialing.

use std::{io, sync::Arc};

use awc::http::StatusCode;
use thiserror::Error as ThisError;

use super::race::{Failures, most_specific};
use crate::model::error::ConnectFault;

/// Why there is no connection to the API's host, or to the proxy in front of it. The text includes
/// the source's text, because later conversions drop the source.
#[derive(Debug, ThisError)]
pub(crate) enum DialError {
    #[error("could not resolve {host}: {source}")]
    Resolve { host: String, source: Arc<io::Error> },
    #[error("{host} resolves to no address")]
    NoAddresses { host: String },
    #[error("could not connect to {host}: {}", list(.failures))]
    Unreachable { host: String, failures: Failures },
    #[error("could not reach the proxy {proxy}: {source}")]
    ProxyUnreachable { proxy: String, source: Box<DialError> },
    #[error("the proxy {proxy} {problem}")]
    Proxy { proxy: String, problem: TunnelError },
}

/// What a proxy did instead of connecting to the API's host.
#[derive(Debug, ThisError)]
pub(crate) enum TunnelError {
    #[error("answered {status}{} to CONNECT {target}", explain(*.status, *.hint))]
    Status { status: u16, hint: Option<&'static str>, target: String },
    #[error("answered CONNECT with something other than HTTP/1.1 ({0})")]
    NotHttp(httparse::Error),
    #[error("answered CONNECT with a head longer than {0} bytes")]
    TooLong(usize),
    #[error("closed the connection before answering CONNECT")]
    Closed,
    #[error("sent {0} unexpected bytes after its answer to CONNECT")]
    ExtraBytes(usize),
    #[error("failed before answering CONNECT: {0}")]
    Io(#[from] io::Error),
}

impl DialError {
    pub(crate) fn fault(&self) -> ConnectFault {
        match self {
            Self::Resolve { .. } | Self::NoAddresses { .. } => ConnectFault::Resolve,
            Self::Unreachable { failures, .. } => match most_specific(failures) {
                Some(io::ErrorKind::ConnectionRefused) => ConnectFault::Refused,
                // A server that stops listening resets connections that it has not accepted.
                Some(io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted) => {
                    ConnectFault::Closed
                }
                _ => ConnectFault::Io,
            },
            Self::ProxyUnreachable { .. } | Self::Proxy { .. } => ConnectFault::Proxy,
        }
    }
}

/// awc passes on a connector's `io::Error` unchanged.
impl From<DialError> for io::Error {
    fn from(error: DialError) -> Self {
        Self::other(error)
    }
}

fn list(failures: &Failures) -> String {
    let failures: Vec<_> =
        failures.iter().map(|(address, error)| format!("{address}: {error}")).collect();
    failures.join("; ")
}

/// Describes a status with its standard reason. The proxy's own reason may echo secrets from the
/// request.
fn explain(status: u16, hint: Option<&str>) -> String {
    let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    let reason = reason.map_or_else(String::new, |reason| format!(" {reason}"));
    let hint = hint.map_or_else(String::new, |hint| format!(" ({hint})"));
    reason + &hint
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reset_while_connecting_is_a_closed_connection() {
        use io::ErrorKind::{ConnectionAborted, ConnectionReset, NetworkUnreachable};
        for (kind, fault) in [
            (ConnectionReset, ConnectFault::Closed),
            (ConnectionAborted, ConnectFault::Closed),
            (NetworkUnreachable, ConnectFault::Io),
        ] {
            let failures = vec![(([10, 0, 0, 1], 443).into(), kind.into())];
            let error = DialError::Unreachable { host: "statsig.test:443".to_owned(), failures };
            assert_eq!(error.fault(), fault, "{error}");
        }
    }

    #[test]
    fn each_address_and_its_failure_stands_in_the_text() {
        let failures = vec![
            (([10, 0, 0, 1], 443).into(), io::ErrorKind::NetworkUnreachable.into()),
            (([10, 0, 0, 2], 443).into(), io::ErrorKind::ConnectionRefused.into()),
        ];
        let error = DialError::Unreachable { host: "api.statsig.com:443".to_owned(), failures };
        assert_eq!(error.fault(), ConnectFault::Refused);
        assert_eq!(
            error.to_string(),
            "could not connect to api.statsig.com:443: \
             10.0.0.1:443: network unreachable; 10.0.0.2:443: connection refused"
        );
        let source = Box::new(error);
        let error = DialError::ProxyUnreachable { proxy: "proxy:3128".to_owned(), source };
        assert_eq!(error.fault(), ConnectFault::Proxy);
        assert!(error.to_string().starts_with("could not reach the proxy proxy:3128: could not"));
    }
}

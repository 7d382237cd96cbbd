//! How dialing fails.

use std::{io, sync::Arc};

use awc::http::StatusCode;
use thiserror::Error as ThisError;

use super::race::{Failures, most_telling};
use crate::model::error::ConnectFault;

/// Why there is no connection to the API's host or to the proxy before it. Its text is whole: what
/// is made of it further up keeps the text alone.
#[derive(Debug, ThisError)]
pub(in crate::transport) enum DialError {
    #[error("{host} could not be resolved: {source}")]
    Resolve { host: String, source: Arc<io::Error> },
    #[error("{host} has no addresses")]
    NoAddresses { host: String },
    #[error("nothing could be connected to at {host}: {}", each(.failures))]
    Unreachable { host: String, failures: Failures },
    #[error("the proxy {proxy} could not be reached: {source}")]
    ProxyUnreachable { proxy: String, source: Box<DialError> },
    #[error("the proxy {proxy} {problem}")]
    Proxy { proxy: String, problem: TunnelError },
}

/// What a proxy does instead of connecting to the API's host.
#[derive(Debug, ThisError)]
pub(in crate::transport) enum TunnelError {
    #[error("answered {status}{} to CONNECT {target}", explained(*.status, *.hint))]
    Status { status: u16, hint: Option<&'static str>, target: String },
    #[error("answered something that is not HTTP/1.1 to CONNECT ({0})")]
    NotHttp(httparse::Error),
    #[error("answered CONNECT with a head longer than {0} bytes")]
    TooLong(usize),
    #[error("closed the connection before it had answered CONNECT")]
    Closed,
    #[error("sent {0} bytes of its own behind its answer to CONNECT")]
    Surplus(usize),
    #[error("broke the connection before it had answered CONNECT: {0}")]
    Io(#[from] io::Error),
}

impl DialError {
    pub(in crate::transport) fn fault(&self) -> ConnectFault {
        match self {
            Self::Resolve { .. } | Self::NoAddresses { .. } => ConnectFault::Resolve,
            Self::Unreachable { failures, .. } => match most_telling(failures) {
                Some(io::ErrorKind::ConnectionRefused) => ConnectFault::Refused,
                // Who stops listening resets what waits to be accepted.
                Some(io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted) => {
                    ConnectFault::Closed
                }
                _ => ConnectFault::Io,
            },
            Self::ProxyUnreachable { .. } | Self::Proxy { .. } => ConnectFault::Proxy,
        }
    }
}

/// awc hands an error of a connector on as it is if it is one of input or output.
impl From<DialError> for io::Error {
    fn from(error: DialError) -> Self {
        Self::other(error)
    }
}

fn each(failures: &Failures) -> String {
    let each: Vec<_> =
        failures.iter().map(|(address, error)| format!("{address}: {error}")).collect();
    each.join("; ")
}

/// The status in words of our own: a stranger's may repeat what it was sent.
fn explained(status: u16, hint: Option<&str>) -> String {
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
            "nothing could be connected to at api.statsig.com:443: \
             10.0.0.1:443: network unreachable; 10.0.0.2:443: connection refused"
        );
        let source = Box::new(error);
        let error = DialError::ProxyUnreachable { proxy: "proxy:3128".to_owned(), source };
        assert_eq!(error.fault(), ConnectFault::Proxy);
        assert!(
            error.to_string().starts_with("the proxy proxy:3128 could not be reached: nothing")
        );
    }
}

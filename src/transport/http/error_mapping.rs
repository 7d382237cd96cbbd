//! Maps statuses and awc's errors to [`Error`].

use std::{
    fmt, io,
    sync::Arc,
    time::{Duration, SystemTime},
};

use actix_http::error::ParseError;
use awc::{
    error::{ConnectError, PayloadError, SendRequestError},
    http::{
        StatusCode,
        header::{HeaderMap, RETRY_AFTER},
    },
};
use rustls::CertificateError;

use super::connect::{DialError, FramingError};
use crate::model::error::{ConnectFault, Error};

pub(super) fn status_error(
    status: StatusCode,
    path: &'static str,
    retry_after: Option<Duration>,
    excerpt: impl FnOnce() -> String,
) -> Error {
    let code = status.as_u16();
    match code {
        401 | 403 => Error::Unauthorized { path, status: code },
        408 | 429 | 500..=599 => Error::Unavailable { path, status: code, retry_after },
        _ => Error::Refused { path, status: code, excerpt: excerpt() },
    }
}

/// Reads `Retry-After`: whole seconds or an HTTP date. Anything else counts as absent.
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number that overflows becomes `u64::MAX`.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let at = httpdate::parse_http_date(text).ok()?;
    Some(at.duration_since(now).unwrap_or_default())
}

pub(super) fn payload_error(error: PayloadError, path: &'static str) -> Error {
    match error {
        PayloadError::Overflow => Error::InvalidResponse {
            path,
            reason: "the body is longer than 2 MiB".to_owned(),
            excerpt: String::new(),
        },
        PayloadError::EncodingCorrupted => Error::InvalidResponse {
            path,
            reason: "the body's gzip data is corrupt".to_owned(),
            excerpt: String::new(),
        },
        PayloadError::Incomplete(Some(error)) => match framing_error(&error) {
            None | Some(FramingError::Truncated(_)) => connect_error(ConnectFault::Closed, &error),
            Some(fault) => malformed(fault, path),
        },
        broken => connect_error(ConnectFault::Closed, &broken),
    }
}

/// Whether an established connection was closed or reset.
pub(super) fn is_closed(error: &SendRequestError) -> bool {
    match error {
        SendRequestError::Connect(ConnectError::Disconnected) => true,
        SendRequestError::Send(error) => is_closed_io(error),
        SendRequestError::Response(ParseError::Incomplete) => true,
        SendRequestError::Response(ParseError::Io(error)) => is_closed_io(error),
        _ => false,
    }
}

fn is_closed_io(error: &io::Error) -> bool {
    use io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof,
    };
    matches!(
        error.kind(),
        BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof
    )
}

/// Maps an awc error. An awc error is not `Send` and has no source, so its kind and text are
/// copied.
pub(super) fn send_error(error: SendRequestError, path: &'static str) -> Error {
    let fault = match &error {
        error if is_closed(error) => ConnectFault::Closed,
        SendRequestError::Connect(connect) => match connect {
            ConnectError::Resolver(_) | ConnectError::NoRecords | ConnectError::Unresolved => {
                ConnectFault::Resolve
            }
            ConnectError::Io(error) => io_fault(error),
            _ => ConnectFault::Io,
        },
        // `Response(Io)` may be a failed handshake: in TLS 1.3, a server may refuse a client after
        // the client has finished its part.
        SendRequestError::Send(error) | SendRequestError::Response(ParseError::Io(error)) => {
            match framing_error(error) {
                None => io_fault(error),
                Some(FramingError::Truncated(_)) => ConnectFault::Closed,
                Some(fault) => return malformed(fault, path),
            }
        }
        SendRequestError::Response(error) => {
            let reason = format!("not an HTTP response ({error})");
            return Error::InvalidResponse { path, reason, excerpt: String::new() };
        }
        _ => ConnectFault::Io,
    };
    connect_error(fault, &error)
}

pub(super) fn connect_error(fault: ConnectFault, source: &dyn fmt::Display) -> Error {
    Error::Connect { fault, source: Arc::new(io::Error::other(source.to_string())) }
}

fn io_fault(error: &io::Error) -> ConnectFault {
    if let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<DialError>()) {
        return error.fault();
    }
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(certificate)) => match certificate {
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => ConnectFault::CertificateExpired,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                ConnectFault::CertificateWrongHost
            }
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                ConnectFault::CertificateUntrusted
            }
            _ => ConnectFault::Tls,
        },
        Some(_) => ConnectFault::Tls,
        None if error.kind() == io::ErrorKind::ConnectionRefused => ConnectFault::Refused,
        None if is_closed_io(error) => ConnectFault::Closed,
        None => ConnectFault::Io,
    }
}

fn malformed(fault: FramingError, path: &'static str) -> Error {
    let (reason, excerpt) = (fault.to_string(), String::new());
    Error::InvalidResponse { path, reason, excerpt }
}

fn framing_error(error: &io::Error) -> Option<FramingError> {
    error.get_ref()?.downcast_ref().copied()
}

#[cfg(test)]
mod tests {
    use awc::http::header::HeaderValue;

    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date_and_rubbish_is_ignored() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777 - 5);
        let read = |value| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static(value));
            retry_after(&headers, now)
        };

        assert_eq!(read("120"), Some(Duration::from_secs(120)));
        assert_eq!(read("0"), Some(Duration::ZERO));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::from_secs(5)));
        assert_eq!(read("Sun, 06 Nov 1983 08:49:37 GMT"), Some(Duration::ZERO));
        assert_eq!(read("99999999999999999999999"), Some(Duration::from_secs(u64::MAX)));
        for rubbish in ["", "soon", "-1", "+1", "1.5"] {
            assert_eq!(read(rubbish), None, "{rubbish}");
        }
    }

    #[test]
    fn status_tells_key_call_and_server_faults_apart() {
        let of = |code| {
            let status = StatusCode::from_u16(code).unwrap();
            status_error(status, "/v1/check_gate", None, || "why".to_owned()).kind().as_str()
        };
        for (kind, codes) in [
            ("unauthorized", &[401, 403][..]),
            ("unavailable", &[408, 429, 500, 502, 503, 504, 599]),
            ("refused", &[400, 409, 413, 415]),
        ] {
            for code in codes {
                assert_eq!(of(*code), kind, "{code}");
            }
        }
    }
}

//! Reading an answer: the evaluations it has, or why it has none.

use std::time::Duration;

use actix_rt::time::timeout;
use awc::{
    ClientResponse,
    error::PayloadError,
    http::{
        StatusCode,
        header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap, TRANSFER_ENCODING},
    },
};
use futures_util::{Stream, StreamExt};
use serde_json::error::Category;

use super::{
    HttpClient, body,
    error::{ExchangeError, misrouted},
    error_mapping::{connect_error, payload_error, retry_after, status_error},
    excerpt::Excerpts,
    intermediary::{ResponseHead, strip_bom},
    mismatch::mismatched_names,
    unpack::{UnpackError, unpack, unpack_beginning},
    wire::{self, Decoded},
};
use crate::{
    message::call::CallRequest,
    model::{
        error::{ConnectFault, Error},
        evaluation::Evaluation,
    },
    rt::clock,
};

/// The longest answer that is read, in bytes.
const MAX_BODY: usize = 2 * 1024 * 1024;

/// The longest body of an error that is looked at, in bytes.
const MAX_ERROR_BODY: usize = 16 * 1024;

impl HttpClient {
    /// What an answer says.
    pub(super) async fn read<S, B: AsRef<[u8]>>(
        &self,
        response: ClientResponse<S>,
        excerpts: &Excerpts<'_>,
        fresh: bool,
    ) -> Result<Vec<Option<Evaluation>>, ExchangeError>
    where
        ClientResponse<S>: Stream<Item = Result<B, PayloadError>> + Unpin,
    {
        let head = ResponseHead::of(response.status().as_u16(), response.headers());
        let (status, headers) = (response.status(), response.headers());
        if !status.is_success() || matches!(status.as_u16(), 204 | 205) {
            let retry_after = retry_after(headers, clock::wall());
            let error = self.refusal(&head, status, retry_after, response, excerpts).await;
            return Err(ExchangeError::Failed(error));
        }
        let (length, encoding) = (content_length(headers), unsupported_encoding(headers));
        self.evaluations(&head, length, encoding, response, excerpts, fresh).await
    }

    /// Why there is no answer.
    async fn refusal<B: AsRef<[u8]>, E>(
        &self,
        head: &ResponseHead,
        status: StatusCode,
        retry_after: Option<Duration>,
        body: impl Stream<Item = Result<B, E>> + Unpin,
        excerpts: &Excerpts<'_>,
    ) -> Error {
        if let Some(proxy) = &self.proxy
            && status == StatusCode::PROXY_AUTHENTICATION_REQUIRED
        {
            return connect_error(ConnectFault::Proxy, &proxy.wants_credentials());
        }
        let path = excerpts.call.kind.path();
        // Read to the end where it is short, so that the connection can be used again.
        let body = unpack_beginning(self.read_beginning(body).await, MAX_ERROR_BODY);
        head.intermediary(path, &body)
            .unwrap_or_else(|| status_error(status, path, retry_after, || excerpts.of(&body)))
    }

    /// What the body of an answer says.
    async fn evaluations<B: AsRef<[u8]>>(
        &self,
        head: &ResponseHead,
        length: Option<usize>,
        encoding: Option<&'static str>,
        body: impl Stream<Item = Result<B, PayloadError>> + Unpin,
        excerpts: &Excerpts<'_>,
        fresh: bool,
    ) -> Result<Vec<Option<Evaluation>>, ExchangeError> {
        let (call, path) = (excerpts.call, excerpts.call.kind.path());
        let long = &self.shared.long_bodies;
        let body = body::read(body, length, MAX_BODY, long, &call.user).await;
        let unread = |error| {
            // A page may be longer than any answer.
            let is_long = matches!(error, PayloadError::Overflow);
            let page = is_long.then(|| head.intermediary(path, b"")).flatten();
            ExchangeError::Failed(page.unwrap_or_else(|| payload_error(error, path)))
        };
        let body = body.map_err(unread)?;
        if length.is_some_and(|length| body.len() < length) {
            return Err(ExchangeError::Failed(truncated_body()));
        }
        let body = unpack(&body, MAX_BODY).map_err(|why| match why {
            UnpackError::TooLong => unread(PayloadError::Overflow),
            UnpackError::Truncated if length.is_none() => ExchangeError::Failed(truncated_body()),
            _ => unread(PayloadError::EncodingCorrupted),
        })?;
        let json = strip_bom(&body);
        let decoded = wire::decode(call.kind, &call.names, json);
        let foreign = self.mismatched_names(call, json, &decoded);
        let mut is_proof = false;
        for name in &foreign {
            // Each is to be remembered.
            is_proof |= self.health.known_misnamed.is_proof(name, fresh);
        }
        if is_proof {
            // Its connection is off by one.
            return Err(ExchangeError::Misrouted(misrouted(path)));
        }
        let is_misnamed = !foreign.is_empty();
        decoded.map(|decoded| decoded.evaluations).map_err(|error| {
            let page = head.intermediary(path, &body);
            if error.classify() == Category::Eof && length.is_none() && page.is_none() {
                return ExchangeError::Failed(truncated_body());
            }
            let error = page.unwrap_or_else(|| {
                let reason = encoding.map_or_else(|| excerpts.reason(&error), str::to_owned);
                // What may be another's answer is not for those who asked.
                let excerpt = if is_misnamed { String::new() } else { excerpts.of(&body) };
                Error::InvalidResponse { path, reason, excerpt }
            });
            if is_misnamed { ExchangeError::Misnamed(error) } else { ExchangeError::Failed(error) }
        })
    }

    /// The names that show that a body may be the answer to another request.
    fn mismatched_names(
        &self,
        call: &CallRequest,
        body: &[u8],
        decoded: &Result<Decoded, serde_json::Error>,
    ) -> Vec<String> {
        // Names are compared as they are decoded. What fits needs no closer look.
        let may_be = decoded.as_ref().map_or(true, |decoded| decoded.has_unrequested);
        if may_be { mismatched_names(call.kind, &call.names, body) } else { Vec::new() }
    }

    /// What has come of a body, until it is long enough or takes too long or breaks off.
    async fn read_beginning<B: AsRef<[u8]>, E>(
        &self,
        mut body: impl Stream<Item = Result<B, E>> + Unpin,
    ) -> Vec<u8> {
        let mut read = Vec::new();
        let reading = async {
            while read.len() < MAX_ERROR_BODY
                && let Some(Ok(chunk)) = body.next().await
            {
                read.extend_from_slice(chunk.as_ref());
            }
        };
        // Whatever has come by then will do.
        let _ = timeout(self.error_body_timeout, reading).await;
        read
    }
}

/// The length of the body, if it has no end of its own: RFC 9112, section 6.3.
fn content_length(headers: &HeaderMap) -> Option<usize> {
    if headers.contains_key(TRANSFER_ENCODING) {
        return None;
    }
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

/// awc takes a connection that is closed in the middle of a body for the body's end.
fn truncated_body() -> Error {
    connect_error(ConnectFault::Closed, &"the body was cut short")
}

/// Why a body cannot be read, if it cannot: its headers say that it is compressed in another way than
/// with gzip. A body is read first, for a proxy that unpacks one may leave the header.
fn unsupported_encoding(headers: &HeaderMap) -> Option<&'static str> {
    let encoding = headers.get(CONTENT_ENCODING)?.as_bytes();
    let is_known = |known: &&[u8]| encoding.eq_ignore_ascii_case(known);
    let known: [&[u8]; 4] = [b"identity", b"gzip", b"x-gzip", b""];
    let reason = "the body has a content encoding other than gzip, which nobody asked for";
    (!known.iter().any(is_known)).then_some(reason)
}

#[cfg(test)]
mod tests {
    use awc::http::header::{HeaderName, HeaderValue};

    use super::*;

    fn headers(name: HeaderName, value: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_static(value));
        headers
    }

    #[test]
    fn an_encoding_other_than_gzip_is_the_reason_where_a_body_cannot_be_read() {
        for value in ["Identity", "gzip", "X-GZIP", ""] {
            assert_eq!(unsupported_encoding(&headers(CONTENT_ENCODING, value)), None, "{value}");
        }
        for value in ["deflate", "br", "gzip, br"] {
            let reason = unsupported_encoding(&headers(CONTENT_ENCODING, value));
            assert!(reason.is_some_and(|reason| reason.contains("content encoding")), "{value}");
        }
    }
}

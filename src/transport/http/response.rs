//! Reads an answer: its evaluations, or the reason why there are none.

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
    decompress::{DecompressError, decompress, decompress_prefix},
    error::{ExchangeError, misrouted},
    error_mapping::{connect_error, payload_error, retry_after, status_error},
    excerpt::Excerpts,
    intermediary::{ResponseHead, strip_bom},
    mismatch::mismatched_names,
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

/// How much of an error's body is read, in bytes.
const MAX_ERROR_BODY: usize = 16 * 1024;

impl HttpClient {
    /// Reads an answer.
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
            let error = self.read_error(&head, status, retry_after, response, excerpts).await;
            return Err(ExchangeError::Failed(error));
        }
        let (length, encoding) = (content_length(headers), unsupported_encoding(headers));
        self.read_evaluations(&head, length, encoding, response, excerpts, fresh).await
    }

    /// Reads an answer with an error status.
    async fn read_error<B: AsRef<[u8]>, E>(
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
        // A short body is read to its end, so that the connection can be reused.
        let body = decompress_prefix(self.read_prefix(body).await, MAX_ERROR_BODY);
        head.intermediary(path, &body)
            .unwrap_or_else(|| status_error(status, path, retry_after, || excerpts.of(&body)))
    }

    /// Reads the evaluations of a success.
    async fn read_evaluations<B: AsRef<[u8]>>(
        &self,
        head: &ResponseHead,
        length: Option<usize>,
        encoding: Option<&'static str>,
        body: impl Stream<Item = Result<B, PayloadError>> + Unpin,
        excerpts: &Excerpts<'_>,
        fresh: bool,
    ) -> Result<Vec<Option<Evaluation>>, ExchangeError> {
        let (call, path) = (excerpts.call, excerpts.call.kind.path());
        let body = self.read_body(head, length, body, call).await.map_err(ExchangeError::Failed)?;
        let json = strip_bom(&body);
        let decoded = wire::decode(call.kind, &call.names, json);
        let mismatched = find_mismatches(call, json, &decoded);
        let mut is_proof = false;
        for name in &mismatched {
            // No early return: `is_proof` remembers each name.
            is_proof |= self.health.known_misnamed.is_proof(name, fresh);
        }
        if is_proof {
            return Err(ExchangeError::Misrouted(misrouted(path)));
        }
        let is_misnamed = !mismatched.is_empty();
        decoded.map(|decoded| decoded.evaluations).map_err(|error| {
            let intermediary = head.intermediary(path, &body);
            if error.classify() == Category::Eof && length.is_none() && intermediary.is_none() {
                return ExchangeError::Failed(truncated_body());
            }
            let error = intermediary.unwrap_or_else(|| {
                let reason = encoding.map_or_else(|| excerpts.reason(&error), str::to_owned);
                // No excerpt: a misnamed answer may be about another user.
                let excerpt = if is_misnamed { String::new() } else { excerpts.of(&body) };
                Error::InvalidResponse { path, reason, excerpt }
            });
            if is_misnamed { ExchangeError::Misnamed(error) } else { ExchangeError::Failed(error) }
        })
    }

    /// Reads and decompresses the whole body of a success.
    async fn read_body<B: AsRef<[u8]>>(
        &self,
        head: &ResponseHead,
        length: Option<usize>,
        body: impl Stream<Item = Result<B, PayloadError>> + Unpin,
        call: &CallRequest,
    ) -> Result<Vec<u8>, Error> {
        let path = call.kind.path();
        let unreadable = |error| {
            // An intermediary's page may be longer than any answer.
            let is_too_long = matches!(error, PayloadError::Overflow);
            let intermediary = is_too_long.then(|| head.intermediary(path, b"")).flatten();
            intermediary.unwrap_or_else(|| payload_error(error, path))
        };
        let body = body::read(body, length, MAX_BODY, &self.shared.long_bodies, &call.user).await;
        let body = body.map_err(unreadable)?;
        if length.is_some_and(|length| body.len() < length) {
            return Err(truncated_body());
        }
        decompress(body, MAX_BODY).map_err(|error| match error {
            DecompressError::TooLong => unreadable(PayloadError::Overflow),
            DecompressError::Truncated if length.is_none() => truncated_body(),
            _ => unreadable(PayloadError::EncodingCorrupted),
        })
    }

    /// Reads a body until the prefix is long enough, the time is up, or the body breaks off.
    async fn read_prefix<B: AsRef<[u8]>, E>(
        &self,
        mut body: impl Stream<Item = Result<B, E>> + Unpin,
    ) -> Vec<u8> {
        let mut prefix = Vec::new();
        let reading = async {
            while prefix.len() < MAX_ERROR_BODY
                && let Some(Ok(chunk)) = body.next().await
            {
                prefix.extend_from_slice(chunk.as_ref());
            }
        };
        // On a timeout, the bytes read so far are enough.
        let _ = timeout(self.error_body_timeout, reading).await;
        prefix
    }
}

/// Returns the names that show that a body may belong to another request.
fn find_mismatches(
    call: &CallRequest,
    body: &[u8],
    decoded: &Result<Decoded, serde_json::Error>,
) -> Vec<String> {
    // Decoding has compared the names already. Without an error or an unrequested name, all of them
    // match.
    match decoded {
        Ok(Decoded { has_unrequested: false, .. }) => Vec::new(),
        _ => mismatched_names(call.kind, &call.names, body),
    }
}

/// Returns the body's declared length, unless the body marks its own end (RFC 9112, section 6.3).
fn content_length(headers: &HeaderMap) -> Option<usize> {
    if headers.contains_key(TRANSFER_ENCODING) {
        return None;
    }
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

/// The error for a truncated body. awc takes a connection that closes in the middle of a body as
/// the end of the body.
fn truncated_body() -> Error {
    connect_error(ConnectFault::Closed, &"the connection closed before the end of the body")
}

/// Returns an error text if the headers name a compression other than gzip. Use the text only if
/// the body cannot be read, because a proxy that decompresses a body may keep the header.
fn unsupported_encoding(headers: &HeaderMap) -> Option<&'static str> {
    let encoding = headers.get(CONTENT_ENCODING)?.as_bytes();
    let supported: [&[u8]; 4] = [b"identity", b"gzip", b"x-gzip", b""];
    let is_supported = supported.iter().any(|name| encoding.eq_ignore_ascii_case(name));
    let reason = "expected no content encoding or gzip, found another content encoding";
    (!is_supported).then_some(reason)
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
    fn unreadable_body_names_an_encoding_other_than_gzip() {
        for value in ["Identity", "gzip", "X-GZIP", ""] {
            assert_eq!(unsupported_encoding(&headers(CONTENT_ENCODING, value)), None, "{value}");
        }
        for value in ["deflate", "br", "gzip, br"] {
            let reason = unsupported_encoding(&headers(CONTENT_ENCODING, value));
            assert!(reason.is_some_and(|reason| reason.contains("content encoding")), "{value}");
        }
    }
}

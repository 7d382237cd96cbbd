//! Detects whether Statsig's API or an intermediary answered. Pure.
//!
//! The API answers `checkGate` and `getConfig` with JSON. It never redirects, and has no reason to
//! answer 204, 404 or 407. Proxies, firewalls and sign-in pages do all of that.

use awc::http::header::{
    CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE, WWW_AUTHENTICATE,
};

use serde::de::IgnoredAny;

use crate::model::error::Error;

/// The parts of an answer's head that show whether the API sent it.
#[derive(Clone, Copy, Debug)]
pub(super) struct ResponseHead {
    status: u16,
    content_type: MediaType,
    /// The sender asks for credentials other than the API key, or for a browser that solves a
    /// challenge.
    is_challenge: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MediaType {
    None,
    Json,
    Html,
    Xml,
    Plain,
    Other,
}

/// The format of a body, whatever its content type says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BodyFormat {
    Json,
    Html,
    Other,
}

impl ResponseHead {
    pub(super) fn of(status: u16, headers: &HeaderMap) -> Self {
        let content_type = headers.get(CONTENT_TYPE).map_or(MediaType::None, MediaType::of);
        Self { status, content_type, is_challenge: is_challenge(headers) }
    }

    /// Returns an error if the answer is not from the API. `body` is the decompressed body, or the
    /// beginning of it.
    ///
    /// Do not call this for a 200 that decodes to evaluations: such an answer is from the API.
    pub(super) fn intermediary(&self, path: &'static str, body: &[u8]) -> Option<Error> {
        let format = self.format(body);
        let is_intermediary = match self.status {
            _ if self.is_challenge => true,
            // HTTP defines no status beyond 599, but some firewalls use such statuses.
            ..=199 | 204 | 205 | 300..=399 | 600.. => true,
            404 | 405 | 407 | 410 | 421 | 426 | 451 | 511 => true,
            // Statsig's load balancer may send these in its own format. They mean the same.
            408 | 429 | 500..=599 => false,
            // Bisection helps, no matter which server finds the call too large.
            413 => false,
            401 | 403 => format != BodyFormat::Json,
            _ => format == BodyFormat::Html,
        };
        let (status, content_type) = (self.status, self.content_type.name());
        is_intermediary.then_some(Error::Intermediary { path, status, content_type })
    }

    fn format(&self, body: &[u8]) -> BodyFormat {
        let first = strip_bom(body).iter().find(|byte| !byte.is_ascii_whitespace());
        match (first, self.content_type) {
            (Some(b'{' | b'[' | b'"'), _) if is_json(body) => BodyFormat::Json,
            (None, MediaType::Json) => BodyFormat::Json,
            (Some(b'<'), _) | (_, MediaType::Html) => BodyFormat::Html,
            _ => BodyFormat::Other,
        }
    }
}

/// Whether this is JSON or the beginning of JSON. A plain `[blocked]` is neither.
fn is_json(body: &[u8]) -> bool {
    match serde_json::from_slice::<IgnoredAny>(strip_bom(body)) {
        Ok(_) => true,
        Err(error) => error.is_eof(),
    }
}

/// Removes a byte order mark, which RFC 8259 allows JSON parsers to ignore.
pub(super) fn strip_bom(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)
}

impl MediaType {
    fn of(value: &HeaderValue) -> Self {
        let essence = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
        match &*essence.trim_ascii().to_ascii_lowercase() {
            b"" => Self::None,
            b"application/json" | b"text/json" => Self::Json,
            b"text/html" | b"application/xhtml+xml" => Self::Html,
            b"text/xml" | b"application/xml" => Self::Xml,
            b"text/plain" => Self::Plain,
            other if other.ends_with(b"+json") => Self::Json,
            _ => Self::Other,
        }
    }

    /// Returns one of these fixed texts, because the header itself may echo secrets from the
    /// request.
    fn name(self) -> &'static str {
        match self {
            Self::None => "without a content type",
            Self::Json => "application/json",
            Self::Html => "text/html",
            Self::Xml => "application/xml",
            Self::Plain => "text/plain",
            Self::Other => "with an uncommon content type",
        }
    }
}

fn is_challenge(headers: &HeaderMap) -> bool {
    // Headers of Cloudflare and of Amazon's firewall.
    const MITIGATIONS: [HeaderName; 2] =
        [HeaderName::from_static("cf-mitigated"), HeaderName::from_static("x-amzn-waf-action")];
    // Statsig never challenges: it reads the key from its own header. `statsig-relay` asks for
    // Bearer.
    let is_bearer = |value: &HeaderValue| {
        let mut are_bearer =
            schemes(value.as_bytes()).map(|scheme| scheme.eq_ignore_ascii_case(b"bearer"));
        are_bearer.next() == Some(true) && are_bearer.all(|is_bearer| is_bearer)
    };
    headers.contains_key(PROXY_AUTHENTICATE)
        || MITIGATIONS.iter().any(|name| headers.contains_key(name))
        || headers.get_all(WWW_AUTHENTICATE).any(|value| !is_bearer(value))
}

/// Returns the schemes of a header's challenges (RFC 9110, section 11.6.1). Commas separate both
/// the challenges and the parameters of each challenge.
fn schemes(challenges: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let parts = challenges.split(move |byte| {
        let is_end = *byte == b',' && !is_quoted;
        is_quoted ^= *byte == b'"' && !is_escaped;
        is_escaped = *byte == b'\\' && is_quoted && !is_escaped;
        is_end
    });
    parts.filter_map(|part| {
        let part = part.trim_ascii();
        let end = part.iter().position(|byte| matches!(byte, b' ' | b'\t' | b'='));
        let (word, rest) = part.split_at(end.unwrap_or(part.len()));
        let is_parameter = rest.trim_ascii_start().starts_with(b"=");
        (!word.is_empty() && !is_parameter).then_some(word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "/v1/check_gate";
    const PAGE: &[u8] = b"\r\n<!DOCTYPE html><p>Access denied";
    const JSON: &[u8] = br#" {"error": "no such key"}"#;

    fn intermediary(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Option<String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name = HeaderName::try_from(*name).unwrap();
            map.append(name, HeaderValue::from_str(value).unwrap());
        }
        let error = ResponseHead::of(status, &map).intermediary(PATH, body)?;
        assert_eq!(error.kind().as_str(), "intermediary");
        Some(error.to_string())
    }

    #[test]
    fn statuses_foreign_to_the_api_are_an_intermediarys() {
        for status in [101, 204, 301, 302, 303, 304, 307, 308, 404, 405, 407, 511, 600, 999] {
            for (media, body) in [("application/json", JSON), ("text/html", PAGE), ("", b"")] {
                let error = intermediary(status, &[("content-type", media)], body);
                assert!(error.is_some(), "{status} {media}");
            }
        }
    }

    #[test]
    fn status_401_or_403_refuses_the_key_only_in_json() {
        for status in [401, 403] {
            for (media, body) in [
                ("application/json", JSON),
                ("text/plain", JSON),
                ("text/html", JSON),
                ("application/json", b""),
                ("application/problem+json; charset=utf-8", b""),
                ("text/plain", b"\xef\xbb\xbf\"Unauthorized\""),
                // The beginning of a longer body
                ("text/plain", b"{\"error\": \"no such k"),
            ] {
                assert_eq!(intermediary(status, &[("content-type", media)], body), None, "{media}");
            }
            for (media, body) in [
                ("text/html; charset=utf-8", PAGE),
                ("application/json", PAGE),
                ("text/html", b""),
                ("text/plain", b"RBAC: access denied"),
                ("text/plain", b"[blocked by policy 7]"),
                ("text/plain", b"{{ error_page }}"),
                ("application/json", b"\"Access denied\" by policy"),
                ("", b""),
            ] {
                let error = intermediary(status, &[("content-type", media)], body);
                assert!(error.is_some(), "{status} {media} {body:?}");
            }
        }
        assert_eq!(
            intermediary(403, &[("content-type", "Text/HTML; charset=x")], PAGE).unwrap(),
            "something between here and Statsig answered 403 text/html to /v1/check_gate"
        );
    }

    #[test]
    fn challenge_is_an_intermediarys_even_with_json() {
        for header in [
            ("cf-mitigated", "challenge"),
            ("x-amzn-waf-action", "captcha"),
            ("proxy-authenticate", "Basic realm=\"proxy\""),
            ("www-authenticate", "Negotiate"),
            ("www-authenticate", "Basic realm=\"staff only\""),
            ("www-authenticate", "Bearer realm=\"a \\\"b\\\", c\", Basic realm=\"staff\""),
            ("www-authenticate", "Bearer, Negotiate"),
            ("www-authenticate", "realm=\"Bearer\""),
            ("www-authenticate", ""),
        ] {
            for status in [401, 403, 429, 503] {
                let json = ("content-type", "application/json");
                assert!(intermediary(status, &[json, header], JSON).is_some(), "{header:?}");
            }
        }
        for value in [
            "Bearer",
            "bearer realm=\"Basic, or not\", error = \"invalid_token\"",
            "Bearer a=b, ,Bearer abc==",
        ] {
            assert_eq!(intermediary(401, &[("www-authenticate", value)], JSON), None, "{value}");
        }
    }

    #[test]
    fn html_in_place_of_an_answer_is_an_intermediarys() {
        for status in [200, 203, 400, 415, 431] {
            assert!(intermediary(status, &[], PAGE).is_some(), "{status}");
            assert!(intermediary(status, &[("content-type", "text/html")], b"hi").is_some());
            assert_eq!(intermediary(status, &[("content-type", "text/html")], JSON), None);
            assert_eq!(intermediary(status, &[], b"\0garbage"), None, "{status}");
        }
    }

    #[test]
    fn overload_and_too_large_count_in_any_content_type() {
        for status in [408, 413, 429, 500, 502, 503, 504, 522] {
            assert_eq!(intermediary(status, &[("content-type", "text/html")], PAGE), None);
        }
    }

    #[test]
    fn promise_7_no_word_of_a_content_type_is_repeated() {
        let error = intermediary(404, &[("content-type", "secret-key/u-1")], b"").unwrap();
        assert!(error.contains("404 with an uncommon content type"), "{error}");
    }
}

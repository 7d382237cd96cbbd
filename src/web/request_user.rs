//! The fields of a user that every request has: address, user agent and locale.

use actix_web::{
    HttpRequest,
    http::header::{
        ACCEPT_LANGUAGE, AcceptLanguage, Header, HeaderValue, Quality, USER_AGENT, X_FORWARDED_FOR,
    },
};

use super::forwarded;
use crate::model::user::{User, UserBuilder};

/// Builds users from requests: ip address, user agent and locale.
///
/// Your app adds the id. Statsig needs a `user_id` or a `custom_id`. For an anonymous visitor, create an
/// id and keep it in a cookie or a session: with a new id for each request, the visitor would change
/// groups.
///
/// The locale is the language tag that `Accept-Language` prefers, for example `en-US`. Headers that are
/// not UTF-8 or exceed 1024 bytes are ignored. User agent and locale are left out if they would make the
/// user too long, so no header can make a user invalid.
///
/// ```
/// use actix_statsig::{User, web::RequestUser};
/// use actix_web::{HttpRequest, test::TestRequest};
///
/// let request_user = RequestUser::new().trust_proxies(1);
/// let identify = move |request: &HttpRequest| request_user.user(request).user_id("u-1").build();
///
/// let request = TestRequest::get()
///     .insert_header(("x-forwarded-for", "192.0.2.1, 203.0.113.7"))
///     .insert_header(("accept-language", "en;q=0.5, nl-NL"))
///     .to_http_request();
/// let user = User::builder().user_id("u-1").ip("203.0.113.7").locale("nl-NL").build()?;
/// assert_eq!(identify(&request)?, user);
/// # Ok::<(), actix_statsig::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestUser {
    proxies: usize,
}

impl RequestUser {
    /// Takes the ip address from the connection, which is correct if clients connect without a
    /// proxy.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how many proxies stand between clients and the app, one behind the other. Each must
    /// append the address that connected to it to `X-Forwarded-For`. Default 0: the header is
    /// ignored, because any client can write one.
    ///
    /// Set exactly the number of proxies that every request passes. With a higher number, clients can
    /// choose their address; with a lower one, the address is a proxy's. If the header has too few
    /// entries, or one that is not an address, the result is the last address that a trusted proxy saw.
    #[must_use]
    pub fn trust_proxies(self, proxies: usize) -> Self {
        Self { proxies }
    }

    /// Returns a builder for the request's user.
    pub fn user(&self, request: &HttpRequest) -> UserBuilder {
        let mut user = User::builder().with_headers();
        if let Some(ip) = self.ip(request) {
            user = user.ip(ip);
        }
        if let Some(user_agent) = request.headers().get(USER_AGENT).and_then(text) {
            user = user.user_agent(user_agent);
        }
        if let Some(locale) = locale(request) {
            user = user.locale(locale);
        }
        user
    }

    fn ip(&self, request: &HttpRequest) -> Option<String> {
        let peer = request.peer_addr().map(|peer| peer.ip());
        let headers: Vec<_> = request.headers().get_all(X_FORWARDED_FOR).collect();
        let headers = headers.into_iter().map(HeaderValue::as_bytes);
        forwarded::client(peer, headers, self.proxies).map(|ip| ip.to_string())
    }
}

/// The longest header that is used, in bytes.
const MAX_HEADER: usize = 1024;

fn text(value: &HeaderValue) -> Option<&str> {
    let text = std::str::from_utf8(value.as_bytes()).ok()?.trim();
    (1..=MAX_HEADER).contains(&text.len()).then_some(text)
}

/// Returns the first language tag with the highest quality.
fn locale(request: &HttpRequest) -> Option<String> {
    let length: usize = request.headers().get_all(ACCEPT_LANGUAGE).map(HeaderValue::len).sum();
    if length > MAX_HEADER {
        return None;
    }
    let AcceptLanguage(languages) = AcceptLanguage::parse(request).ok()?;
    let specific = languages.into_iter().filter_map(|language| {
        Some((language.quality, language.item.into_item()?)).filter(|(q, _)| *q > Quality::ZERO)
    });
    let best = specific.reduce(|best, next| if next.0 > best.0 { next } else { best });
    best.map(|(_, tag)| tag.to_string())
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;
    use proptest::{collection::vec, prelude::*};
    use serde_json::{Value, json};

    use super::*;

    /// Returns the user as sent to Statsig.
    fn sent(request_user: RequestUser, request: TestRequest) -> Value {
        let user = request_user.user(&request.to_http_request()).user_id("u-4711").build().unwrap();
        let mut user: Value = serde_json::from_str(user.json()).unwrap();
        user.as_object_mut().unwrap().remove("userID");
        user
    }

    fn from(headers: &[(&'static str, &[u8])]) -> TestRequest {
        let peer = "192.0.2.10:4711".parse().unwrap();
        headers.iter().fold(TestRequest::get().peer_addr(peer), |request, (name, value)| {
            request.append_header((*name, HeaderValue::from_bytes(value).unwrap()))
        })
    }

    fn locale_of(accepted: &str) -> Value {
        sent(RequestUser::new(), from(&[("accept-language", accepted.as_bytes())]))["locale"].take()
    }

    #[test]
    fn request_provides_address_user_agent_and_locale() {
        let request =
            || from(&[("user-agent", "Möwe/7.0".as_bytes()), ("accept-language", b"fr-CH")]);
        let user = json!({"ip": "192.0.2.10", "userAgent": "Möwe/7.0", "locale": "fr-CH"});
        assert_eq!(sent(RequestUser::new(), request()), user);
        assert_eq!(sent(RequestUser::new(), from(&[])), json!({"ip": "192.0.2.10"}));
        assert_eq!(sent(RequestUser::new(), TestRequest::get()), json!({}));
    }

    #[test]
    fn proxies_are_believed_only_where_the_app_says_so() {
        let headers: [(_, &[u8]); 3] = [
            ("forwarded", b"for=203.0.113.1"),
            ("x-forwarded-for", b"203.0.113.2, 203.0.113.3"),
            ("x-real-ip", b"203.0.113.4"),
        ];
        assert_eq!(sent(RequestUser::new(), from(&headers))["ip"], "192.0.2.10");
        let behind_one = RequestUser::new().trust_proxies(1);
        assert_eq!(sent(behind_one, from(&headers))["ip"], "203.0.113.3");
    }

    #[test]
    fn locale_is_the_first_language_of_highest_quality() {
        assert_eq!(locale_of("de;q=0.7, da, en-GB;q=0.9, sv"), "da");
        assert_eq!(locale_of("*, pt-BR;q=0.3"), "pt-BR");
        assert_eq!(locale_of("?, ;;q=, el;q=0.2"), "el");
        for none in ["", "*", "de;q=0", "no language at all"] {
            assert_eq!(locale_of(none), Value::Null, "{none}");
        }
    }

    #[test]
    fn header_that_is_too_long_or_not_utf8_is_left_out() {
        let long = [b'a'; MAX_HEADER + 1];
        let languages = "nl,".repeat(MAX_HEADER);
        for headers in [
            [("user-agent", &long[..]), ("accept-language", languages.as_bytes())],
            [("user-agent", b"\xff"), ("accept-language", b"nl\xff")],
        ] {
            assert_eq!(sent(RequestUser::new(), from(&headers)), json!({"ip": "192.0.2.10"}));
        }
    }

    #[test]
    fn headers_are_left_out_where_they_would_make_the_user_too_long() {
        let (quotes, tag) = ([b'"'; MAX_HEADER], [&b"de-"[..], &[b'a'; 8]].concat());
        let request = from(&[("user-agent", &quotes), ("accept-language", &tag)]).to_http_request();
        for (length, is_there) in [(60_000, true), (65_000, false)] {
            let user =
                RequestUser::new().user(&request).user_id("u").custom("a", "b".repeat(length));
            let user: Value = serde_json::from_str(user.build().unwrap().json()).unwrap();
            assert_eq!(
                (user["ip"].as_str(), user["userID"].as_str()),
                (Some("192.0.2.10"), Some("u"))
            );
            assert_eq!(user.get("userAgent").is_some(), is_there);
            assert_eq!(user.get("locale").is_some(), is_there);
        }
        let too_long =
            RequestUser::new().user(&request).user_id("u").custom("a", "b".repeat(66_000));
        assert!(too_long.build().is_err(), "the app's own attribute is too long");
    }

    proptest! {
        /// Generates lines of these headers, most of them nearly valid.
        #[test]
        fn no_languages_or_addresses_keep_a_user_from_being_built(
            lines in vec((0..3usize, "[a-zA-Z]{0,3}[-_]?[a-zA-Z0-9*]{0,9}(;?q=[-0-9.eé]{0,8})?[ ,;:\\[\\]0-9.]{0,9}"), 0..8),
            proxies in 0..4usize,
        ) {
            let names = ["user-agent", "accept-language", "x-forwarded-for"];
            let headers: Vec<_> =
                lines.iter().map(|(name, line)| (names[*name], line.as_bytes())).collect();
            sent(RequestUser::new().trust_proxies(proxies), from(&headers));
        }

        #[test]
        fn no_header_makes_a_user_that_statsig_would_refuse(
            values in vec(vec(prop_oneof![Just(b'\t'), 32..127u8, 128..=255u8], 0..1200), 3),
            proxies in 0..4usize,
        ) {
            let names = ["user-agent", "accept-language", "x-forwarded-for"];
            let headers: Vec<_> = names.into_iter().zip(values.iter().map(Vec::as_slice)).collect();
            sent(RequestUser::new().trust_proxies(proxies), from(&headers));
        }
    }
}

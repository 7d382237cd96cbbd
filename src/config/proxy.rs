//! Chooses whether calls reach Statsig directly or through an HTTP proxy.

use std::fmt;

use awc::http::Uri;
use base64::{Engine, prelude::BASE64_STANDARD};
use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};

use super::{invalid, no_proxy, parse};
use crate::model::error::Error;

/// An HTTP proxy. Shows itself as `HOST:PORT`, without credentials.
#[derive(Clone)]
pub(crate) struct Proxy {
    host: String,
    port: u16,
    authorization: Option<SecretString>,
}

/// The proxy that calls go through, if any, and the reason.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProxyChoice {
    pub(crate) proxy: Option<Proxy>,
    /// The setting or variable that names the proxy.
    by: String,
    /// The reason why calls do not use the proxy that the environment names.
    ignored: Option<String>,
}

/// Finds a variable by its name.
pub(super) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

impl ProxyChoice {
    /// Reads the setting `proxy`, and the environment if the setting is `env`.
    pub(super) fn choose(setting: &str, target: &Uri, lookup: Lookup<'_>) -> Result<Self, Error> {
        let host = target.host().unwrap_or_default();
        let is_loopback = parse::is_loopback(host);
        match setting.trim() {
            text if text.eq_ignore_ascii_case("none") => Ok(Self::default()),
            text if text.eq_ignore_ascii_case("env") && is_loopback => Ok(Self::default()),
            text if text.eq_ignore_ascii_case("env") => Ok(Self::from_environment(target, lookup)),
            text => {
                let proxy = Proxy::parse(text)
                    .map_err(|rule| invalid("proxy", format!("{:?}", redacted(text)), rule))?;
                let proxy = (!is_loopback).then_some(proxy);
                Ok(Self { proxy, by: "`proxy`".to_owned(), ignored: None })
            }
        }
    }

    fn from_environment(target: &Uri, lookup: Lookup<'_>) -> Self {
        let first = |names: &[&'static str]| {
            let set = |name| lookup(name).filter(|text| !text.trim().is_empty());
            names.iter().find_map(|name| Some((*name, set(name)?)))
        };
        let is_https = target.scheme_str() == Some("https");
        let own: &[_] = match is_https {
            true => &["https_proxy", "HTTPS_PROXY"],
            // In a CGI, `HTTP_PROXY` has the value of the client's header `Proxy`.
            false if lookup("REQUEST_METHOD").is_none() => &["http_proxy", "HTTP_PROXY"],
            // Windows ignores the case of variables.
            false if cfg!(windows) => &[],
            false => &["http_proxy"],
        };
        let named = first(own).or_else(|| first(&["all_proxy", "ALL_PROXY"]));
        let Some((by, text)) = named else { return Self::default() };
        let host = target.host().unwrap_or_default();
        let port = target.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        if let Some((_, list)) = first(&["no_proxy", "NO_PROXY"])
            && no_proxy::matches(&list, host, port)
        {
            return Self::default();
        }
        match Proxy::parse(text.trim()) {
            Ok(proxy) => Self { proxy: Some(proxy), by: by.to_owned(), ignored: None },
            Err(rule) => {
                let why = format!("{by} cannot be {:?}: {rule}", redacted(text.trim()));
                Self { proxy: None, by: by.to_owned(), ignored: Some(why) }
            }
        }
    }

    /// Logs which proxy calls go through, if any.
    pub(crate) fn log(&self) {
        if let Some(why) = &self.ignored {
            tracing::warn!("calls use no proxy: {why}");
        }
        if let Some(proxy) = &self.proxy {
            tracing::info!("calls go through the proxy {proxy}, set by {}", self.by);
        }
    }
}

impl Proxy {
    /// Reads a proxy's URL. The error is the rule that the URL breaks.
    fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        if !scheme.eq_ignore_ascii_case("http") {
            return Err("must begin with http://, because only HTTP proxies are supported".into());
        }
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if !["", "/"].contains(&path) {
            return Err("must end with the host or its port".into());
        }
        let (userinfo, address) = match authority.rsplit_once('@') {
            Some((userinfo, address)) => (Some(userinfo), address),
            None => (None, authority),
        };
        let url: Uri = format!("http://{address}")
            .parse()
            .map_err(|_| "must be the URL of an HTTP proxy, `env` or `none`".to_owned())?;
        let host = url.host().unwrap_or_default();
        let port = parse::port(&url)?.unwrap_or(80);
        let authorization = userinfo.map(basic);
        Ok(Self { host: host.to_owned(), port, authorization })
    }

    #[cfg(test)]
    pub(crate) fn for_tests(url: &str) -> Self {
        Self::parse(url).expect("a proxy's URL")
    }

    /// Returns the proxy's host, with brackets around an IPv6 address.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Returns the value of `Proxy-Authorization`, a secret, if the proxy's URL has credentials.
    pub(crate) fn authorization(&self) -> Option<&str> {
        Some(self.authorization.as_ref()?.expose_secret())
    }

    /// Returns the reason why the proxy answers 407.
    pub(crate) fn credentials_hint(&self) -> &'static str {
        match self.authorization {
            None => "it requires credentials, and its URL has none",
            Some(_) => "it refused the credentials of its URL",
        }
    }

    /// Returns the error text for an answer with status 407.
    pub(crate) fn wants_credentials(&self) -> String {
        format!("the proxy {self} answered 407 ({})", self.credentials_hint())
    }
}

/// Encodes a URL's user information as Basic credentials (RFC 7617).
fn basic(userinfo: &str) -> SecretString {
    let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
    let mut credentials: Vec<u8> = percent_decode_str(user).collect();
    credentials.push(b':');
    credentials.extend(percent_decode_str(password));
    SecretString::from(format!("Basic {}", BASE64_STANDARD.encode(credentials)))
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let credentials = if self.authorization.is_some() { "[redacted]@" } else { "" };
        write!(f, "http://{credentials}{self}")
    }
}

/// Returns the setting without any part that may be a password.
pub(super) fn redacted(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((_, address)) if !address.contains('%') => format!("[redacted]@{address}"),
        // If the `@` is escaped by mistake, the password is before the escape.
        _ if text.contains(['@', '%']) => "[redacted]".to_owned(),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::setting_type::{ProxyUrl, SettingType};

    const HTTPS: &str = "https://api.statsig.com";
    const HTTP: &str = "http://statsig.internal:81";

    fn choose(
        setting: &str,
        target: &str,
        variables: &[(&str, &str)],
    ) -> Result<ProxyChoice, Error> {
        let lookup = |name: &str| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, text)| (*text).to_owned())
        };
        ProxyChoice::choose(setting, &target.parse().unwrap(), &lookup)
    }

    fn by_environment(target: &str, variables: &[(&str, &str)]) -> Option<String> {
        choose("env", target, variables).unwrap().proxy.map(|proxy| proxy.to_string())
    }

    #[test]
    fn proxy_is_the_one_for_the_targets_scheme() {
        let variables = [("HTTPS_PROXY", "http://s:1"), ("HTTP_PROXY", "http://p:2")];
        assert_eq!(by_environment(HTTPS, &variables).as_deref(), Some("s:1"));
        assert_eq!(by_environment(HTTP, &variables).as_deref(), Some("p:2"));
        assert_eq!(by_environment(HTTPS, &variables[1..]), None);
        assert_eq!(by_environment(HTTP, &variables[..1]), None);
        assert_eq!(by_environment(HTTP, &[]), None);
    }

    #[test]
    fn all_proxy_counts_where_the_schemes_own_is_not_set_or_empty() {
        for name in ["ALL_PROXY", "all_proxy"] {
            let variables = [("HTTPS_PROXY", "http://s:1"), ("HTTP_PROXY", ""), (name, "a:3")];
            assert_eq!(by_environment(HTTPS, &variables).as_deref(), Some("s:1"));
            assert_eq!(by_environment(HTTP, &variables).as_deref(), Some("a:3"));
        }
    }

    #[test]
    fn lower_case_variables_win() {
        for (upper, lower) in [("HTTPS_PROXY", "https_proxy"), ("ALL_PROXY", "all_proxy")] {
            let variables = [(upper, "u:1"), (lower, "l:2")];
            assert_eq!(by_environment(HTTPS, &variables).as_deref(), Some("l:2"));
            assert_eq!(by_environment(HTTPS, &variables[..1]).as_deref(), Some("u:1"));
            let empty = [(upper, "u:1"), (lower, "")];
            assert_eq!(by_environment(HTTPS, &empty).as_deref(), Some("u:1"));
        }
        let proxy = ("HTTPS_PROXY", "s:1");
        let variables = [proxy, ("NO_PROXY", "*"), ("no_proxy", "elsewhere.org")];
        assert_eq!(by_environment(HTTPS, &variables).as_deref(), Some("s:1"));
        assert_eq!(by_environment(HTTPS, &variables[..2]), None);
    }

    #[test]
    fn http_proxy_in_a_cgi_is_a_clients_header_and_does_not_count() {
        let cgi = ("REQUEST_METHOD", "GET");
        assert_eq!(by_environment(HTTP, &[cgi, ("HTTP_PROXY", "evil:1")]), None);
        let both = [cgi, ("HTTP_PROXY", "evil:1"), ("http_proxy", "p:2")];
        assert_eq!(by_environment(HTTP, &both).as_deref(), Some("p:2"));
        let https = [cgi, ("HTTPS_PROXY", "s:1")];
        assert_eq!(by_environment(HTTPS, &https).as_deref(), Some("s:1"));
    }

    #[test]
    fn no_proxy_is_matched_with_the_targets_own_port() {
        let https = |list| by_environment(HTTPS, &[("HTTPS_PROXY", "s:1"), ("NO_PROXY", list)]);
        assert_eq!(https("statsig.com:443"), None);
        assert!(https("statsig.com:80").is_some());
        let http = |list| by_environment(HTTP, &[("HTTP_PROXY", "p:1"), ("NO_PROXY", list)]);
        assert_eq!(http(".internal:81"), None);
        assert!(http(".internal:80").is_some());
    }

    #[test]
    fn loopback_is_never_proxied() {
        let variables = [("HTTP_PROXY", "p:1"), ("HTTPS_PROXY", "p:1"), ("ALL_PROXY", "p:1")];
        for host in [
            "localhost:8080",
            "127.0.0.1",
            "127.9.9.9:1",
            "[::1]:80",
            "[::ffff:127.0.0.1]",
            "LOCALHOST",
        ] {
            for scheme in ["http", "https"] {
                for setting in ["env", "http://proxy:3128"] {
                    let choice =
                        choose(setting, &format!("{scheme}://{host}"), &variables).unwrap();
                    assert!(choice.proxy.is_none(), "{scheme} {host} {setting}");
                }
            }
        }
    }

    #[test]
    fn setting_counts_more_than_the_environment() {
        let variables = [("HTTPS_PROXY", "s:1"), ("NO_PROXY", "*")];
        let chosen = |setting| {
            choose(setting, HTTPS, &variables).unwrap().proxy.map(|proxy| proxy.to_string())
        };
        assert_eq!(chosen("http://own:3128").as_deref(), Some("own:3128"));
        assert_eq!(chosen(" NONE "), None);
        assert_eq!(chosen("Env"), None);
    }

    #[test]
    fn unsupported_proxy_fails_as_setting_and_warns_in_environment() {
        for text in ["socks5://p:1", "SOCKS5h://me:hunter2@p:1", "https://p:1", "ftp://p", "p:0"] {
            let error = choose(text, HTTPS, &[]).unwrap_err().to_string();
            assert!(error.starts_with("setting `proxy` cannot be \""), "{error}");

            let choice = choose("env", HTTPS, &[("HTTPS_PROXY", text)]).unwrap();
            assert!(choice.proxy.is_none());
            let warning = choice.ignored.unwrap();
            assert!(warning.starts_with("HTTPS_PROXY cannot be \""), "{warning}");
            assert!(!format!("{error}{warning}").contains("hunter2"), "{error} {warning}");
        }
        assert_eq!(
            choose("socks5://me:hunter2@p:1", HTTPS, &[]).unwrap_err().to_string(),
            "setting `proxy` cannot be \"[redacted]@p:1\": must begin with http://, because only \
             HTTP proxies are supported"
        );
    }

    #[test]
    fn proxy_url_may_omit_scheme_port_and_slash() {
        for (text, shown) in [
            ("http://p:3128", "p:3128"),
            ("HTTP://p:3128/", "p:3128"),
            ("p:3128", "p:3128"),
            ("p", "p:80"),
            ("http://10.0.0.1", "10.0.0.1:80"),
            ("http://[fd00::1]:3128", "[fd00::1]:3128"),
        ] {
            assert_eq!(Proxy::parse(text).unwrap().to_string(), shown, "{text}");
            assert_eq!(Proxy::parse(text).unwrap().authorization(), None, "{text}");
        }
        for text in [
            "",
            "http://",
            "http://@",
            ":3128",
            "http://p:",
            "http://p:99999",
            "http://p:0",
            "http://p/path",
            "http://p?q",
            "http://p#f",
            "http://p q",
            "://p",
            "http://p:+80",
        ] {
            assert!(Proxy::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn credentials_are_percent_decoded() {
        for (userinfo, credentials) in [
            ("me:hunter2", &b"me:hunter2"[..]),
            ("me", b"me:"),
            ("me:", b"me:"),
            (":pw", b":pw"),
            ("m%40e:p%3aw%2F", b"m@e:p:w/"),
            ("me:a:b@c", b"me:a:b@c"),
            ("me:%ff%", b"me:\xff%"),
            ("é:ü", "é:ü".as_bytes()),
        ] {
            let proxy = Proxy::parse(&format!("http://{userinfo}@p:1")).unwrap();
            let header = proxy.authorization().unwrap().strip_prefix("Basic ").unwrap();
            assert_eq!(BASE64_STANDARD.decode(header).unwrap(), credentials, "{userinfo}");
            assert_eq!(proxy.to_string(), "p:1");
            assert_eq!(format!("{proxy:?}"), "http://[redacted]@p:1");
        }
    }

    #[test]
    fn promise_7_credentials_are_redacted_even_in_invalid_urls() {
        for text in [
            "http://me:hunter2@p:1",
            "me:hunter2@p",
            "socks5://me:hunter2@p:1",
            "http://me:hunter2%40p:1",
            "http://me:a#hunter2@p",
            "http://me:a/hunter2@p",
            "http://me:a@hunter2@p:1",
            "http://me:hunter2@p%40q",
        ] {
            let shown = redacted(text);
            assert!(shown.contains("[redacted]") && !shown.contains("hunter2"), "{shown}");
            assert_eq!(ProxyUrl::new(text).text(), None);
        }
        for text in ["env", "none", "http://p:3128", "p:1"] {
            assert_eq!(ProxyUrl::new(text).text().as_deref(), Some(text));
        }
    }

    proptest! {
        #[test]
        fn no_url_makes_it_panic(text in "\\PC{0,30}") {
            let _ = Proxy::parse(&text);
            let _ = choose(&text, HTTPS, &[("HTTPS_PROXY", &text), ("NO_PROXY", &text)]);
        }

        #[test]
        fn any_credentials_come_through_and_are_not_shown(
            user in "[a-zA-Z0-9!$&'()*+,;=._~-]{4,12}", password in "\\PC{4,12}"
        ) {
            let escaped: String = percent_encoding::utf8_percent_encode(
                &password, percent_encoding::NON_ALPHANUMERIC).collect();
            let url = format!("http://{user}:{escaped}@proxy.internal:3128");
            let choice = choose(&url, HTTPS, &[]).unwrap();
            let header = choice.proxy.as_ref().unwrap().authorization().unwrap();
            let wanted = BASE64_STANDARD.encode(format!("{user}:{password}"));
            prop_assert_eq!(header, format!("Basic {wanted}"));
            prop_assert_eq!(format!("{:?}", choice.proxy.unwrap()),
                "http://[redacted]@proxy.internal:3128");
        }
    }
}

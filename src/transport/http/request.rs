//! The awc client and the heads of its requests.

use std::{fmt, time::Duration};

use awc::{
    Client, FrozenClientRequest,
    http::{
        Uri,
        header::{ACCEPT_ENCODING, CONTENT_TYPE, HOST, HeaderValue, PROXY_AUTHORIZATION},
        uri,
    },
};

use super::connect::{Connector, KEEP_ALIVE, without_tls};
use crate::{
    config::{Config, Proxy},
    model::{call_kind::CallKind, error::Error},
};

/// The requests without their bodies. Every call uses the same heads.
pub(super) struct Requests {
    check_gate: FrozenClientRequest,
    get_config: FrozenClientRequest,
}

impl Requests {
    pub(super) fn new(
        config: &Config,
        connector: Connector,
        api_key: &HeaderValue,
    ) -> Result<Self, Error> {
        let client = client(config, connector);
        let to = |kind| request(&client, config, kind, api_key);
        let (check_gate, get_config) = (to(CallKind::CheckGate)?, to(CallKind::GetConfig)?);
        Ok(Self { check_gate, get_config })
    }

    pub(super) fn of(&self, kind: CallKind) -> &FrozenClientRequest {
        match kind {
            CallKind::CheckGate => &self.check_gate,
            CallKind::GetConfig => &self.get_config,
        }
    }
}

fn client(config: &Config, connector: Connector) -> Client {
    let connector = awc::Connector::new()
        .connector(connector)
        // The attempt has its own timeout, so this one must not be shorter.
        .timeout(config.attempt_timeout() + Duration::from_secs(1))
        // `Stream` limits a connection's lifetime, by the clock that the rest of the crate uses.
        .conn_lifetime(Duration::MAX)
        .conn_keep_alive(KEEP_ALIVE)
        .disconnect_timeout(Duration::from_millis(500))
        // The transport limits the calls in flight. A request that waited here for a connection
        // would look as if it could not connect.
        .limit(0);
    Client::builder()
        .connector(connector)
        .disable_timeout()
        // A redirect would send the key to another host.
        .disable_redirects()
        .no_default_headers()
        .add_default_header(("user-agent", USER_AGENT))
        .finish()
}

fn request(
    client: &Client,
    config: &Config,
    kind: CallKind,
    api_key: &HeaderValue,
) -> Result<FrozenClientRequest, Error> {
    let uri = &endpoint(config.uri(), kind)?;
    let mut request = client
        .post(without_tls(uri))
        // awc would build the same header anew for each request.
        .insert_header((HOST, host(uri)))
        .insert_header(("statsig-api-key", api_key.clone()))
        .insert_header((CONTENT_TYPE, "application/json"))
        // Answers are small, so no compression is requested. `decompress` handles answers that are
        // compressed anyway. awc must not decompress, even if another crate of the app enables its
        // compression.
        .insert_header((ACCEPT_ENCODING, "identity"))
        .no_decompress();
    let authorization = plain_proxy(config).and_then(Proxy::authorization);
    if let Some(Ok(mut authorization)) = authorization.map(HeaderValue::from_str) {
        authorization.set_sensitive(true);
        request = request.insert_header((PROXY_AUTHORIZATION, authorization));
    }
    request.freeze().map_err(|error| unusable(uri, &error))
}

/// Returns the proxy that reads the requests, if any. With TLS, a proxy sees only CONNECT.
pub(super) fn plain_proxy(config: &Config) -> Option<&Proxy> {
    config.proxy_choice().proxy.as_ref().filter(|_| !is_https(config.uri()))
}

/// Returns the host, with the port if it is not the scheme's default.
fn host(uri: &Uri) -> String {
    let host = uri.host().unwrap_or_default();
    let default_port = if is_https(uri) { 443 } else { 80 };
    match uri.port_u16().filter(|port| *port != default_port) {
        None => host.to_owned(),
        Some(port) => format!("{host}:{port}"),
    }
}

fn is_https(uri: &Uri) -> bool {
    uri.scheme_str() == Some("https")
}

const USER_AGENT: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));

fn endpoint(base: &Uri, kind: CallKind) -> Result<Uri, Error> {
    let mut parts = base.clone().into_parts();
    let path = format!("{}{}", base.path().trim_end_matches('/'), kind.path());
    parts.path_and_query = uri::PathAndQuery::try_from(path).ok();
    Uri::from_parts(parts).map_err(|error| unusable(base, &error))
}

fn unusable(base: &Uri, error: &dyn fmt::Display) -> Error {
    Error::InvalidConfig {
        setting: "base_url",
        value: base.to_string(),
        rule: format!("must be a URL to which a path can be appended ({error})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_has_the_port_unless_it_is_the_schemes_own() {
        for (url, wanted) in [
            ("https://a.b", "a.b"),
            ("https://a.b:443/c", "a.b"),
            ("https://a.b:80", "a.b:80"),
            ("https://a.b:8443", "a.b:8443"),
            ("http://a.b:80", "a.b"),
            ("http://a.b:443", "a.b:443"),
            ("http://[::1]:8080", "[::1]:8080"),
        ] {
            assert_eq!(host(&url.parse().unwrap()), wanted, "{url}");
        }
    }

    #[test]
    fn paths_are_appended_to_the_base_url() {
        let of = |base: &str| endpoint(&base.parse().unwrap(), CallKind::CheckGate).unwrap();
        assert_eq!(of("https://a.b"), "https://a.b/v1/check_gate");
        assert_eq!(of("http://[::1]:8/c/d"), "http://[::1]:8/c/d/v1/check_gate");
    }
}

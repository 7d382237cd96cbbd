//! Detects requests from this machine that a browser or a proxy may have made for a caller
//! elsewhere. Headers never raise trust in a caller; the headers checked here lower it.

use std::net::{IpAddr, SocketAddr};

use actix_web::http::{Uri, header::HeaderMap, uri::Authority};

/// Why a request from this machine is not trusted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Distrust {
    /// A page from another site may have made a browser send the request: the browser says so, or
    /// the request's host is not a name of this machine.
    CrossSite,
    /// A proxy says that it forwards the request.
    Forwarded,
}

/// Headers by which proxies say that they forward a request.
const FORWARDED: [&str; 4] = ["forwarded", "via", "x-forwarded-for", "x-real-ip"];

/// Returns why the request is not trusted, if it is not.
///
/// An absolute target (`GET http://host/path`) names a host, as `Host` does. Both are checked.
pub(crate) fn distrust(target: &Uri, headers: &HeaderMap) -> Option<Distrust> {
    if is_cross_site(target, headers) {
        return Some(Distrust::CrossSite);
    }
    FORWARDED.iter().any(|header| headers.contains_key(*header)).then_some(Distrust::Forwarded)
}

/// Browsers send no `Sec-Fetch-Site` over plain HTTP to an address like 0.0.0.0, so `Origin` and
/// the hosts are checked as well.
fn is_cross_site(target: &Uri, headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let host = text("host");
    let hosts = [host, target.authority().map(Authority::as_str)];
    let is_other_site = |site| !matches!(site, "none" | "same-origin");
    let is_other_origin = |origin: &str| {
        let own = host.map(|host| format!("http://{host}"));
        own.is_none_or(|own| !own.eq_ignore_ascii_case(origin))
    };
    text("sec-fetch-site").is_some_and(is_other_site)
        || text("origin").is_some_and(is_other_origin)
        || hosts.into_iter().flatten().any(|host| !is_loopback_name(host))
}

/// Whether this is `localhost` or a loopback address, whose meaning no DNS server decides.
fn is_loopback_name(host: &str) -> bool {
    let Ok(host) = host.parse::<Authority>() else { return false };
    let name = host.host();
    let address = name.trim_start_matches('[').trim_end_matches(']').parse();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(is_loopback)
}

/// Whether this is a loopback address, including an IPv4 address mapped to IPv6.
pub(crate) fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// Whether other machines can reach one of these addresses.
pub(crate) fn is_any_public(addresses: &[SocketAddr]) -> bool {
    addresses.iter().any(|address| !is_loopback(address.ip()))
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn browser_lured_by_a_foreign_page_is_a_stranger() {
        for (headers, is_own) in [
            (&[("host", "127.0.0.1:8080")][..], true),
            (&[("host", "127.9.8.7")], true),
            (&[("host", "[::ffff:127.0.0.1]:8080")], true),
            (&[("host", "[::1]:8080"), ("sec-fetch-site", "same-origin")], true),
            (&[("host", "LOCALHOST:8080"), ("sec-fetch-site", "none")], true),
            (&[("host", "127.0.0.1"), ("sec-fetch-site", "cross-site")], false),
            (&[("host", "localhost"), ("sec-fetch-site", "same-site")], false),
            (&[("host", "rebound.example:8080")], false),
            (&[("host", "localhost.example")], false),
            (&[("host", "")], false),
            // These addresses reach this machine, and browsers send them no `Sec-Fetch-Site`.
            (&[("host", "0.0.0.0:8080")], false),
            (&[("host", "[::]:8080")], false),
            (&[("host", "192.0.2.7:8080")], false),
            (&[("host", "localhost:8080"), ("origin", "http://localhost:8080")], true),
            (&[("host", "localhost:8080"), ("origin", "http://LocalHost:8080")], true),
            (&[("host", "localhost:8080"), ("origin", "http://localhost:3000")], false),
            (&[("host", "localhost:8080"), ("origin", "http://elsewhere.example")], false),
            (&[("host", "localhost:8080"), ("origin", "https://localhost:8080")], false),
            (&[("host", "localhost:8080"), ("origin", "null")], false),
            (&[("host", "0.0.0.0:8080"), ("origin", "http://0.0.0.0:8080")], false),
            (&[("origin", "http://elsewhere.example")], false),
        ] {
            let wanted = (!is_own).then_some(Distrust::CrossSite);
            assert_eq!(distrust_of(headers), wanted, "{headers:?}");
        }
    }

    #[test]
    fn forwarded_request_is_a_strangers() {
        for header in [
            ("forwarded", "for=127.0.0.1"),
            ("x-forwarded-for", ""),
            ("x-forwarded-for", "127.0.0.1"),
            ("via", "1.1 proxy"),
            ("x-real-ip", "192.0.2.7"),
        ] {
            let distrust = distrust_of(&[("host", "localhost"), header]);
            assert_eq!(distrust, Some(Distrust::Forwarded), "{header:?}");
        }
        assert_eq!(distrust_of(&[("host", "localhost"), ("x-request-id", "r-1")]), None);
    }

    #[test]
    fn absolute_target_is_judged_like_host() {
        for (target, host, is_own) in [
            ("http://localhost:8080/stats", "localhost:8080", true),
            ("http://[::1]/stats", "localhost", true),
            ("http://rebound.example/stats", "localhost", false),
            ("http://rebound.example/", "127.0.0.1:8080", false),
            ("http://localhost/stats", "rebound.example", false),
            ("http://localhost@rebound.example/", "localhost", false),
            ("http://0.0.0.0:8080/stats", "localhost", false),
        ] {
            let request = TestRequest::with_uri(target).insert_header(("host", host));
            let request = request.to_http_request();
            let wanted = (!is_own).then_some(Distrust::CrossSite);
            assert_eq!(distrust(request.uri(), request.headers()), wanted, "{target} {host}");
        }
    }

    fn distrust_of(headers: &[(&'static str, &'static str)]) -> Option<Distrust> {
        let request = headers
            .iter()
            .fold(TestRequest::default(), |request, header| request.insert_header(*header));
        let request = request.to_http_request();
        distrust(request.uri(), request.headers())
    }
}

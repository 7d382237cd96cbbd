//! What it is worth that a connection comes from this machine: a browser or a proxy may have made it
//! for somebody else. Headers never add to the trust in a caller; these take from it.

use std::net::{IpAddr, SocketAddr};

use actix_web::http::{Uri, header::HeaderMap, uri::Authority};

/// Why what comes from this machine may be somebody else's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Doubt {
    /// A browser may have been lured here by a page from elsewhere: it says so itself, or has another
    /// name for this machine than this machine has.
    Lured,
    /// A proxy says that it passes it on.
    Forwarded,
}

/// By which proxies tell that they pass a request on.
const FORWARDED: [&str; 4] = ["forwarded", "via", "x-forwarded-for", "x-real-ip"];

/// An absolute target (`GET http://host/path`) names the host in place of `Host`: it is judged like
/// that, and as well as that.
pub(crate) fn doubt(target: &Uri, headers: &HeaderMap) -> Option<Doubt> {
    if is_lured(target, headers) {
        return Some(Doubt::Lured);
    }
    FORWARDED.iter().any(|header| headers.contains_key(*header)).then_some(Doubt::Forwarded)
}

/// To plain HTTP on an address like 0.0.0.0 browsers send no `Sec-Fetch-Site`; hence the other two.
fn is_lured(target: &Uri, headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let host = text("host");
    let hosts = [host, target.authority().map(Authority::as_str)];
    let is_elsewhere = |site| !matches!(site, "none" | "same-origin");
    let is_foreign = |origin: &str| {
        let own = host.map(|host| format!("http://{host}"));
        own.is_none_or(|own| !own.eq_ignore_ascii_case(origin))
    };
    text("sec-fetch-site").is_some_and(is_elsewhere)
        || text("origin").is_some_and(is_foreign)
        || hosts.into_iter().flatten().any(|host| !is_a_name_of_this_machine(host))
}

/// `localhost` or a loopback address, for no server of names has a say in these.
fn is_a_name_of_this_machine(host: &str) -> bool {
    let Ok(host) = host.parse::<Authority>() else { return false };
    let name = host.host();
    let address = name.trim_start_matches('[').trim_end_matches(']').parse();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(is_this_machine)
}

/// An IPv4 address may come as an IPv6 one.
pub(crate) fn is_this_machine(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// Whether others than this machine reach one of these addresses.
pub(crate) fn are_reached_from_elsewhere(addresses: &[SocketAddr]) -> bool {
    addresses.iter().any(|address| !is_this_machine(address.ip()))
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn a_browser_on_this_machine_that_was_lured_by_a_page_from_elsewhere_is_a_stranger() {
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
            // These reach this machine, and browsers say nothing of sites to them.
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
            let wanted = (!is_own).then_some(Doubt::Lured);
            assert_eq!(doubt_about(headers), wanted, "{headers:?}");
        }
    }

    #[test]
    fn what_a_proxy_on_this_machine_says_it_passes_on_is_a_stranger_s() {
        for header in [
            ("forwarded", "for=127.0.0.1"),
            ("x-forwarded-for", ""),
            ("x-forwarded-for", "127.0.0.1"),
            ("via", "1.1 proxy"),
            ("x-real-ip", "192.0.2.7"),
        ] {
            let doubt = doubt_about(&[("host", "localhost"), header]);
            assert_eq!(doubt, Some(Doubt::Forwarded), "{header:?}");
        }
        assert_eq!(doubt_about(&[("host", "localhost"), ("x-request-id", "r-1")]), None);
    }

    #[test]
    fn an_absolute_target_is_judged_like_host() {
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
            let wanted = (!is_own).then_some(Doubt::Lured);
            assert_eq!(doubt(request.uri(), request.headers()), wanted, "{target} {host}");
        }
    }

    fn doubt_about(headers: &[(&'static str, &'static str)]) -> Option<Doubt> {
        let request = headers
            .iter()
            .fold(TestRequest::default(), |request, header| request.insert_header(*header));
        let request = request.to_http_request();
        doubt(request.uri(), request.headers())
    }
}

//! Settings from text.

use std::{fs, net::IpAddr, time::Duration};

use awc::http::Uri;

use super::{FlushPolicy, invalid};
use crate::model::{error::Error, user::Tier};

pub(super) fn duration(setting: &'static str, text: &str) -> Result<Duration, Error> {
    let trimmed = text.trim();
    let (number, unit) = match trimmed.find(|c: char| !c.is_ascii_digit()) {
        Some(at) => trimmed.split_at(at),
        None => (trimmed, "ms"),
    };
    let duration = match unit.trim() {
        "ms" => number.parse().ok().map(Duration::from_millis),
        "s" => number.parse().ok().map(Duration::from_secs),
        _ => None,
    };
    let rule = "must be whole milliseconds, or a number with `ms` or `s`";
    duration.ok_or_else(|| invalid(setting, format!("{text:?}"), rule))
}

/// What [`duration`] reads as this many milliseconds.
pub(super) fn duration_text(duration: Duration) -> String {
    match duration.as_millis() {
        ms if ms.is_multiple_of(1000) => format!("{}s", ms / 1000),
        ms => format!("{ms}ms"),
    }
}

pub(super) fn bytes(setting: &'static str, text: &str) -> Result<u64, Error> {
    let trimmed = text.trim();
    let (number, unit) = match trimmed.find(|c: char| !c.is_ascii_digit()) {
        Some(at) => trimmed.split_at(at),
        None => (trimmed, ""),
    };
    let factor = UNITS.into_iter().find(|(name, _)| *name == unit.trim());
    let bytes = factor.and_then(|(_, factor)| number.parse::<u64>().ok()?.checked_mul(factor));
    let rule = "must be whole bytes, or a number with `KiB`, `MiB`, `GiB` or `TiB`";
    bytes.ok_or_else(|| invalid(setting, format!("{text:?}"), rule))
}

/// What [`bytes`] reads as this many.
pub(super) fn bytes_text(bytes: u64) -> String {
    let whole = |(_, factor): &(&str, u64)| bytes > 0 && bytes.is_multiple_of(*factor);
    let (unit, factor) = UNITS.into_iter().find(whole).unwrap_or(("", 1));
    format!("{}{unit}", bytes / factor)
}

const UNITS: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("", 1)];

pub(super) fn number<T: std::str::FromStr>(setting: &'static str, text: &str) -> Result<T, Error> {
    let parsed = text.trim().parse();
    parsed.map_err(|_| invalid(setting, format!("{text:?}"), "must be a whole number"))
}

pub(super) fn flag(setting: &'static str, text: &str) -> Result<bool, Error> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "on" | "yes" => Ok(true),
        "false" | "0" | "off" | "no" => Ok(false),
        _ => Err(invalid(setting, format!("{text:?}"), "must be true or false")),
    }
}

pub(super) fn flush_policy(setting: &'static str, text: &str) -> Result<FlushPolicy, Error> {
    let wanted = text.trim().to_ascii_lowercase();
    let policy = FlushPolicy::ALL.into_iter().find(|policy| policy.to_string() == wanted);
    policy.ok_or_else(|| invalid(setting, format!("{text:?}"), "must be interval or adaptive"))
}

/// Nothing is no tier.
pub(super) fn tier(text: &str) -> Option<Tier> {
    Some(text.trim()).filter(|name| !name.is_empty()).map(Tier::from)
}

/// PEM itself, or the path of a file of it.
pub(super) fn pem(setting: &'static str, text: &str) -> Result<Vec<u8>, Error> {
    if text.is_empty() || text.contains("-----BEGIN") {
        return Ok(text.as_bytes().to_vec());
    }
    fs::read(text).map_err(|error| {
        let rule = format!("must be PEM or a file of it that can be read ({error})");
        invalid(setting, format!("{text:?}"), rule)
    })
}

pub(super) fn base_url(text: &str, allow_plain_http: bool) -> Result<Uri, Error> {
    let refuse =
        |rule: &str| Err(invalid("base_url", format!("{:?}", without_userinfo(text)), rule));
    let Ok(uri) = text.parse::<Uri>() else { return refuse("must be a URL") };
    let Some(authority) = uri.authority() else { return refuse("must name a host") };
    if authority.as_str().contains('@') {
        return refuse("must not name a user");
    }
    if uri.query().is_some() || text.contains('#') {
        return refuse("must have neither a query nor a fragment");
    }
    if let Err(rule) = port(&uri) {
        return refuse(&rule);
    }
    match uri.scheme_str() {
        Some("https") => Ok(uri),
        Some("http") if allow_plain_http || is_loopback(authority.host()) => Ok(uri),
        Some("http") => {
            refuse("must be https, for the key would cross the network (or set `allow_plain_http`)")
        }
        _ => refuse("must begin with https:// or http://"),
    }
}

/// The URL's port, if it has one. awc takes one that it cannot read for none.
pub(super) fn port(uri: &Uri) -> Result<Option<u16>, String> {
    let host = uri.host().filter(|host| !host.is_empty());
    let Some((host, authority)) = host.zip(uri.authority()) else {
        return Err("must name a host".to_owned());
    };
    let rest = authority.as_str().rsplit('@').next().and_then(|rest| rest.strip_prefix(host));
    match rest.unwrap_or_default().strip_prefix(':') {
        None => Ok(None),
        Some(text) => {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit()).then_some(text);
            let port = digits.and_then(|digits| digits.parse().ok()).filter(|port| *port > 0);
            let rule = "must have a port from 1 to 65535, or none and no colon";
            port.map(Some).ok_or_else(|| rule.to_owned())
        }
    }
}

pub(super) fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || bare.parse().is_ok_and(|ip: IpAddr| ip.to_canonical().is_loopback())
}

/// What stands before an `@` may be a password.
fn without_userinfo(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((_, host)) => format!("[redacted]@{host}"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_milliseconds_unless_they_say_otherwise() {
        for (text, milliseconds) in [("5", 5), ("5ms", 5), (" 3 s ", 3000), ("0s", 0)] {
            assert_eq!(duration("timeout", text).unwrap(), Duration::from_millis(milliseconds));
        }
        for text in ["", "s", "5 m", "1.5s", "99999999999999999999"] {
            assert!(duration("timeout", text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn sizes_are_bytes_unless_they_say_otherwise() {
        for (text, size, again) in [
            ("5", 5, "5"),
            ("0", 0, "0"),
            (" 3 KiB ", 3 << 10, "3KiB"),
            ("1048576", 1 << 20, "1MiB"),
            ("64MiB", 64 << 20, "64MiB"),
            ("1536MiB", 3 << 29, "1536MiB"),
            ("2GiB", 2 << 30, "2GiB"),
            ("1TiB", 1 << 40, "1TiB"),
        ] {
            assert_eq!(bytes("cache_bytes", text).unwrap(), size);
            assert_eq!(bytes_text(size), again);
        }
        for text in ["", "MiB", "64MB", "64m", "1.5GiB", "-1", "99999999TiB"] {
            assert!(bytes("cache_bytes", text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn plain_http_stays_on_this_machine_unless_it_is_allowed() {
        for url in [
            "http://localhost:1",
            "http://127.8.0.1",
            "http://[::1]:80",
            "http://[::ffff:127.0.0.1]",
            "https://a.b/c",
        ] {
            assert!(base_url(url, false).is_ok(), "{url}");
        }
        for url in ["http://api.statsig.com", "http://10.0.0.1", "http://localhost.evil.com"] {
            assert!(base_url(url, false).is_err(), "{url}");
            assert!(base_url(url, true).is_ok(), "{url}");
        }
    }

    #[test]
    fn what_is_no_base_url_is_refused() {
        for url in [
            "",
            "a.b",
            "/v1",
            "ftp://a.b",
            "https://a.b?q=1",
            "https://a.b#c",
            "https://",
            "https://:443",
        ] {
            assert!(base_url(url, true).is_err(), "{url}");
        }
        for port in ["", "0", "00", "65536", "99999", "184467440737095516160", "+80"] {
            for (host, path) in [("a.b", ""), ("a.b", "/"), ("10.0.0.1", "/c"), ("[::1]", "")] {
                let url = format!("https://{host}:{port}{path}");
                let error = base_url(&url, true).unwrap_err().to_string();
                assert!(error.starts_with("setting `base_url` cannot be "), "{error}");
                let rule = "must have a port from 1 to 65535, or none and no colon";
                // The URL's own parser refuses a sign.
                assert!(error.ends_with(rule) || port == "+80", "{error}");
            }
        }
        for port in ["1", "80", "0443", "65535"] {
            assert!(base_url(&format!("https://a.b:{port}"), false).is_ok(), "{port}");
        }
        let error = base_url("https://me:hunter2@a.b", true).unwrap_err().to_string();
        assert!(error.contains("must not name a user") && !error.contains("hunter2"), "{error}");
    }

    proptest! {
        #[test]
        fn no_text_makes_a_parser_panic(text in "\\PC{0,20}") {
            let _ = duration("timeout", &text);
            let _ = bytes("cache_bytes", &text);
            let _ = flag("exposure_logging", &text);
            let _ = number::<usize>("batch_size", &text);
            let _ = base_url(&text, true);
        }
    }
}

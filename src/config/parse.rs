//! Reads settings from text, and writes them as text.

use std::{fs, net::IpAddr, time::Duration};

use awc::http::Uri;

use super::{FlushPolicy, invalid};
use crate::model::{error::Error, user::Tier};

/// Reads a duration: a whole number of milliseconds, or of the unit that follows it.
pub(super) fn duration(setting: &'static str, text: &str) -> Result<Duration, Error> {
    let milliseconds = whole(text, "ms", &TIME_UNITS);
    let rule = "must be whole milliseconds, or a number with `ms`, `s`, `m`, `h` or `d`";
    milliseconds
        .map(Duration::from_millis)
        .ok_or_else(|| invalid(setting, format!("{text:?}"), rule))
}

/// Writes whole milliseconds as [`duration`] reads them.
pub(super) fn duration_text(duration: Duration) -> String {
    match u64::try_from(duration.as_millis()).unwrap_or(u64::MAX) {
        0 => "0s".to_owned(),
        milliseconds => in_largest_unit(milliseconds, &TIME_UNITS),
    }
}

/// Reads a size: a whole number of bytes, or of the unit that follows it.
pub(super) fn bytes(setting: &'static str, text: &str) -> Result<u64, Error> {
    let rule = "must be whole bytes, or a number with `KiB`, `MiB`, `GiB` or `TiB`";
    whole(text, "", &SIZE_UNITS).ok_or_else(|| invalid(setting, format!("{text:?}"), rule))
}

/// Writes a size as [`bytes`] reads it.
pub(super) fn bytes_text(bytes: u64) -> String {
    in_largest_unit(bytes, &SIZE_UNITS)
}

type Units = [(&'static str, u64); 5];

/// In milliseconds.
const TIME_UNITS: Units =
    [("d", 24 * 60 * 60 * 1000), ("h", 60 * 60 * 1000), ("m", 60 * 1000), ("s", 1000), ("ms", 1)];

const SIZE_UNITS: Units =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("", 1)];

/// Reads a whole number with a unit. Without a unit, the default unit applies.
fn whole(text: &str, default_unit: &str, units: &Units) -> Option<u64> {
    let text = text.trim();
    let (number, unit) = match text.find(|c: char| !c.is_ascii_digit()) {
        Some(at) => text.split_at(at),
        None => (text, default_unit),
    };
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// Writes a number in the largest unit that keeps it whole.
fn in_largest_unit(number: u64, units: &Units) -> String {
    let keeps_whole = |(_, factor): &&(&str, u64)| number > 0 && number.is_multiple_of(*factor);
    let (unit, factor) = units.iter().find(keeps_whole).unwrap_or(&units[4]);
    format!("{}{unit}", number / factor)
}

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
    let name = text.trim().to_ascii_lowercase();
    let policy = FlushPolicy::ALL.into_iter().find(|policy| policy.to_string() == name);
    policy.ok_or_else(|| invalid(setting, format!("{text:?}"), "must be interval or adaptive"))
}

/// Reads a tier; empty text is none.
pub(super) fn tier(text: &str) -> Option<Tier> {
    Some(text.trim()).filter(|name| !name.is_empty()).map(Tier::from)
}

/// Reads PEM: the text itself, or the file at this path.
pub(super) fn pem(setting: &'static str, text: &str) -> Result<Vec<u8>, Error> {
    if text.is_empty() || text.contains("-----BEGIN") {
        return Ok(text.as_bytes().to_vec());
    }
    fs::read(text).map_err(|error| {
        let rule = format!("must be PEM, or the path of a PEM file that can be read ({error})");
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
        Some("http") => refuse(
            "must be https, because http would show the key to the network (or set `allow_plain_http`)",
        ),
        _ => refuse("must begin with https:// or http://"),
    }
}

/// Returns the URL's port, if any, and refuses an invalid port. awc would ignore it.
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
            let rule = "must have a port from 1 to 65535, or neither a port nor a colon";
            port.map(Some).ok_or_else(|| rule.to_owned())
        }
    }
}

pub(super) fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || bare.parse().is_ok_and(|ip: IpAddr| ip.to_canonical().is_loopback())
}

/// Redacts the text before an `@`, which may be a password.
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
        for (text, milliseconds, again) in [
            ("5", 5, "5ms"),
            ("5ms", 5, "5ms"),
            (" 3 s ", 3000, "3s"),
            ("1500ms", 1500, "1500ms"),
            ("0s", 0, "0s"),
            ("5m", 5 * 60 * 1000, "5m"),
            ("90s", 90 * 1000, "90s"),
            ("1 h", 3600 * 1000, "1h"),
            ("36h", 36 * 3600 * 1000, "36h"),
            ("7d", 7 * 24 * 3600 * 1000, "7d"),
        ] {
            let read = duration("timeout", text).unwrap();
            assert_eq!(read, Duration::from_millis(milliseconds), "{text:?}");
            assert_eq!(duration_text(read), again);
        }
        for text in
            ["", "s", "5 M", "5min", "1.5s", "1h30m", "99999999999999999999", "9999999999999999d"]
        {
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
    fn invalid_base_url_is_refused() {
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
                let rule = "must have a port from 1 to 65535, or neither a port nor a colon";
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

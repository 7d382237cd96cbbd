//! The client's address behind proxies. Pure.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Returns the client's address, given the number of trusted proxies between the client and the app.
///
/// Each trusted proxy has appended the address that connected to it to `X-Forwarded-For`, whose
/// values are `forwarded_for`. Entries further left may be forged. The lookup stops at a missing or
/// invalid entry, and returns the last known address.
pub(super) fn client<'a>(
    peer: Option<IpAddr>,
    forwarded_for: impl DoubleEndedIterator<Item = &'a [u8]>,
    proxies: usize,
) -> Option<IpAddr> {
    let entries = forwarded_for.rev().flat_map(|value| value.rsplit(|byte| *byte == b','));
    let trusted = entries.take(proxies).map_while(address);
    trusted.last().or(peer).map(|address| address.to_canonical())
}

/// Parses an address as proxies write it: with or without a port, IPv6 with or without brackets.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let entry = std::str::from_utf8(entry).ok()?.trim();
    let bracketed = || entry.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok();
    let bare = entry.parse().ok();
    bare.or_else(|| entry.parse::<SocketAddr>().ok().map(|socket| socket.ip()))
        .or_else(|| bracketed().map(IpAddr::from))
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    const PEER: &str = "10.0.0.1";

    fn with(headers: &[&str], proxies: usize) -> String {
        let headers = headers.iter().map(|header| header.as_bytes());
        client(PEER.parse().ok(), headers, proxies).expect("at least the peer").to_string()
    }

    #[test]
    fn without_trust_the_header_says_nothing() {
        assert_eq!(with(&["203.0.113.7"], 0), PEER);
        assert_eq!(with(&[], 0), PEER);
    }

    #[test]
    fn trusted_proxies_count_from_the_right_over_all_headers() {
        let headers = ["192.0.2.1, 203.0.113.7", "198.51.100.2"];
        assert_eq!(with(&headers, 1), "198.51.100.2");
        assert_eq!(with(&headers, 2), "203.0.113.7");
        assert_eq!(with(&headers, 3), "192.0.2.1");
        assert_eq!(with(&headers, 4), "192.0.2.1");
    }

    #[test]
    fn address_may_have_a_port_and_brackets() {
        for (entry, address) in [
            (" 203.0.113.7:443 ", "203.0.113.7"),
            ("2001:db8::7", "2001:db8::7"),
            ("[2001:db8::7]", "2001:db8::7"),
            ("[2001:db8::7]:443", "2001:db8::7"),
            ("::ffff:203.0.113.7", "203.0.113.7"),
        ] {
            assert_eq!(with(&[entry], 1), address);
        }
    }

    #[test]
    fn rubbish_ends_the_trust() {
        for rubbish in ["", "unknown", "203.0.113.7:x", "[203.0.113.7]", "fe80::1%eth0", "é"] {
            assert_eq!(with(&[rubbish], 1), PEER, "{rubbish}");
            assert_eq!(with(&[&format!("192.0.2.1, {rubbish}, 198.51.100.2")], 3), "198.51.100.2");
        }
    }

    #[test]
    fn behind_a_proxy_on_a_unix_socket_there_is_no_peer() {
        let headers = || [&b"203.0.113.7"[..]].into_iter();
        assert_eq!(client(None, headers(), 0), None);
        assert_eq!(client(None, headers(), 1), "203.0.113.7".parse().ok());
    }

    fn addresses() -> impl Strategy<Value = Vec<IpAddr>> {
        let v4 = any::<[u8; 4]>().prop_map(IpAddr::from);
        let v6 = any::<[u8; 16]>().prop_map(IpAddr::from);
        vec(prop_oneof![v4, v6], 1..5)
    }

    proptest! {
        #[test]
        fn client_cannot_forge_the_address_its_first_proxy_saw(
            written in vec(vec(any::<u8>(), 0..40), 0..4),
            seen in addresses(),
            is_one_header in any::<bool>(),
        ) {
            let proxies = seen.len();
            let appended: Vec<_> = seen.iter().map(|address| address.to_string()).collect();
            let mut headers = written;
            if is_one_header {
                let written = headers.join(&b", "[..]);
                let all = [written, appended.join(", ").into_bytes()];
                headers = std::vec![all.join(&b", "[..])];
            } else {
                headers.extend(appended.into_iter().map(String::into_bytes));
            }

            let found = client(PEER.parse().ok(), headers.iter().map(Vec::as_slice), proxies);

            prop_assert_eq!(found, Some(seen[0].to_canonical()));
        }

        #[test]
        fn without_trust_it_is_the_peer_whatever_is_written(
            headers in vec(vec(any::<u8>(), 0..60), 0..4),
        ) {
            let found = client(PEER.parse().ok(), headers.iter().map(Vec::as_slice), 0);
            prop_assert_eq!(found, PEER.parse().ok());
        }
    }
}

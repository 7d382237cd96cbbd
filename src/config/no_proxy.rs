//! `NO_PROXY`: the hosts that are reached without a proxy.

use std::net::IpAddr;

/// Returns whether the list matches this host. The list has names, addresses and networks,
/// separated by commas or spaces.
///
/// As in curl, a name matches itself and its subdomains, with or without a dot or `*.` in front. As
/// in Go, `*` matches every host, even within a list, and a port restricts an entry.
pub(super) fn matches(list: &str, host: &str, port: u16) -> bool {
    let host = normalized(host);
    let address = address(&host);
    list.split([',', ' ', '\t'])
        .filter(|entry| !entry.is_empty())
        .any(|entry| entry_matches(&normalized(entry), &host, address, port))
}

fn entry_matches(entry: &str, host: &str, address: Option<IpAddr>, port: u16) -> bool {
    let (entry, entry_port) = split_port(entry);
    if entry_port.is_some_and(|entry_port| entry_port.parse() != Ok(port)) {
        return false;
    }
    if entry == "*" {
        return true;
    }
    match address {
        Some(address) => network(entry).is_some_and(|network| network.contains(address)),
        None => {
            let suffix = entry.strip_prefix('*').unwrap_or(entry);
            let suffix = suffix.trim_matches('.');
            let rest = host.strip_suffix(suffix).filter(|_| !suffix.is_empty());
            rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        }
    }
}

fn normalized(text: &str) -> String {
    text.trim_end_matches('.').to_ascii_lowercase()
}

/// Splits an entry from its port. An IPv6 address with a port has brackets.
fn split_port(entry: &str) -> (&str, Option<&str>) {
    match entry.rsplit_once(':') {
        Some((before, port)) if !before.contains(':') || before.ends_with(']') => {
            (before, Some(port))
        }
        _ => (entry, None),
    }
}

fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    Some(bare.parse::<IpAddr>().ok()?.to_canonical())
}

/// All addresses that share their first bits with this one.
struct Network {
    address: IpAddr,
    prefix: u32,
}

fn network(entry: &str) -> Option<Network> {
    let (text, prefix) = match entry.split_once('/') {
        Some((text, prefix)) => (text, Some(prefix.parse().ok()?)),
        None => (entry, None),
    };
    let address = address(text)?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let prefix = prefix.unwrap_or(longest);
    (prefix <= longest).then_some(Network { address, prefix })
}

impl Network {
    fn contains(&self, address: IpAddr) -> bool {
        let difference = match (self.address, address) {
            (IpAddr::V4(a), IpAddr::V4(b)) => u128::from(a.to_bits() ^ b.to_bits()) << 96,
            (IpAddr::V6(a), IpAddr::V6(b)) => a.to_bits() ^ b.to_bits(),
            _ => return false,
        };
        difference.leading_zeros() >= self.prefix
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_match_themselves_and_what_is_below_them() {
        for entry in ["statsig.com", ".statsig.com", "*.statsig.com", "STATSIG.com."] {
            for host in ["statsig.com", "api.statsig.com", "a.b.statsig.com", "API.Statsig.com."] {
                assert!(matches(entry, host, 443), "{entry} {host}");
            }
            for host in ["notstatsig.com", "statsig.com.evil.org", "com", "10.0.0.1"] {
                assert!(!matches(entry, host, 443), "{entry} {host}");
            }
        }
    }

    #[test]
    fn entries_are_separated_by_commas_and_spaces() {
        for list in ["a.org,statsig.com", "a.org, statsig.com ,", "a.org statsig.com", ",*"] {
            assert!(matches(list, "api.statsig.com", 443), "{list}");
        }
        for list in ["", ",", " , ", ".", "..", "a.org"] {
            assert!(!matches(list, "api.statsig.com", 443), "{list}");
        }
    }

    #[test]
    fn port_restricts_an_entry() {
        for (entry, port, matched) in [
            ("statsig.com:443", 443, true),
            ("statsig.com:443", 8443, false),
            ("statsig.com:", 443, false),
            ("*:443", 443, true),
            ("*:443", 80, false),
        ] {
            assert_eq!(matches(entry, "api.statsig.com", port), matched, "{entry} {port}");
        }
        assert!(matches("10.0.0.1:81", "10.0.0.1", 81));
        assert!(!matches("10.0.0.1:81", "10.0.0.1", 80));
        assert!(matches("[fd00::1]:81", "[fd00::1]", 81));
        assert!(!matches("[fd00::1]:81", "[fd00::1]", 80));
    }

    #[test]
    fn addresses_match_as_addresses_and_networks() {
        for (entry, host, matched) in [
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3", "10.1.2.30", false),
            ("10.0.0.0/8", "10.1.2.3", true),
            ("10.0.0.0/8", "11.1.2.3", false),
            ("10.1.2.3/8", "10.9.9.9", true),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("0.0.0.0/0", "[fd00::1]", false),
            ("10.0.0.0/33", "10.0.0.0", false),
            ("10.0.0.0/x", "10.0.0.0", false),
            ("fd00::/8", "[fd12:3::4]", true),
            ("fd00::/8", "[fe80::1]", false),
            ("fd00::1", "[fd00:0:0::1]", true),
            ("[fd00::1]", "[fd00::1]", true),
            ("::ffff:10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3", "[::ffff:10.1.2.3]", true),
            // Only names match by suffix.
            ("2.3", "10.1.2.3", false),
        ] {
            assert_eq!(matches(entry, host, 443), matched, "{entry} {host}");
        }
    }

    proptest! {
        #[test]
        fn network_has_the_addresses_that_share_its_prefix(a: u32, b: u32, prefix in 0u32..=32) {
            let (a, b) = (IpAddr::V4(a.into()), IpAddr::V4(b.into()));
            let bits = |ip: IpAddr| match ip {
                IpAddr::V4(ip) => format!("{:032b}", ip.to_bits())[..prefix as usize].to_owned(),
                IpAddr::V6(_) => unreachable!(),
            };
            let entry = format!("{a}/{prefix}");
            prop_assert_eq!(matches(&entry, &b.to_string(), 443), bits(a) == bits(b));
        }

        #[test]
        fn no_list_makes_it_panic(list in "[-a-z0-9.:/*, \\[\\]é]{0,30}", host in "[a-z0-9.:\\[\\]é]{0,20}") {
            let _ = matches(&list, &host, 443);
        }
    }
}

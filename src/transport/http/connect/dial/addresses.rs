//! The order in which a host's addresses are tried.

use std::{collections::HashSet, net::SocketAddr};

/// Which addresses of a host have worked and failed so far.
#[derive(Debug, Default)]
pub(super) struct AddressHistory {
    last_working: Option<SocketAddr>,
    /// The addresses that failed since they last worked, the latest failure at the end.
    failed: Vec<SocketAddr>,
}

impl AddressHistory {
    /// Returns the current addresses of a name in the order in which they are tried: the one that
    /// worked last, then IPv6 and IPv4 in turn (RFC 8305, section 4), then the ones that failed.
    /// Forgets all other addresses.
    pub(super) fn order(&mut self, resolved: &[SocketAddr]) -> Vec<SocketAddr> {
        self.last_working.take_if(|address| !resolved.contains(address));
        self.failed.retain(|address| resolved.contains(address));
        let mut order = alternate(resolved);
        order.sort_by_key(|address| {
            let failed = self.failed.iter().position(|failed| failed == address);
            // The sort is stable: unknown addresses keep their order.
            (failed.map(|at| at + 1), self.last_working != Some(*address))
        });
        // Truncate after sorting: if these addresses fail, the next attempt tries others.
        order.truncate(MAX_ADDRESSES);
        order
    }

    pub(super) fn on_success(&mut self, address: SocketAddr) {
        self.failed.retain(|failed| *failed != address);
        self.last_working = Some(address);
    }

    /// Records that the address refused the connection, or did not connect in time.
    pub(super) fn on_failure(&mut self, address: SocketAddr) {
        self.last_working.take_if(|working| *working == address);
        self.failed.retain(|failed| *failed != address);
        self.failed.push(address);
    }
}

/// The most addresses to try for a name. Each may hold a socket for a whole attempt.
const MAX_ADDRESSES: usize = 32;

/// Returns each address once, the families in turn, starting with the family of the first.
fn alternate(resolved: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut seen = HashSet::with_capacity(resolved.len());
    let distinct: Vec<_> =
        resolved.iter().copied().filter(|address| seen.insert(*address)).collect();
    let starts_with_v6 = distinct.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) =
        distinct.into_iter().partition(|address| address.is_ipv6() == starts_with_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut order = Vec::with_capacity(seen.len());
    while order.len() < seen.len() {
        order.extend(first.next());
        order.extend(second.next());
    }
    order
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn v4(last: u8) -> SocketAddr {
        ([10, 0, 0, last], 443).into()
    }

    fn v6(last: u16) -> SocketAddr {
        ([0xfd00, 0, 0, 0, 0, 0, 0, last], 443).into()
    }

    #[test]
    fn families_are_tried_in_turn_beginning_with_the_first() {
        let order = |resolved: &[_]| AddressHistory::default().order(resolved);
        assert_eq!(
            order(&[v6(1), v6(2), v6(3), v4(1), v4(2)]),
            [v6(1), v4(1), v6(2), v4(2), v6(3)]
        );
        assert_eq!(order(&[v4(1), v4(2), v6(1)]), [v4(1), v6(1), v4(2)]);
        assert_eq!(order(&[v4(1), v4(1), v4(2), v4(1)]), [v4(1), v4(2)]);
        assert_eq!(order(&[]), []);
    }

    #[test]
    fn promise_4_only_the_first_of_many_addresses_are_tried() {
        let many: Vec<_> = (0..1000).map(v6).collect();
        assert_eq!(AddressHistory::default().order(&many), many[..MAX_ADDRESSES]);
    }

    #[test]
    fn very_many_addresses_of_one_family_leave_room_for_the_other() {
        let many: Vec<_> = (0..1000).map(v6).chain([v4(1)]).collect();
        assert_eq!(AddressHistory::default().order(&many)[..2], [v6(0), v4(1)]);
    }

    #[test]
    fn addresses_beyond_the_limit_are_tried_after_failures() {
        let many: Vec<_> = (0..1000).map(v6).collect();
        let mut history = AddressHistory::default();
        for address in history.order(&many) {
            history.on_failure(address);
        }
        assert_eq!(history.order(&many)[..2], many[MAX_ADDRESSES..MAX_ADDRESSES + 2]);
    }

    #[test]
    fn address_that_worked_is_first_until_it_fails() {
        let all = [v6(1), v4(1), v4(2)];
        let mut history = AddressHistory::default();
        history.on_success(v4(2));
        assert_eq!(history.order(&all), [v4(2), v6(1), v4(1)]);
        assert_eq!(history.order(&all), [v4(2), v6(1), v4(1)]);
        history.on_failure(v4(2));
        assert_eq!(history.order(&all), [v6(1), v4(1), v4(2)]);
        history.on_success(v4(2));
        assert_eq!(history.order(&all)[0], v4(2));
    }

    #[test]
    fn failed_addresses_come_last_the_latest_very_last() {
        let all = [v4(1), v4(2), v4(3)];
        let mut history = AddressHistory::default();
        history.on_failure(v4(1));
        assert_eq!(history.order(&all), [v4(2), v4(3), v4(1)]);
        history.on_failure(v4(2));
        history.on_failure(v4(3));
        assert_eq!(history.order(&all), [v4(1), v4(2), v4(3)]);
        history.on_failure(v4(1));
        assert_eq!(history.order(&all), [v4(2), v4(3), v4(1)]);
    }

    #[test]
    fn address_memory_ends_when_the_name_points_elsewhere() {
        let mut history = AddressHistory::default();
        history.on_success(v4(1));
        history.on_failure(v4(2));
        assert_eq!(history.order(&[v4(3), v4(4)]), [v4(3), v4(4)]);
        assert_eq!(history.order(&[v4(2), v4(3), v4(1)]), [v4(2), v4(3), v4(1)]);
    }

    fn address() -> impl Strategy<Value = SocketAddr> {
        prop_oneof![(0u8..6).prop_map(v4), (0u16..6).prop_map(v6)]
    }

    proptest! {
        #[test]
        fn every_address_is_tried_exactly_once(
            resolved in vec(address(), 0..12),
            events in vec((any::<bool>(), address()), 0..12),
        ) {
            let mut history = AddressHistory::default();
            for (works, address) in events {
                if works { history.on_success(address) } else { history.on_failure(address) }
            }
            let order = history.order(&resolved);
            let distinct: HashSet<_> = resolved.iter().copied().collect();
            prop_assert_eq!(order.len(), distinct.len());
            prop_assert_eq!(order.iter().copied().collect::<HashSet<_>>(), distinct);
            if let Some(working) = history.last_working {
                prop_assert_eq!(order[0], working);
            }
        }

        #[test]
        fn families_alternate_while_there_are_both(resolved in vec(address(), 0..12)) {
            let order = alternate(&resolved);
            let fewer = order.iter().filter(|a| a.is_ipv6()).count()
                .min(order.iter().filter(|a| a.is_ipv4()).count());
            for pair in order[..2 * fewer].windows(2) {
                prop_assert_ne!(pair[0].is_ipv6(), pair[1].is_ipv6());
            }
        }
    }
}

//! The order in which a host's addresses are tried.

use std::{collections::HashSet, net::SocketAddr};

/// How the addresses of a host have done so far.
#[derive(Debug, Default)]
pub(super) struct AddressHistory {
    worked: Option<SocketAddr>,
    /// Those that failed since they last worked, the one that failed last at the end.
    failed: Vec<SocketAddr>,
}

impl AddressHistory {
    /// Puts the addresses that a name has now in the order to try them in: the one that worked last,
    /// then IPv6 and IPv4 in turn (RFC 8305, section 4), then those that failed. Forgets every other.
    pub(super) fn order(&mut self, resolved: &[SocketAddr]) -> Vec<SocketAddr> {
        self.worked.take_if(|address| !resolved.contains(address));
        self.failed.retain(|address| resolved.contains(address));
        let mut order = in_turn(resolved);
        order.sort_by_key(|address| {
            let failed = self.failed.iter().position(|failed| failed == address);
            // Stable: those of which nothing is known stay in turn.
            (failed.map(|at| at + 1), self.worked != Some(*address))
        });
        // Now at last: those left out are others the next time, if these fail.
        order.truncate(MAX_ADDRESSES);
        order
    }

    pub(super) fn worked(&mut self, address: SocketAddr) {
        self.failed.retain(|failed| *failed != address);
        self.worked = Some(address);
    }

    /// It was refused, or did not connect in time.
    pub(super) fn failed(&mut self, address: SocketAddr) {
        self.worked.take_if(|worked| *worked == address);
        self.failed.retain(|failed| *failed != address);
        self.failed.push(address);
    }
}

/// The most addresses of a name that are tried: each may take a socket for as long as an attempt lasts.
const MAX_ADDRESSES: usize = 32;

/// Each address once, the families in turn, beginning with that of the first.
fn in_turn(resolved: &[SocketAddr]) -> Vec<SocketAddr> {
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
    fn promise_4_of_very_many_addresses_the_resolvers_first_are_tried() {
        let many: Vec<_> = (0..1000).map(v6).collect();
        assert_eq!(AddressHistory::default().order(&many), many[..MAX_ADDRESSES]);
    }

    #[test]
    fn very_many_addresses_of_one_family_leave_room_for_the_other() {
        let many: Vec<_> = (0..1000).map(v6).chain([v4(1)]).collect();
        assert_eq!(AddressHistory::default().order(&many)[..2], [v6(0), v4(1)]);
    }

    #[test]
    fn addresses_beyond_the_most_are_tried_once_the_first_have_failed() {
        let many: Vec<_> = (0..1000).map(v6).collect();
        let mut history = AddressHistory::default();
        for address in history.order(&many) {
            history.failed(address);
        }
        assert_eq!(history.order(&many)[..2], many[MAX_ADDRESSES..MAX_ADDRESSES + 2]);
    }

    #[test]
    fn address_that_worked_is_first_until_it_fails() {
        let all = [v6(1), v4(1), v4(2)];
        let mut history = AddressHistory::default();
        history.worked(v4(2));
        assert_eq!(history.order(&all), [v4(2), v6(1), v4(1)]);
        assert_eq!(history.order(&all), [v4(2), v6(1), v4(1)]);
        history.failed(v4(2));
        assert_eq!(history.order(&all), [v6(1), v4(1), v4(2)]);
        history.worked(v4(2));
        assert_eq!(history.order(&all)[0], v4(2));
    }

    #[test]
    fn addresses_that_failed_are_last_and_the_latest_failure_is_the_very_last() {
        let all = [v4(1), v4(2), v4(3)];
        let mut history = AddressHistory::default();
        history.failed(v4(1));
        assert_eq!(history.order(&all), [v4(2), v4(3), v4(1)]);
        history.failed(v4(2));
        history.failed(v4(3));
        assert_eq!(history.order(&all), [v4(1), v4(2), v4(3)]);
        history.failed(v4(1));
        assert_eq!(history.order(&all), [v4(2), v4(3), v4(1)]);
    }

    #[test]
    fn what_was_known_of_an_address_goes_when_the_name_points_elsewhere() {
        let mut history = AddressHistory::default();
        history.worked(v4(1));
        history.failed(v4(2));
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
            for (worked, address) in events {
                if worked { history.worked(address) } else { history.failed(address) }
            }
            let order = history.order(&resolved);
            let distinct: HashSet<_> = resolved.iter().copied().collect();
            prop_assert_eq!(order.len(), distinct.len());
            prop_assert_eq!(order.iter().copied().collect::<HashSet<_>>(), distinct);
            if let Some(worked) = history.worked {
                prop_assert_eq!(order[0], worked);
            }
        }

        #[test]
        fn families_alternate_while_there_are_both(resolved in vec(address(), 0..12)) {
            let order = in_turn(&resolved);
            let fewer = order.iter().filter(|a| a.is_ipv6()).count()
                .min(order.iter().filter(|a| a.is_ipv4()).count());
            for pair in order[..2 * fewer].windows(2) {
                prop_assert_ne!(pair[0].is_ipv6(), pair[1].is_ipv6());
            }
        }
    }
}

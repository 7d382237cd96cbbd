//! Connects to the first address that accepts (RFC 8305, "Happy Eyeballs").

use std::{cell::RefCell, io, net::SocketAddr, time::Duration};

use actix_rt::time::timeout;
use futures_util::{StreamExt, stream::FuturesUnordered};

use super::addresses::AddressHistory;

/// How long an address may connect before the next one starts in parallel.
const HEAD_START: Duration = Duration::from_millis(250);

/// The addresses and their errors.
pub(super) type Failures = Vec<(SocketAddr, io::Error)>;

/// Connects to the first address that accepts. Tries the next address when one has failed, or has
/// not connected within its head start. Returns the winning address and its connection, and drops
/// the other attempts.
pub(super) async fn race<S, F: Future<Output = io::Result<S>>>(
    resolved: &[SocketAddr],
    history: &RefCell<AddressHistory>,
    connect: impl Fn(SocketAddr) -> F,
) -> Result<(SocketAddr, S), Failures> {
    let mut waiting = history.borrow_mut().order(resolved).into_iter();
    let mut failures = Failures::new();
    let mut pending = Pending { addresses: Vec::new(), history };
    let mut connecting = FuturesUnordered::new();
    loop {
        if let Some(address) = waiting.next() {
            pending.addresses.push(address);
            let connected = connect(address);
            connecting.push(async move { (address, connected.await) });
        }
        let is_last = waiting.len() == 0;
        let ended = match is_last {
            true => Ok(connecting.next().await),
            false => timeout(HEAD_START, connecting.next()).await,
        };
        match ended {
            Ok(Some((address, Ok(stream)))) => {
                pending.remove(address);
                history.borrow_mut().on_success(address);
                return Ok((address, stream));
            }
            Ok(Some((address, Err(error)))) => {
                pending.remove(address);
                history.borrow_mut().on_failure(address);
                failures.push((address, error));
            }
            Ok(None) if is_last => return Err(failures),
            // Nothing is connecting, or the head start is over.
            Ok(None) | Err(_) => {}
        }
    }
}

/// The addresses that are connecting. They count as failed when the race ends, with a winner or at
/// the attempt's timeout. So the next attempt starts with another address, however short attempts
/// are.
struct Pending<'a> {
    addresses: Vec<SocketAddr>,
    history: &'a RefCell<AddressHistory>,
}

impl Pending<'_> {
    fn remove(&mut self, address: SocketAddr) {
        self.addresses.retain(|pending| *pending != address);
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        for address in self.addresses.drain(..) {
            self.history.borrow_mut().on_failure(address);
        }
    }
}

/// Returns the most specific kind of failure. A refusal says more than an unreachable network,
/// which a machine without IPv6 reports for each IPv6 address.
pub(super) fn most_specific(failures: &Failures) -> Option<io::ErrorKind> {
    let rank = |kind: io::ErrorKind| match kind {
        io::ErrorKind::ConnectionRefused => 0,
        io::ErrorKind::TimedOut => 1,
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => 3,
        _ => 2,
    };
    failures.iter().map(|(_, error)| error.kind()).min_by_key(|kind| rank(*kind))
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, rc::Rc};

    use actix_rt::time::sleep;
    use tokio::runtime::Builder;

    use super::*;

    /// How long an address takes, and whether it connects then.
    type Script = HashMap<SocketAddr, (u64, Result<(), io::ErrorKind>)>;

    const NEVER: u64 = u64::MAX;

    fn address(last: u8) -> SocketAddr {
        ([10, 0, 0, last], 443).into()
    }

    /// The outcome of a race, its duration in milliseconds, and when each address was tried.
    struct Outcome {
        result: Option<Result<SocketAddr, Vec<SocketAddr>>>,
        took: u64,
        tried: Vec<(u8, u64)>,
    }

    fn last(address: &SocketAddr) -> u8 {
        match address {
            SocketAddr::V4(address) => address.ip().octets()[3],
            SocketAddr::V6(_) => unreachable!("the script has none"),
        }
    }

    /// Runs a race in virtual time, with this limit in milliseconds.
    fn run(
        script: &[(u8, u64, Result<(), io::ErrorKind>)],
        history: &RefCell<AddressHistory>,
        limit: u64,
    ) -> Outcome {
        let resolved: Vec<_> = script.iter().map(|(last, ..)| address(*last)).collect();
        let script: Script = script
            .iter()
            .map(|(last, after, outcome)| (address(*last), (*after, *outcome)))
            .collect();
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(async {
            let started = crate::rt::clock::now();
            let now = || (crate::rt::clock::now() - started).as_millis() as u64;
            let tried = Rc::new(RefCell::new(Vec::new()));
            let connect = |address| {
                tried.borrow_mut().push((last(&address), now()));
                let (after, outcome) = script[&address];
                async move {
                    if after == NEVER {
                        std::future::pending::<()>().await;
                    }
                    sleep(Duration::from_millis(after)).await;
                    outcome.map_err(io::Error::from)
                }
            };
            let result = timeout(Duration::from_millis(limit), race(&resolved, history, connect));
            let result = result.await.ok().map(|result| {
                result
                    .map(|(address, ())| address)
                    .map_err(|failures| failures.into_iter().map(|(address, _)| address).collect())
            });
            Outcome { result, took: now(), tried: tried.take() }
        })
    }

    fn refused() -> Result<(), io::ErrorKind> {
        Err(io::ErrorKind::ConnectionRefused)
    }

    #[test]
    fn next_address_is_tried_after_250_ms_of_silence() {
        let history = RefCell::default();
        let outcome =
            run(&[(1, NEVER, Ok(())), (2, NEVER, Ok(())), (3, 10, Ok(()))], &history, 1000);
        assert_eq!(outcome.result, Some(Ok(address(3))));
        assert_eq!((outcome.tried, outcome.took), (vec![(1, 0), (2, 250), (3, 500)], 510));
    }

    #[test]
    fn next_address_is_tried_at_once_when_one_failed() {
        let history = RefCell::default();
        let outcome =
            run(&[(1, 20, refused()), (2, 0, refused()), (3, 10, Ok(()))], &history, 1000);
        assert_eq!(outcome.result, Some(Ok(address(3))));
        assert_eq!((outcome.tried, outcome.took), (vec![(1, 0), (2, 20), (3, 20)], 30));
    }

    #[test]
    fn slow_address_may_still_win_after_its_head_start() {
        let history = RefCell::default();
        let outcome = run(&[(1, 300, Ok(())), (2, 100, Ok(()))], &history, 1000);
        assert_eq!((outcome.result, outcome.took), (Some(Ok(address(1))), 300));
    }

    #[test]
    fn address_that_answers_in_time_is_the_only_one_tried() {
        let history = RefCell::default();
        let outcome = run(&[(1, 249, Ok(())), (2, 0, Ok(()))], &history, 1000);
        assert_eq!((outcome.result, outcome.tried), (Some(Ok(address(1))), vec![(1, 0)]));
    }

    #[test]
    fn dead_first_address_costs_only_the_first_connection() {
        let history = RefCell::default();
        let script = [(1, NEVER, Ok(())), (2, 10, Ok(()))];
        assert_eq!(run(&script, &history, 1000).took, 260);
        for _ in 0..3 {
            let outcome = run(&script, &history, 1000);
            assert_eq!((outcome.tried, outcome.took), (vec![(2, 0)], 10));
        }
        // Now the other address dies.
        let script = [(1, 10, Ok(())), (2, NEVER, Ok(()))];
        assert_eq!(run(&script, &history, 1000).took, 260);
        assert_eq!(run(&script, &history, 1000).tried, [(1, 0)]);
    }

    #[test]
    fn short_attempt_leaves_the_next_one_another_address() {
        let history = RefCell::default();
        let script = [(1, NEVER, Ok(())), (2, NEVER, Ok(())), (3, 10, Ok(()))];
        assert_eq!(run(&script, &history, 100).result, None);
        assert_eq!(run(&script, &history, 100).tried, [(2, 0)]);
        assert_eq!(run(&script, &history, 100).result, Some(Ok(address(3))));
        assert_eq!(run(&script, &history, 100).tried, [(3, 0)]);
    }

    #[test]
    fn race_ends_when_the_last_address_has_failed() {
        let history = RefCell::default();
        let outcome = run(&[(1, 400, refused()), (2, 10, refused())], &history, 1000);
        assert_eq!((outcome.result, outcome.took), (Some(Err(vec![address(2), address(1)])), 400));
        assert_eq!(run(&[], &history, 1000).result, Some(Err(vec![])));
    }

    #[test]
    fn refusal_tells_more_than_a_network_without_ipv6() {
        use io::ErrorKind::{ConnectionRefused, NetworkUnreachable, Other, TimedOut};
        let of = |kinds: &[io::ErrorKind]| {
            let failures = kinds.iter().map(|kind| (address(1), io::Error::from(*kind))).collect();
            most_specific(&failures)
        };
        assert_eq!(of(&[NetworkUnreachable, ConnectionRefused]), Some(ConnectionRefused));
        assert_eq!(of(&[NetworkUnreachable, TimedOut, Other]), Some(TimedOut));
        assert_eq!(of(&[NetworkUnreachable, Other]), Some(Other));
        assert_eq!(of(&[NetworkUnreachable]), Some(NetworkUnreachable));
        assert_eq!(of(&[]), None);
    }
}

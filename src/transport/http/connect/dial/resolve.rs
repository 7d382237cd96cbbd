//! Resolves a host's name to all its addresses.

use std::{
    cell::{Cell, RefCell},
    io,
    net::{SocketAddr, ToSocketAddrs},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::sync::watch;

use crate::rt::clock;

/// Resolves names with the system's resolver, without a cache.
///
/// The system's resolver blocks, for half a minute if its servers do not answer. So each lookup
/// runs on a thread of its own. That thread does not delay an attempt's timeout. Unlike tokio's
/// blocking threads, it does not delay the end of the runtime either.
pub(super) struct Resolver {
    lookup: Lookup,
    running: RefCell<Vec<RunningLookup>>,
    next_id: Cell<u64>,
}

type Lookup = Arc<dyn Fn(&str, u16) -> Answer + Send + Sync>;
type Answer = io::Result<Vec<SocketAddr>>;

struct RunningLookup {
    id: u64,
    started: Instant,
    answer: watch::Receiver<Option<Arc<Answer>>>,
}

/// How long later callers may join a lookup.
const SHARE_WINDOW: Duration = Duration::from_secs(1);

/// The most lookups at once.
const MAX_LOOKUPS: usize = 4;

impl Resolver {
    pub(super) fn system() -> Self {
        Self::new(|host, port| Ok((host, port).to_socket_addrs()?.collect()))
    }

    fn new(lookup: impl Fn(&str, u16) -> Answer + Send + Sync + 'static) -> Self {
        Self { lookup: Arc::new(lookup), running: RefCell::default(), next_id: Cell::new(0) }
    }

    /// Returns the current addresses of the name.
    ///
    /// The first lookup to succeed wins. If a lookup takes longer than an attempt, the lookup of an
    /// earlier attempt may still answer this one. Only a failure of this attempt's own lookup is
    /// returned.
    pub(super) async fn resolve(
        &self,
        host: &str,
        port: u16,
    ) -> Result<Vec<SocketAddr>, Arc<io::Error>> {
        let own = self.join_or_start(host, port)?;
        let mut answers: FuturesUnordered<_> = self
            .running
            .borrow()
            .iter()
            .map(|running| ended(running.id == own, running.answer.clone()))
            .collect();
        while let Some((is_own, answer)) = answers.next().await {
            match answer.as_deref() {
                Some(Ok(addresses)) => return Ok(addresses.clone()),
                Some(Err(error)) if is_own => {
                    return Err(Arc::new(io::Error::new(error.kind(), error.to_string())));
                }
                Some(Err(_)) => {}
                None if is_own => break,
                None => {}
            }
        }
        Err(Arc::new(io::Error::other("the resolver panicked")))
    }

    /// Returns the id of the caller's own lookup: a recent one, or a new one.
    fn join_or_start(&self, host: &str, port: u16) -> io::Result<u64> {
        let now = clock::now();
        let mut running = self.running.borrow_mut();
        running.retain(RunningLookup::is_running);
        if let Some(last) = running.last()
            && (running.len() >= MAX_LOOKUPS
                || now.saturating_duration_since(last.started) < SHARE_WINDOW)
        {
            return Ok(last.id);
        }
        let (sender, answer) = watch::channel(None);
        let (lookup, host) = (Arc::clone(&self.lookup), host.to_owned());
        thread::Builder::new().name("statsig-resolve".to_owned()).spawn(move || {
            sender.send_replace(Some(Arc::new(lookup(&host, port))));
        })?;
        let id = self.next_id.replace(self.next_id.get() + 1);
        running.push(RunningLookup { id, started: now, answer });
        Ok(id)
    }
}

impl RunningLookup {
    fn is_running(&self) -> bool {
        self.answer.borrow().is_none() && self.answer.has_changed().is_ok()
    }
}

/// Waits for the end of a lookup. The answer is `None` if the lookup panicked.
async fn ended(
    is_own: bool,
    mut answer: watch::Receiver<Option<Arc<Answer>>>,
) -> (bool, Option<Arc<Answer>>) {
    let answer = answer.wait_for(Option::is_some).await;
    (is_own, answer.ok().and_then(|answer| answer.clone()))
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc,
    };

    use futures_util::{
        FutureExt,
        future::{join, join_all},
    };
    use tokio::{runtime::Builder, time::advance};

    use super::*;

    fn address(last: u8) -> SocketAddr {
        ([10, 0, 0, last], 443).into()
    }

    /// A resolver that hangs until it gets a message, and answers with the number of lookups so
    /// far.
    fn hanging() -> (Resolver, Arc<AtomicUsize>, mpsc::Sender<io::Result<()>>) {
        let lookups = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&lookups);
        let (go_on, messages) = mpsc::channel();
        let messages = Mutex::new(messages);
        let resolver = Resolver::new(move |_, _| {
            let nth = counted.fetch_add(1, SeqCst) + 1;
            messages.lock().unwrap().recv().unwrap_or(Ok(()))?;
            Ok(vec![address(u8::try_from(nth).unwrap())])
        });
        (resolver, lookups, go_on)
    }

    fn virtual_time<F: Future>(test: F) -> F::Output {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(test)
    }

    #[test]
    fn lookups_within_a_second_are_shared() {
        virtual_time(async {
            let (resolver, lookups, go_on) = hanging();
            let asking = || resolver.resolve("statsig.test", 443);
            let together = join_all((0..20).map(|_| asking()));
            // Enough messages for a lookup each.
            let go_on = async { (0..21).for_each(|_| go_on.send(Ok(())).unwrap()) };
            let (answers, ()) = join(together, go_on).await;
            assert_eq!(lookups.load(SeqCst), 1);
            for answer in answers {
                assert_eq!(answer.unwrap(), [address(1)]);
            }
            // After its end, the next request starts another lookup.
            assert_eq!(asking().await.unwrap(), [address(2)]);
        });
    }

    #[test]
    fn promise_4_look_ups_that_hang_are_few() {
        virtual_time(async {
            let (resolver, _, go_on) = hanging();
            let mut waiting = Vec::new();
            for _ in 0..20 {
                // One caller gives up, and one waits.
                let asking = || Box::pin(resolver.resolve("statsig.test", 443));
                assert!(asking().now_or_never().is_none());
                let mut asking = asking();
                assert!((&mut asking).now_or_never().is_none());
                waiting.push(asking);
                advance(SHARE_WINDOW).await;
            }
            assert_eq!(resolver.running.borrow().len(), MAX_LOOKUPS);
            (0..MAX_LOOKUPS).for_each(|_| go_on.send(Ok(())).unwrap());
            for answer in join_all(waiting).await {
                assert_eq!(answer.unwrap().len(), 1);
            }
        });
    }

    #[test]
    fn look_up_that_is_longer_than_an_attempt_serves_the_next_one() {
        virtual_time(async {
            let (resolver, lookups, go_on) = hanging();
            let asking = || resolver.resolve("statsig.test", 443);
            assert!(asking().now_or_never().is_none());
            advance(SHARE_WINDOW).await;
            // It starts a lookup of its own, and does not wait for it.
            let mut second = Box::pin(asking());
            assert!((&mut second).now_or_never().is_none());
            assert_eq!(resolver.running.borrow().len(), 2);
            go_on.send(Ok(())).unwrap();
            assert_eq!(second.await.unwrap().len(), 1);
            drop(go_on);
            assert!(lookups.load(SeqCst) <= 2);
        });
    }

    #[test]
    fn failure_of_an_earlier_look_up_is_not_the_next_ones() {
        virtual_time(async {
            let (first, second) = (watch::channel(None), watch::channel(None));
            let resolver = Resolver::new(|_, _| unreachable!("two are running"));
            let running = [&first.1, &second.1].map(Clone::clone).into_iter().enumerate();
            let started = clock::now();
            let running =
                running.map(|(id, answer)| RunningLookup { id: id as u64, started, answer });
            resolver.running.borrow_mut().extend(running);

            let mut asking = Box::pin(resolver.resolve("statsig.test", 443));
            first.0.send_replace(Some(Arc::new(Err(io::Error::other("old")))));
            assert!((&mut asking).now_or_never().is_none());
            second.0.send_replace(Some(Arc::new(Ok(vec![address(2)]))));
            assert_eq!(asking.await.unwrap(), [address(2)]);
        });
    }

    #[actix_rt::test]
    async fn panic_or_error_of_the_resolver_is_an_error() {
        let failing = Resolver::new(|_, _| Err(io::Error::other("no such name")));
        let error = failing.resolve("statsig.test", 443).await.unwrap_err();
        assert_eq!(error.to_string(), "no such name");

        let panicking = Resolver::new(|_, _| panic!("out of order"));
        let error = panicking.resolve("statsig.test", 443).await.unwrap_err();
        assert_eq!(error.to_string(), "the resolver panicked");
    }

    #[actix_rt::test]
    async fn system_knows_this_machine() {
        let addresses = Resolver::system().resolve("localhost", 443).await.unwrap();
        assert!(!addresses.is_empty());
        assert!(
            addresses.iter().all(|address| address.ip().is_loopback() && address.port() == 443)
        );
    }
}

//! From a host's name to all its addresses.

use std::{
    cell::RefCell,
    io,
    net::{SocketAddr, ToSocketAddrs},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tokio::sync::watch;

use crate::clock;

/// Looks names up with the system's resolver, each time anew.
///
/// The system's resolver blocks, for half a minute where its servers do not answer. Each look-up has
/// a thread of its own, for which nobody waits: neither a runtime that ends, as for tokio's blocking
/// threads, nor an attempt whose time is up.
pub(super) struct Resolver {
    look_up: LookUp,
    running: RefCell<Vec<Running>>,
}

type LookUp = Arc<dyn Fn(&str, u16) -> Answer + Send + Sync>;
type Answer = io::Result<Vec<SocketAddr>>;

/// A look-up that has not ended.
struct Running {
    began: Instant,
    answer: watch::Receiver<Option<Arc<Answer>>>,
}

/// For how long those who come later share a look-up.
const SHARED_FOR: Duration = Duration::from_secs(1);

/// The number of look-ups at once.
const MOST: usize = 4;

impl Resolver {
    pub(super) fn of_the_system() -> Self {
        Self::new(|host, port| Ok((host, port).to_socket_addrs()?.collect()))
    }

    fn new(look_up: impl Fn(&str, u16) -> Answer + Send + Sync + 'static) -> Self {
        Self { look_up: Arc::new(look_up), running: RefCell::default() }
    }

    /// The addresses the name has now.
    pub(super) async fn resolve(
        &self,
        host: &str,
        port: u16,
    ) -> Result<Vec<SocketAddr>, Arc<io::Error>> {
        let mut answer = self.join_or_start(host, port)?;
        let answer = answer.wait_for(Option::is_some).await;
        let answer = answer.ok().and_then(|answer| answer.clone());
        match answer.as_deref() {
            Some(Ok(addresses)) => Ok(addresses.clone()),
            Some(Err(error)) => Err(Arc::new(io::Error::new(error.kind(), error.to_string()))),
            None => Err(Arc::new(io::Error::other("the resolver panicked"))),
        }
    }

    fn join_or_start(
        &self,
        host: &str,
        port: u16,
    ) -> io::Result<watch::Receiver<Option<Arc<Answer>>>> {
        let now = clock::now();
        let mut running = self.running.borrow_mut();
        running.retain(|running| {
            running.answer.borrow().is_none() && running.answer.has_changed().is_ok()
        });
        if let Some(last) = running.last()
            && (running.len() >= MOST || now.saturating_duration_since(last.began) < SHARED_FOR)
        {
            return Ok(last.answer.clone());
        }
        let (sender, answer) = watch::channel(None);
        let (look_up, host) = (Arc::clone(&self.look_up), host.to_owned());
        thread::Builder::new().name("statsig-resolve".to_owned()).spawn(move || {
            sender.send_replace(Some(Arc::new(look_up(&host, port))));
        })?;
        running.push(Running { began: now, answer: answer.clone() });
        Ok(answer)
    }
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

    /// A resolver that hangs until it is told to go on, and answers with how often it was asked.
    fn hanging() -> (Resolver, Arc<AtomicUsize>, mpsc::Sender<()>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        let (go_on, told) = mpsc::channel();
        let told = Mutex::new(told);
        let resolver = Resolver::new(move |_, _| {
            let nth = counted.fetch_add(1, SeqCst) + 1;
            told.lock().unwrap().recv().map_err(io::Error::other)?;
            Ok(vec![address(u8::try_from(nth).unwrap())])
        });
        (resolver, asked, go_on)
    }

    fn virtual_time<F: Future>(test: F) -> F::Output {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(test)
    }

    #[test]
    fn who_asks_within_a_second_shares_a_look_up() {
        virtual_time(async {
            let (resolver, asked, go_on) = hanging();
            let asking = || resolver.resolve("statsig.test", 443);
            let together = join_all((0..20).map(|_| asking()));
            let (answers, ()) = join(together, async { go_on.send(()).unwrap() }).await;
            assert_eq!(asked.load(SeqCst), 1);
            for answer in answers {
                assert_eq!(answer.unwrap(), [address(1)]);
            }
            // Another one is made when that one has ended.
            go_on.send(()).unwrap();
            assert_eq!(asking().await.unwrap(), [address(2)]);
        });
    }

    #[test]
    fn promise_4_look_ups_that_hang_are_few() {
        virtual_time(async {
            let (resolver, _, go_on) = hanging();
            let mut waiting = Vec::new();
            for _ in 0..20 {
                // Somebody who gives up, and somebody who waits.
                let asking = || Box::pin(resolver.resolve("statsig.test", 443));
                assert!(asking().now_or_never().is_none());
                let mut asking = asking();
                assert!((&mut asking).now_or_never().is_none());
                waiting.push(asking);
                advance(SHARED_FOR).await;
            }
            assert_eq!(resolver.running.borrow().len(), MOST);
            (0..MOST).for_each(|_| go_on.send(()).unwrap());
            for answer in join_all(waiting).await {
                assert_eq!(answer.unwrap().len(), 1);
            }
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
        let addresses = Resolver::of_the_system().resolve("localhost", 443).await.unwrap();
        assert!(!addresses.is_empty());
        assert!(
            addresses.iter().all(|address| address.ip().is_loopback() && address.port() == 443)
        );
    }
}

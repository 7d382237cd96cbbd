//! The handle of the server that stands in for Statsig.

use std::{
    fmt, io,
    net::{Ipv4Addr, SocketAddr, ToSocketAddrs},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::{net::TcpListener, runtime::Builder, sync::oneshot};

use super::{
    fault::{Fault, Faults},
    record::{Recorded, Recorder},
    rules::Rules,
    server::{self, State, lock},
};

/// A server on a loopback port that speaks `checkGate` and `getConfig` of Statsig's HTTP API.
///
/// It runs on a thread of its own, so that it serves synchronous code and any runtime; dropping it
/// closes its connections and ends the thread. See the [module](super) for an example.
///
/// It refuses what the API document refuses, with `{"error": "..."}` that names field and rule: with
/// 401 a request without the header `statsig-api-key`, with 400 a bad body, with 415 a content type
/// that is not JSON, with 404 and 405 another path and method. It also refuses, with 413, a body of
/// more than 4 MiB. It takes users as Statsig's own SDKs send them: with `null` fields and entries, ids
/// that are numbers, any country and tier, and any custom attributes.
pub struct LocalStatsig {
    address: SocketAddr,
    state: Arc<State>,
    running: Mutex<Option<Running>>,
}

struct Running {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl LocalStatsig {
    /// Starts the server on a port that the system picks.
    ///
    /// # Errors
    /// If there is no port or thread to be had.
    pub fn start(rules: Rules) -> io::Result<Self> {
        Self::start_on((Ipv4Addr::LOCALHOST, 0), rules)
    }

    /// Starts the server on this address.
    ///
    /// # Errors
    /// If the address cannot be bound, or there is no thread to be had.
    pub fn start_on(address: impl ToSocketAddrs, rules: Rules) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            rules: RwLock::new(rules),
            faults: Mutex::new(Faults::default()),
            latency: Mutex::default(),
            api_key: Mutex::default(),
            recorder: Recorder::new(),
            panicked: AtomicBool::new(false),
        });
        let runtime = Builder::new_current_thread().enable_all().build()?;
        // Here, where a failure can still be told to the caller.
        let listener = {
            let _in_runtime = runtime.enter();
            TcpListener::from_std(listener)?
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let served = Arc::clone(&state);
        let run = move || {
            runtime.block_on(async {
                tokio::select! {
                    () = server::serve(listener, served) => {}
                    // Told, or its handle has gone: either way it is the end.
                    _ = stopped => {}
                }
            });
        };
        let thread = thread::Builder::new().name("local-statsig".to_owned()).spawn(run)?;
        Ok(Self { address, state, running: Mutex::new(Some(Running { stop, thread })) })
    }

    /// Stops the server: closes its connections, answered or not, and its port. What it recorded
    /// stays. Blocks for the moment that its thread needs to end; to stop it again does nothing.
    ///
    /// # Panics
    /// If the server itself panicked: what it then answered, or did not, says nothing.
    pub fn stop(&self) {
        let Some(Running { stop, thread }) = lock(&self.running).take() else { return };
        // It may have ended by itself, by a panic.
        let _ = stop.send(());
        let ended = thread.join();
        let panicked = ended.is_err() || self.state.panicked.load(Relaxed);
        // A second panic while the first unwinds would abort the whole test run.
        assert!(!panicked || thread::panicking(), "LocalStatsig panicked");
    }

    /// Where it is, as a [`base_url`](crate::Config::base_url): `http://127.0.0.1:…`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its socket address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers from these rules from now on.
    pub fn set_rules(&self, rules: Rules) {
        *self.state.rules.write().unwrap_or_else(PoisonError::into_inner) = rules;
    }

    /// Takes this long for every answer from now on. Default zero.
    pub fn set_latency(&self, latency: Duration) {
        *lock(&self.state.latency) = latency;
    }

    /// Refuses every other key with 401 from now on. By default any key will do.
    pub fn require_key(&self, api_key: impl Into<String>) {
        *lock(&self.state.api_key) = Some(api_key.into());
    }

    /// Has something go wrong.
    pub fn inject(&self, fault: Fault) {
        lock(&self.state.faults).inject(fault);
    }

    /// Has nothing go wrong any more; what is under way already goes on.
    pub fn clear_faults(&self) {
        lock(&self.state.faults).clear();
    }

    /// The requests in the order they came in, whatever their path. The last 100,000 are kept.
    pub fn requests(&self) -> Vec<Recorded> {
        self.state.recorder.all()
    }

    /// Keeps only so many of the last requests from now on, bodies and all, for a test that runs
    /// for long. Zero records none; all are counted in any case.
    pub fn keep_requests(&self, most: usize) {
        self.state.recorder.keep(most);
    }

    /// How many requests to `/v1/...` there were, counted when they were read and not yet answered.
    pub fn calls(&self) -> usize {
        self.state.recorder.counts().borrow().calls
    }

    /// How many requests, at any path, broke a rule of the API; a test can assert that none did.
    pub fn refused(&self) -> usize {
        self.state.recorder.counts().borrow().refused
    }

    /// Blocks this thread until there were so many [`calls`](Self::calls); false if there were not
    /// within this time. For synchronous tests: in a runtime, rather await
    /// [`calls_reached`](Self::calls_reached).
    pub fn wait_for_calls(&self, calls: usize, timeout: Duration) -> bool {
        self.state.recorder.wait_for_calls(calls, timeout)
    }

    /// Resolves when there were so many [`calls`](Self::calls).
    pub async fn calls_reached(&self, calls: usize) {
        let mut counts = self.state.recorder.counts();
        // The sender lives as long as `self`.
        let _ = counts.wait_for(|counts| counts.calls >= calls).await;
    }

    /// How many connections were accepted so far.
    pub fn connections(&self) -> usize {
        self.state.recorder.counts().borrow().connections
    }

    /// How many connections are open.
    pub fn open_connections(&self) -> usize {
        self.state.recorder.counts().borrow().open_connections
    }

    /// Resolves when no connection is open.
    pub async fn all_closed(&self) {
        let mut counts = self.state.recorder.counts();
        // The sender lives as long as `self`.
        let _ = counts.wait_for(|counts| counts.open_connections == 0).await;
    }

    /// Forgets the requests, and counts calls and refusals from zero again.
    pub fn clear(&self) {
        self.state.recorder.clear();
    }
}

impl Drop for LocalStatsig {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for LocalStatsig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = *self.state.recorder.counts().borrow();
        f.debug_struct("LocalStatsig").field("url", &self.url()).field("counts", &counts).finish()
    }
}

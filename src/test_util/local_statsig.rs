//! The handle of the local Statsig server.

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
    record::{RecordedRequest, Recorder},
    rules::Rules,
    server::{self, State, lock},
};

/// A server on a loopback port that serves `checkGate` and `getConfig` of Statsig's HTTP API.
///
/// It runs on its own thread, so it serves synchronous code and any runtime. Dropping the handle
/// closes the server's connections and ends the thread. See the [module](super) for an example.
///
/// It refuses what the API document refuses, with `{"error": "..."}` that names the field and the
/// rule:
///
/// | status | reason |
/// |---|---|
/// | 400 | the body is invalid |
/// | 401 | the header `statsig-api-key` is missing, or [not the required key](Self::require_key) |
/// | 404, 405 | the API does not have the path, or the path does not allow the method |
/// | 413 | the body is longer than 4 MiB |
/// | 415 | the content type is not JSON |
///
/// It accepts users as Statsig's own SDKs send them: with `null` fields and entries, ids that are
/// numbers, any country and tier, and any custom attributes.
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
    /// Returns an error if no port or no thread is available.
    pub fn start(rules: Rules) -> io::Result<Self> {
        Self::start_on((Ipv4Addr::LOCALHOST, 0), rules)
    }

    /// Starts the server on this address.
    ///
    /// # Errors
    /// Returns an error if the address cannot be bound, or no thread is available.
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
        // Converted on this thread, so that the caller gets the error.
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
                    // Stopped by `stop`, or because the handle was dropped.
                    _ = stopped => {}
                }
            });
        };
        let thread = thread::Builder::new().name("local-statsig".to_owned()).spawn(run)?;
        Ok(Self { address, state, running: Mutex::new(Some(Running { stop, thread })) })
    }

    /// Stops the server: closes its port and all its connections, even with requests unanswered.
    /// Keeps the recorded requests. Blocks until the server's thread has ended. A second call does
    /// nothing.
    ///
    /// # Panics
    /// Panics if the server itself panicked, because its answers then prove nothing.
    pub fn stop(&self) {
        let Some(Running { stop, thread }) = lock(&self.running).take() else { return };
        // A panic may have ended the thread already.
        let _ = stop.send(());
        let ended = thread.join();
        let panicked = ended.is_err() || self.state.panicked.load(Relaxed);
        // A second panic while the first unwinds would abort the whole test run.
        assert!(!panicked || thread::panicking(), "LocalStatsig panicked");
    }

    /// Returns the server's URL, for [`base_url`](crate::Config::base_url): `http://127.0.0.1:…`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the server's socket address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Replaces the rules for later requests.
    pub fn set_rules(&self, rules: Rules) {
        *self.state.rules.write().unwrap_or_else(PoisonError::into_inner) = rules;
    }

    /// Delays every later answer by this duration. Default: zero.
    pub fn set_latency(&self, latency: Duration) {
        *lock(&self.state.latency) = latency;
    }

    /// From now on, refuses every other key with 401. By default the server accepts any key.
    pub fn require_key(&self, api_key: impl Into<String>) {
        *lock(&self.state.api_key) = Some(api_key.into());
    }

    /// Injects a fault.
    pub fn inject(&self, fault: Fault) {
        lock(&self.state.faults).inject(fault);
    }

    /// Removes all faults. A fault that already affects a request stays in effect.
    pub fn clear_faults(&self) {
        lock(&self.state.faults).clear();
    }

    /// Returns the requests to any path, in the order of arrival. The server keeps the last 100,000.
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.state.recorder.all()
    }

    /// Sets how many of the last requests the server keeps, bodies included: for long tests. With
    /// zero, it keeps none. All requests are still counted.
    pub fn keep_requests(&self, count: usize) {
        self.state.recorder.keep(count);
    }

    /// Returns the number of requests to `/v1/...`. A request counts once it has been read, before
    /// its answer.
    pub fn calls(&self) -> usize {
        self.state.recorder.counts().borrow().calls
    }

    /// Returns the number of requests to any path that broke a rule of the API. A test can assert that
    /// none did.
    pub fn refused(&self) -> usize {
        self.state.recorder.counts().borrow().refused
    }

    /// Blocks this thread until there have been this many [`calls`](Self::calls). Returns `false`
    /// if the time runs out first. This method is for synchronous tests. In a runtime, await
    /// [`calls_reached`](Self::calls_reached) instead.
    pub fn wait_for_calls(&self, calls: usize, timeout: Duration) -> bool {
        self.state.recorder.wait_for_calls(calls, timeout)
    }

    /// Resolves when there have been this many [`calls`](Self::calls).
    pub async fn calls_reached(&self, calls: usize) {
        let mut counts = self.state.recorder.counts();
        // The sender lives as long as `self`.
        let _ = counts.wait_for(|counts| counts.calls >= calls).await;
    }

    /// Returns the number of connections accepted so far.
    pub fn connections(&self) -> usize {
        self.state.recorder.counts().borrow().connections
    }

    /// Returns the number of open connections.
    pub fn open_connections(&self) -> usize {
        self.state.recorder.counts().borrow().open_connections
    }

    /// Resolves when no connection is open.
    pub async fn all_closed(&self) {
        let mut counts = self.state.recorder.counts();
        // The sender lives as long as `self`.
        let _ = counts.wait_for(|counts| counts.open_connections == 0).await;
    }

    /// Forgets the requests, and restarts the counts of calls and refusals at zero.
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

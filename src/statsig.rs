//! The handle: start, ask, flush, shut down.

use std::{
    fmt, io,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use actix::{Addr, Handler, Recipient, Supervisor};
use actix_rt::{Arbiter, System};
use futures_util::future;
use tokio::{
    runtime,
    sync::{oneshot, watch},
    task::LocalSet,
};

use crate::{
    batch::{BatchActor, Parts, TransportFactory},
    clock,
    config::Config,
    error::Error,
    evaluation::{ConfigEvaluation, GateEvaluation},
    messages::{
        Admitted, Asking, Call, CheckGates, Flush, GetConfigs, Shutdown, ShutdownReport, check_name,
    },
    shared::Shared,
    stats::Stats,
    transport::{TransportActor, tls},
    user::User,
};

/// The component's handle. Clones share the component; when the last one and the last `Addr` are
/// gone, the component answers what is pending and ends.
///
/// Every method can be called from any thread and any runtime, and its future is `Send`.
///
/// Supervision rests on unwinding: with `panic = "abort"` a panic ends the whole process, and
/// starting the component logs a warning that says so.
///
/// ```
/// # #[cfg(feature = "test-util")]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use actix_statsig::test_util::{LocalStatsig, Rules};
/// # let server = LocalStatsig::start(Rules::new().gate("new_checkout", true))?;
/// # let config = actix_statsig::Config::builder("secret-key").base_url(server.url()).build()?;
/// use actix_statsig::{Statsig, User};
/// use std::time::Duration;
///
/// let statsig = Statsig::start(config)?;
/// # actix_rt::System::new().block_on(async move {
/// let user = User::builder().user_id("u-1").country("NL").build()?;
///
/// assert!(statsig.check_gate(&user, "new_checkout").await?);
///
/// let report = statsig.shutdown(Duration::from_secs(5)).await;
/// assert_eq!(report.cut_off, 0);
/// # Ok(())
/// # })
/// # }
/// # #[cfg(not(feature = "test-util"))]
/// # fn main() {}
/// ```
#[derive(Clone)]
pub struct Statsig {
    addr: Addr<BatchActor>,
    shared: Arc<Shared>,
    timeout: Duration,
    /// Closed when the component's tasks, and its thread if it has one, are through.
    gone: watch::Receiver<()>,
}

impl Statsig {
    /// Starts the component on a thread with a `System` of its own, which works from any runtime or
    /// none and outlives actix-web's handling of signals.
    ///
    /// If the process has no default crypto provider for rustls, this installs one (ring's): awc
    /// would panic without one in some apps. An app that installs its own does so before.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] if `https` is asked for and nobody is trusted, [`Error::Start`] if
    /// the thread cannot be started.
    pub fn start(config: Config) -> Result<Self, Error> {
        let tls = tls::client_config(&config)?;
        Self::on_own_thread(config, move |config, shared| http_transport(config, tls, shared))
    }

    /// Starts the component on the current arbiter: for callers on that same thread, who then pay
    /// no hop between threads. It ends with the arbiter.
    ///
    /// # Errors
    /// [`Error::NoArbiter`] outside of a running actix `System`; otherwise as
    /// [`start`](Self::start).
    pub fn start_here(config: Config) -> Result<Self, Error> {
        let tls = tls::client_config(&config)?;
        Self::on_this_arbiter(config, move |config, shared| http_transport(config, tls, shared))
    }

    /// The same as [`start`](Self::start), with other transports in place of HTTP. The factory runs
    /// on the component's thread.
    ///
    /// # Errors
    /// [`Error::Start`] if the thread cannot be started.
    pub fn start_with<F>(config: Config, factory: F) -> Result<Self, Error>
    where
        F: FnMut() -> Result<Recipient<Call>, Error> + Send + 'static,
    {
        Self::on_own_thread(config, |_, _| Box::new(factory))
    }

    /// The same as [`start_here`](Self::start_here), with other transports in place of HTTP.
    ///
    /// # Errors
    /// [`Error::NoArbiter`] outside of a running actix `System`.
    pub fn start_here_with<F>(config: Config, factory: F) -> Result<Self, Error>
    where
        F: FnMut() -> Result<Recipient<Call>, Error> + 'static,
    {
        Self::on_this_arbiter(config, |_, _| Box::new(factory))
    }

    /// The actor's address, for those who rather send messages.
    pub fn addr(&self) -> Addr<BatchActor> {
        self.addr.clone()
    }

    /// Whether the gate is open for the user.
    ///
    /// # Errors
    /// Whatever kept the question from being answered: an error is never turned into `false`.
    pub async fn check_gate(&self, user: &User, gate: impl Into<Arc<str>>) -> Result<bool, Error> {
        Ok(self.gate(user, gate).await?.value())
    }

    /// Whether each of the gates is open for the user, in the order asked.
    ///
    /// # Errors
    /// As [`check_gate`](Self::check_gate): one for all of them.
    pub async fn check_gates<N: Into<Arc<str>>>(
        &self,
        user: &User,
        gates: impl IntoIterator<Item = N>,
    ) -> Result<Vec<bool>, Error> {
        Ok(self.gates(user, gates).await?.iter().map(GateEvaluation::value).collect())
    }

    /// A gate's whole evaluation: the value, with the rule and the group that decided it.
    ///
    /// # Errors
    /// As [`check_gate`](Self::check_gate).
    pub async fn gate(
        &self,
        user: &User,
        gate: impl Into<Arc<str>>,
    ) -> Result<GateEvaluation, Error> {
        only(self.ask(CheckGates::new(user.clone(), [gate])).await?)
    }

    /// Several gates' whole evaluations, in the order asked.
    ///
    /// # Errors
    /// As [`check_gate`](Self::check_gate): one for all of them.
    pub async fn gates<N: Into<Arc<str>>>(
        &self,
        user: &User,
        gates: impl IntoIterator<Item = N>,
    ) -> Result<Vec<GateEvaluation>, Error> {
        self.ask(CheckGates::new(user.clone(), gates)).await
    }

    /// A dynamic config's or experiment's evaluation.
    ///
    /// # Errors
    /// As [`check_gate`](Self::check_gate).
    pub async fn get_config(
        &self,
        user: &User,
        config: impl Into<Arc<str>>,
    ) -> Result<ConfigEvaluation, Error> {
        only(self.ask(GetConfigs::new(user.clone(), [config])).await?)
    }

    /// Several configs' evaluations, in the order asked.
    ///
    /// # Errors
    /// As [`check_gate`](Self::check_gate): one for all of them.
    pub async fn get_configs<N: Into<Arc<str>>>(
        &self,
        user: &User,
        configs: impl IntoIterator<Item = N>,
    ) -> Result<Vec<ConfigEvaluation>, Error> {
        self.ask(GetConfigs::new(user.clone(), configs)).await
    }

    /// Asks with a message, [`CheckGates`] or [`GetConfigs`], which can choose for itself whether
    /// exposures are logged. Bad names and overload are answered on the caller's own thread.
    ///
    /// ```
    /// # use actix_statsig::{CheckGates, Error, GateEvaluation, Statsig, User};
    /// # async fn quietly(statsig: Statsig, user: User) -> Result<Vec<GateEvaluation>, Error> {
    /// statsig.ask(CheckGates::new(user, ["beta"]).without_exposure()).await
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`check_gate`](Self::check_gate).
    pub async fn ask<M: Asking>(&self, mut message: M) -> Result<Vec<M::Evaluation>, Error>
    where
        BatchActor: Handler<M>,
    {
        let ask = message.parts();
        match self.admit(&ask.names) {
            Ok(admitted) => ask.admitted = Some(admitted),
            Err(error) => {
                self.shared.counters.received(ask.names.len());
                self.shared.counters.answered::<()>(&Err(error.clone()));
                return Err(error);
            }
        }
        let answer = self.addr.send(message).await;
        answer.unwrap_or_else(|_| Err(self.shared.why_closed()))
    }

    /// Flushes everything that is buffered; done when all of it has been answered.
    ///
    /// # Errors
    /// [`Error::ShuttingDown`] or [`Error::Closed`] if the component has ended.
    pub async fn flush(&self) -> Result<(), Error> {
        self.addr.send(Flush).await.map_err(|_| self.shared.why_closed())
    }

    /// Drains the component and ends it: what is buffered is flushed, what is in flight is waited
    /// for up to `limit`, new requests get [`Error::ShuttingDown`]. Done when the component's tasks
    /// are gone.
    ///
    /// Any clone may call it, more than once: each gets the same report, and the shortest limit
    /// counts.
    pub async fn shutdown(&self, limit: Duration) -> ShutdownReport {
        let report = self.addr.send(Shutdown { limit }).await.ok();
        // An error is the only thing this channel ever says: the component's end has dropped it.
        let _ = self.gone.clone().changed().await;
        report.or_else(|| self.shared.report()).unwrap_or_default()
    }

    /// What the component has done so far.
    pub fn stats(&self) -> Stats {
        self.shared.counters.snapshot()
    }

    fn admit(&self, names: &[Arc<str>]) -> Result<Admitted, Error> {
        if self.shared.report().is_some() {
            return Err(Error::ShuttingDown);
        }
        names.iter().try_for_each(|name| check_name(name))?;
        let permit = self.shared.admission.admit(names.len())?;
        Ok(Admitted { permit, deadline: clock::now() + self.timeout })
    }

    fn on_own_thread(
        config: Config,
        factory: impl FnOnce(&Config, &Arc<Shared>) -> TransportFactory + Send + 'static,
    ) -> Result<Self, Error> {
        let shared = Arc::new(Shared::new(&config));
        let timeout = config.timeout();
        let (alive, gone) = watch::channel(());
        let (started, address) = mpsc::channel();
        let its_shared = Arc::clone(&shared);
        let run = move || {
            System::new().block_on(async move {
                let factory = factory(&config, &its_shared);
                let (addr, life) = component(&config, factory, its_shared);
                // Nobody waits for the address only if the starting thread has died.
                let _ = started.send(addr);
                life.await;
            });
            drop(alive);
        };
        let start = |source| Error::Start { source: Arc::new(source) };
        thread::Builder::new().name("statsig".to_owned()).spawn(run).map_err(start)?;
        let ended = |_| start(io::Error::other("the thread ended before it had started"));
        let addr = address.recv().map_err(ended)?;
        Ok(Self { addr, shared, timeout, gone })
    }

    fn on_this_arbiter(
        config: Config,
        factory: impl FnOnce(&Config, &Arc<Shared>) -> TransportFactory,
    ) -> Result<Self, Error> {
        // An arbiter is known to its thread before it runs, and tasks need it to run.
        if Arbiter::try_current().is_none() || runtime::Handle::try_current().is_err() {
            return Err(Error::NoArbiter);
        }
        let shared = Arc::new(Shared::new(&config));
        let timeout = config.timeout();
        let (alive, gone) = watch::channel(());
        let factory = factory(&config, &shared);
        let (addr, life) = component(&config, factory, Arc::clone(&shared));
        actix_rt::spawn(async move {
            life.await;
            drop(alive);
        });
        Ok(Self { addr, shared, timeout, gone })
    }
}

impl fmt::Debug for Statsig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Statsig").field("connected", &self.addr.connected()).finish_non_exhaustive()
    }
}

/// Starts the actors, and returns with their address the future that is their life.
///
/// Everything they spawn lives in a `LocalSet` of the component's own, so that dropping it ends
/// them for certain: a supervised actor cannot stop itself while an `Addr` is alive, because its
/// supervisor restarts it.
fn component(
    config: &Config,
    factory: TransportFactory,
    shared: Arc<Shared>,
) -> (Addr<BatchActor>, impl Future<Output = ()> + use<>) {
    if cfg!(panic = "abort") {
        tracing::warn!("built with panic = \"abort\": a panic will end the process, not a restart");
    }
    let tasks = LocalSet::new();
    let (ended, has_ended) = oneshot::channel();
    let entered = tasks.enter();
    let actor = BatchActor::new(config, Parts { factory, shared, ended });
    let addr = Supervisor::start(|_| actor);
    drop(entered);
    // The actor says so after a shutdown; it is dropped, which counts as well, when nobody can
    // send to it any more and nothing is pending.
    let life = async move {
        future::select(tasks, has_ended).await;
    };
    (addr, life)
}

fn http_transport(
    config: &Config,
    tls: Arc<rustls::ClientConfig>,
    shared: &Arc<Shared>,
) -> TransportFactory {
    let config = config.clone();
    let shared = Arc::clone(shared);
    Box::new(move || {
        let (config, tls, shared) = (config.clone(), Arc::clone(&tls), Arc::clone(&shared));
        let actor = Supervisor::start(move |_| TransportActor::new(config, tls, shared));
        Ok(actor.recipient())
    })
}

fn only<E>(evaluations: Vec<E>) -> Result<E, Error> {
    let none = Error::Internal { detail: "one name was asked for, and none answered" };
    evaluations.into_iter().next().ok_or(none)
}

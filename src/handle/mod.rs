//! The handle: checks, flush, shutdown.

mod api_key;
mod cached;
mod component;
mod fallback;
#[cfg(feature = "metrics")]
mod publish;
mod start;

pub use self::start::{Http, StatsigBuilder};

use std::{fmt, sync::Arc, time::Duration};

use actix::{Addr, Handler};
use tokio::sync::watch;

use self::cached::{value, whole};
use crate::{
    batch::BatchActor,
    message::{
        Admitted, BatchRequest, CheckGates, Flush, GetConfigs, Shutdown, ShutdownReport,
        call::PROBE, parts::RequestParts,
    },
    model::{
        error::Error,
        evaluation::{ConfigEvaluation, GateEvaluation},
        name::check_name,
        user::User,
    },
    rt::clock,
    shared::Shared,
    telemetry::stats::Stats,
};

/// The component's handle. Clones share the component. When the last clone and the last `Addr` are
/// dropped, the component answers its pending requests and ends.
///
/// Every method can be called from any thread and any runtime, and its future is `Send`.
///
/// Supervision needs unwinding. With `panic = "abort"` a panic ends the process; the component logs a
/// warning at its start.
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
    /// Closed when the component's tasks, and its thread if it has one, have ended.
    gone: watch::Receiver<()>,
}

impl Statsig {
    /// Returns the actor's address. Use it if you prefer to send messages.
    pub fn addr(&self) -> Addr<BatchActor> {
        self.addr.clone()
    }

    /// Returns whether the gate is open for the user.
    ///
    /// An answer from the cache costs no allocation, no message and no wait.
    ///
    /// # Errors
    /// Any [`Error`] that prevented an answer. An error is never turned into `false`.
    pub async fn check_gate<N: Name>(&self, user: &User, gate: N) -> Result<bool, Error> {
        if let Some(value) = self.cached::<CheckGates, _>(user, gate.as_ref(), value) {
            return Ok(value);
        }
        Ok(only(self.send(CheckGates::new(user.clone(), [gate])).await?)?.value())
    }

    /// Returns whether each of the gates is open for the user, in the order of the names.
    ///
    /// # Errors
    /// As [`check_gate`](Self::check_gate): one error for all names.
    pub async fn check_gates<N: Name>(
        &self,
        user: &User,
        gates: impl IntoIterator<Item = N>,
    ) -> Result<Vec<bool>, Error> {
        let gates: Vec<N> = gates.into_iter().collect();
        if let Some(values) = self.cached_all::<CheckGates, _, _>(user, None, &gates, value) {
            return Ok(values);
        }
        let gates = self.send(CheckGates::new(user.clone(), gates)).await?;
        Ok(gates.iter().map(GateEvaluation::value).collect())
    }

    /// Returns a gate's whole evaluation: its value, the rule and group that decided it, and the source
    /// of the answer.
    ///
    /// # Errors
    /// As [`check_gate`](Self::check_gate).
    pub async fn gate_evaluation<N: Name>(
        &self,
        user: &User,
        gate: N,
    ) -> Result<GateEvaluation, Error> {
        self.ask_for_one::<CheckGates, N>(user, gate, CheckGates::new).await
    }

    /// Returns the whole evaluations of several gates, in the order of the names.
    ///
    /// # Errors
    /// As [`check_gate`](Self::check_gate): one error for all names.
    pub async fn gate_evaluations<N: Name>(
        &self,
        user: &User,
        gates: impl IntoIterator<Item = N>,
    ) -> Result<Vec<GateEvaluation>, Error> {
        self.ask(CheckGates::new(user.clone(), gates)).await
    }

    /// Returns the evaluation of a dynamic config or an experiment.
    ///
    /// # Errors
    /// As [`check_gate`](Self::check_gate).
    pub async fn get_config<N: Name>(
        &self,
        user: &User,
        config: N,
    ) -> Result<ConfigEvaluation, Error> {
        self.ask_for_one::<GetConfigs, N>(user, config, GetConfigs::new).await
    }

    /// Returns the evaluations of several configs, in the order of the names.
    ///
    /// # Errors
    /// As [`check_gate`](Self::check_gate): one error for all names.
    pub async fn get_configs<N: Name>(
        &self,
        user: &User,
        configs: impl IntoIterator<Item = N>,
    ) -> Result<Vec<ConfigEvaluation>, Error> {
        self.ask(GetConfigs::new(user.clone(), configs)).await
    }

    /// Answers a message, [`CheckGates`] or [`GetConfigs`]. A message chooses whether exposures are logged
    /// and whether the cache may answer. Cached answers, invalid names and overload are handled on the
    /// caller's own thread.
    ///
    /// ```
    /// # use actix_statsig::{CheckGates, Error, GateEvaluation, Statsig, User};
    /// # async fn quietly(statsig: Statsig, user: User) -> Result<Vec<GateEvaluation>, Error> {
    /// statsig.ask(CheckGates::new(user, ["beta"]).without_exposure().bypass_cache()).await
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`check_gate`](Self::check_gate).
    pub async fn ask<M: BatchRequest>(&self, mut message: M) -> Result<Vec<M::Evaluation>, Error>
    where
        BatchActor: Handler<M>,
    {
        let RequestParts { user, names, exposure, bypass_cache, .. } = message.parts();
        if !*bypass_cache
            && let Some(answers) = self.cached_all::<M, _, _>(user, *exposure, names, whole)
        {
            return Ok(answers);
        }
        self.send(message).await
    }

    /// Flushes all buffered requests. Completes when all of them have been answered.
    ///
    /// # Errors
    /// [`Error::ShuttingDown`] or [`Error::Closed`] if the component has ended.
    pub async fn flush(&self) -> Result<(), Error> {
        self.addr.send(Flush).await.map_err(|_| self.shared.why_closed())
    }

    /// Shuts the component down gracefully: flushes buffered requests, waits up to `limit` for calls in
    /// flight, and refuses new requests with [`Error::ShuttingDown`]. Completes when the component's
    /// tasks have ended.
    ///
    /// Any clone may call it, more than once. Each call gets the same report, and the shortest
    /// limit applies.
    pub async fn shutdown(&self, limit: Duration) -> ShutdownReport {
        // Refuses new requests at once: the actor may be pausing after a restart.
        self.shared.close();
        let report = self.addr.send(Shutdown { limit }).await.ok();
        // Nothing is ever sent: an error means that the component has ended and dropped the sender.
        let _ = self.gone.clone().changed().await;
        report.or_else(|| self.shared.report()).unwrap_or_default()
    }

    /// Checks whether Statsig answers, with one check of a gate and a user named `actix-statsig-probe`.
    /// The probe bypasses the cache and logs no exposure.
    ///
    /// Use this if your readiness check relies on [`Stats::is_ready`]: an instance without traffic makes
    /// no calls, so only a probe can show that Statsig is back. Probe rarely, one probe at a time, and do
    /// not make other work wait for it.
    ///
    /// # Errors
    /// As [`check_gate`](Self::check_gate).
    pub async fn probe(&self) -> Result<(), Error> {
        let probe = CheckGates::new(User::new(PROBE)?, [PROBE]).without_exposure().bypass_cache();
        self.send(probe).await.map(drop)
    }

    /// Returns a snapshot of the component's statistics.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// Marks the component as not ready before a shutdown. It still answers requests.
    #[cfg(feature = "web")]
    pub(crate) fn leave(&self) {
        self.shared.leave();
    }

    /// Returns whether a shutdown has begun or the component has ended, so that no request is
    /// answered.
    #[cfg(feature = "open-feature")]
    pub(crate) fn is_over(&self) -> bool {
        self.shared.is_closing() || !self.addr.connected()
    }

    /// Returns the user in the component's environment, as calls send it.
    #[cfg(feature = "web")]
    pub(crate) fn in_environment(&self, user: User) -> User {
        user.into_environment(self.shared.environment.as_ref())
    }

    async fn ask_for_one<M: BatchRequest, N: Name>(
        &self,
        user: &User,
        name: N,
        message: impl FnOnce(User, [N; 1]) -> M,
    ) -> Result<M::Evaluation, Error>
    where
        BatchActor: Handler<M>,
    {
        match self.cached::<M, _>(user, name.as_ref(), whole) {
            Some(answer) => Ok(answer),
            None => only(self.send(message(user.clone(), [name])).await?),
        }
    }

    async fn send<M: BatchRequest>(&self, mut message: M) -> Result<Vec<M::Evaluation>, Error>
    where
        BatchActor: Handler<M>,
    {
        let parts = message.parts();
        match self.admit(&parts.user, &parts.names) {
            Ok(admitted) => parts.admitted = Some(admitted),
            Err(error) => {
                self.shared.counters.received(parts.names.len());
                self.shared.refused(&error);
                return Err(error);
            }
        }
        let names = parts.names.len();
        let answer = self.addr.send(message).await;
        answer.unwrap_or_else(|_| {
            let error = self.shared.why_closed();
            self.shared.counters.received(names);
            self.shared.refused(&error);
            Err(error)
        })
    }

    fn admit(&self, user: &User, names: &[Arc<str>]) -> Result<Admitted, Error> {
        // The same checks as the actor's, in the same order.
        if self.shared.is_closing() {
            return Err(self.closing_error());
        }
        names.iter().try_for_each(|name| check_name(name))?;
        let permit = self.shared.admission.admit(user, names)?;
        Ok(Admitted { permit, deadline: clock::now() + self.timeout })
    }

    fn closing_error(&self) -> Error {
        // The address is closed without a shutdown only if the runtime was stopped.
        if self.addr.connected() { Error::ShuttingDown } else { self.shared.why_closed() }
    }
}

impl fmt::Debug for Statsig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Statsig").field("connected", &self.addr.connected()).finish_non_exhaustive()
    }
}

/// A type that can name a gate or a config: `&str`, `String`, `Arc<str>` and the like.
///
/// Statsig allows names of 2 to 100 characters: `a-z A-Z 0-9 _ - .` and space. A request with any other
/// name gets [`Error::InvalidName`], and nothing is sent.
pub trait Name: AsRef<str> + Into<Arc<str>> {}

impl<N: AsRef<str> + Into<Arc<str>>> Name for N {}

pub(crate) fn only<E>(evaluations: Vec<E>) -> Result<E, Error> {
    let none = Error::Internal { detail: "asked for one name, got no answer" };
    evaluations.into_iter().next().ok_or(none)
}

//! The handle: ask, flush, shut down.

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
    /// The actor's address, for those who rather send messages.
    pub fn addr(&self) -> Addr<BatchActor> {
        self.addr.clone()
    }

    /// Whether the gate is open for the user.
    ///
    /// An answer from the cache costs no allocation, no message and no wait.
    ///
    /// # Errors
    /// Whatever kept the question from being answered: an error is never turned into `false`.
    pub async fn check_gate<N: Name>(&self, user: &User, gate: N) -> Result<bool, Error> {
        if let Some(value) = self.cached::<CheckGates, _>(user, gate.as_ref(), value) {
            return Ok(value);
        }
        Ok(only(self.send(CheckGates::new(user.clone(), [gate])).await?)?.value())
    }

    /// Whether each of the gates is open for the user, in the order asked.
    ///
    /// # Errors
    /// As [`check_gate`](Self::check_gate): one for all of them.
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

    /// A gate's whole evaluation: the value, with the rule and the group that decided it, and where
    /// the answer came from.
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

    /// Several gates' whole evaluations, in the order asked.
    ///
    /// # Errors
    /// As [`check_gate`](Self::check_gate): one for all of them.
    pub async fn gate_evaluations<N: Name>(
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
    pub async fn get_config<N: Name>(
        &self,
        user: &User,
        config: N,
    ) -> Result<ConfigEvaluation, Error> {
        self.ask_for_one::<GetConfigs, N>(user, config, GetConfigs::new).await
    }

    /// Several configs' evaluations, in the order asked.
    ///
    /// # Errors
    /// As [`check_gate`](Self::check_gate): one for all of them.
    pub async fn get_configs<N: Name>(
        &self,
        user: &User,
        configs: impl IntoIterator<Item = N>,
    ) -> Result<Vec<ConfigEvaluation>, Error> {
        self.ask(GetConfigs::new(user.clone(), configs)).await
    }

    /// Asks with a message, [`CheckGates`] or [`GetConfigs`], which can choose for itself whether
    /// exposures are logged and whether the cache may answer. What the cache answers, bad names and
    /// overload are dealt with on the caller's own thread.
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
            && let Some(kept) = self.cached_all::<M, _, _>(user, *exposure, names, whole)
        {
            return Ok(kept);
        }
        self.send(message).await
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
        // The actor may rest after a restart, and be a while until it knows.
        self.shared.close();
        let report = self.addr.send(Shutdown { limit }).await.ok();
        // An error is the only thing this channel ever says: the component's end has dropped it.
        let _ = self.gone.clone().changed().await;
        report.or_else(|| self.shared.report()).unwrap_or_default()
    }

    /// Asks Statsig whether it answers: with one check of a gate and a user named
    /// `actix-statsig-probe`, past the cache and without an exposure.
    ///
    /// Worth it where [`Stats::is_ready`] decides whether an app gets traffic: without traffic there
    /// is no call, and nothing else would show that Statsig is back. RequestParts seldom, not more than once
    /// at a time, and don't wait for it.
    ///
    /// # Errors
    /// As [`check_gate`](Self::check_gate).
    pub async fn probe(&self) -> Result<(), Error> {
        let probe = CheckGates::new(User::new(PROBE)?, [PROBE]).without_exposure().bypass_cache();
        self.send(probe).await.map(drop)
    }

    /// What the component has done so far.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// A shutdown is about to come: until then it answers, but is not ready for more.
    #[cfg(feature = "web")]
    pub(crate) fn leave(&self) {
        self.shared.leave();
    }

    /// A shutdown has begun, or the component has ended: nothing is answered any more.
    #[cfg(feature = "open-feature")]
    pub(crate) fn is_over(&self) -> bool {
        self.shared.is_closing() || !self.addr.connected()
    }

    /// The user as the component asks about them: in its environment.
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
            Some(kept) => Ok(kept),
            None => only(self.send(message(user.clone(), [name])).await?),
        }
    }

    async fn send<M: BatchRequest>(&self, mut message: M) -> Result<Vec<M::Evaluation>, Error>
    where
        BatchActor: Handler<M>,
    {
        let ask = message.parts();
        match self.admit(&ask.user, &ask.names) {
            Ok(admitted) => ask.admitted = Some(admitted),
            Err(error) => {
                self.shared.counters.received(ask.names.len());
                self.shared.refused(&error);
                return Err(error);
            }
        }
        let names = ask.names.len();
        let answer = self.addr.send(message).await;
        answer.unwrap_or_else(|_| {
            let error = self.shared.why_closed();
            self.shared.counters.received(names);
            self.shared.refused(&error);
            Err(error)
        })
    }

    fn admit(&self, user: &User, names: &[Arc<str>]) -> Result<Admitted, Error> {
        // First of all, as the actor does.
        if self.shared.is_closing() {
            return Err(self.why_it_takes_nothing());
        }
        names.iter().try_for_each(|name| check_name(name))?;
        let permit = self.shared.admission.admit(user, names)?;
        Ok(Admitted { permit, deadline: clock::now() + self.timeout })
    }

    fn why_it_takes_nothing(&self) -> Error {
        // It is gone without a shutdown only if its runtime was stopped.
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
    let none = Error::Internal { detail: "one name was asked for, and none answered" };
    evaluations.into_iter().next().ok_or(none)
}

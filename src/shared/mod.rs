//! The state that the handle and the actors share.

pub(crate) mod api_key;
pub(crate) mod cache;
mod call_log;
pub(crate) mod long_bodies;

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use self::{
    api_key::ApiKey,
    cache::{Cache, KeyRef, Limits, Reader},
    long_bodies::LongBodies,
};
use crate::{
    config::Config,
    message::{ShutdownReport, admission::Admission},
    model::{
        error::Error,
        evaluation::{Evaluation, Origin},
        user::Environment,
    },
    rt::{clock, suspended::SuspendedTime},
    telemetry::{
        fallback::{Fallback, LogThrottle},
        hooks::HookDispatcher,
        stale::StaleEpisodes,
        stats::{Counters, Stats},
    },
};

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) admission: Admission,
    pub(crate) api_key: ApiKey,
    pub(crate) counters: Counters,
    pub(crate) cache: Cache,
    /// Places for long answers while they are read.
    pub(crate) long_bodies: LongBodies,
    hooks: HookDispatcher,
    warnings: LogThrottle,
    outages: LogThrottle,
    stale_episodes: StaleEpisodes,
    #[cfg(feature = "metrics")]
    published: crate::telemetry::metrics::Published,
    /// Whether exposures are logged, unless a message says otherwise.
    pub(crate) exposure_logging: bool,
    /// The environment of users without a tier.
    pub(crate) environment: Option<Environment>,
    began: Instant,
    slept: SuspendedTime,
    /// The time until which no call gets through to Statsig, in microseconds since the start: the
    /// circuit breaker is open, or Statsig has sent a `Retry-After`.
    denied_until: AtomicU64,
    /// The time when Statsig was last asked, or would have been asked without a stale answer, in
    /// microseconds since the start.
    asked: AtomicU64,
    /// Connections of earlier generations are not reused.
    connection_generation: AtomicU64,
    /// Whether the component is not ready, because it will soon close.
    is_leaving: AtomicBool,
    /// Whether the component refuses new requests.
    is_closing: AtomicBool,
    report: OnceLock<ShutdownReport>,
}

/// The number of long answers that all transports together read at once.
const LONG_BODIES: usize = 8;

impl Shared {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            admission: Admission::new(config.max_pending(), config.pending_bytes()),
            api_key: ApiKey::new(config.api_key()),
            counters: Counters::default(),
            hooks: HookDispatcher::new(config.hooks()),
            warnings: LogThrottle::default(),
            outages: LogThrottle::default(),
            stale_episodes: StaleEpisodes::default(),
            #[cfg(feature = "metrics")]
            published: crate::telemetry::metrics::Published::default(),
            cache: Cache::new(Limits {
                entries: config.cache_entries(),
                bytes: usize::try_from(config.cache_bytes()).unwrap_or(usize::MAX),
                fresh: config.cache_ttl(),
                stale: config.stale_if_error(),
            }),
            long_bodies: LongBodies::new(LONG_BODIES),
            exposure_logging: config.exposure_logging(),
            environment: config.environment().map(Environment::new),
            began: clock::now(),
            slept: SuspendedTime::new(clock::slept()),
            denied_until: AtomicU64::new(0),
            asked: AtomicU64::new(0),
            connection_generation: AtomicU64::new(0),
            is_leaving: AtomicBool::new(false),
            is_closing: AtomicBool::new(false),
            report: OnceLock::new(),
        }
    }

    /// Counts the outcome of a call. Logs that calls begin to fail (at most once a second), and that
    /// they are answered again.
    pub(crate) fn call_ended<T>(&self, outcome: &Result<T, Error>, is_ones_own: bool) {
        let (failed, is_new) = self.counters.call_ended(outcome, is_ones_own);
        let now = clock::now();
        if !failed {
            self.serves_fresh(now);
        }
        match outcome {
            Err(error) if failed && is_new && self.outages.note(now).is_some() => {
                tracing::warn!(%error, "calls to Statsig fail");
            }
            _ if !failed && is_new => tracing::info!("calls to Statsig are answered again"),
            _ => {}
        }
    }

    /// Notes that a probe of the circuit breaker was answered, so the next call should be answered
    /// too.
    pub(crate) fn probe_answered(&self) {
        if self.counters.is_answering() {
            tracing::info!("calls to Statsig are answered again");
        }
        self.serves_fresh(clock::now());
    }

    /// Counts a request that is refused without a call, and reports its error.
    pub(crate) fn refused(&self, error: &Error) {
        self.counters.answered::<()>(&Err(error.clone()));
        self.hooks.error(error);
    }

    /// Reports the error of a request, which is counted already.
    pub(crate) fn failed(&self, error: &Error) {
        self.hooks.error(error);
    }

    /// Counts, logs and reports a fallback.
    pub(crate) fn fell_back(&self, fallback: Fallback) {
        self.counters.fell_back(&fallback.error);
        fallback.log(self.warnings.note(clock::now()));
        self.hooks.fallback(fallback);
    }

    pub(crate) fn stats(&self) -> Stats {
        Stats {
            hooks_missed: self.hooks.dropped(),
            is_leaving: self.is_leaving.load(Relaxed),
            ..self.counters.snapshot(clock::now())
        }
    }

    #[cfg(feature = "metrics")]
    pub(crate) fn publish_metrics(&self) {
        self.published.publish(|| self.stats());
    }

    /// Looks up an evaluation in the cache. Returns a stale one only while no call gets through to
    /// Statsig. A stale answer counts as asking Statsig, so that the circuit breaker goes on
    /// probing.
    #[inline]
    pub(crate) fn lookup<'r>(
        &self,
        reader: &'r Reader<'_>,
        key: KeyRef<'_>,
    ) -> Option<(&'r Evaluation, Origin)> {
        let entry = reader.get(key)?;
        let now = clock::now();
        let origin = self.cache.origin(entry, self.cache_time(now))?;
        if origin.is_stale() {
            if !self.is_denied(now) {
                return None;
            }
            self.note_asked(now);
            self.serves_stale(now);
        }
        Some((entry.read(), origin))
    }

    /// Returns an evaluation to answer with in place of an outage's error, fresh or stale.
    pub(crate) fn in_place_of_error(&self, key: KeyRef<'_>, now: Instant) -> Option<Evaluation> {
        let reader = self.cache.reader();
        let entry = reader.get(key)?;
        let origin = self.cache.origin(entry, self.cache_time(now))?;
        if origin.is_stale() {
            self.serves_stale(now);
        }
        Some(entry.read().with_origin(origin))
    }

    fn serves_stale(&self, now: Instant) {
        const BEGIN: &str = "Statsig fails: stale answers are served from the cache";
        match self.stale_episodes.served(self.counters.stale.load(Relaxed), now) {
            Some(line) if line.is_quiet => tracing::debug!("{BEGIN}"),
            Some(_) => tracing::warn!("{BEGIN}"),
            None => {}
        }
    }

    /// Notes that Statsig has answered: no stale answers are served until it fails again.
    fn serves_fresh(&self, now: Instant) {
        const END: &str = "Statsig answers again: stale answers are no longer served";
        match self.stale_episodes.answered(self.counters.stale.load(Relaxed), now) {
            Some(line) if line.is_quiet => tracing::debug!(names = line.answers, "{END}"),
            Some(line) => tracing::info!(names = line.answers, "{END}"),
            None => {}
        }
    }

    /// Returns the time since the start, which dates evaluations. Suspended time counts too.
    #[inline]
    pub(crate) fn cache_time(&self, now: Instant) -> Duration {
        self.slept.add(now.saturating_duration_since(self.began), clock::slept)
    }

    /// Sets the time until which no call gets through to Statsig.
    pub(crate) fn deny_until(&self, until: Option<Instant>) {
        self.denied_until.store(until.map_or(0, |until| self.micros(until)), Relaxed);
    }

    fn is_denied(&self, now: Instant) -> bool {
        self.micros(now) < self.denied_until.load(Relaxed)
    }

    /// Notes that Statsig is asked at this time.
    pub(crate) fn note_asked(&self, now: Instant) {
        self.asked.fetch_max(self.micros(now), Relaxed);
    }

    /// Returns when Statsig was last asked.
    pub(crate) fn asked(&self) -> Option<Instant> {
        let micros = Some(self.asked.load(Relaxed)).filter(|micros| *micros > 0)?;
        self.began.checked_add(Duration::from_micros(micros))
    }

    /// Returns the microseconds since the start; never 0.
    fn micros(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.began);
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX).max(1)
    }

    pub(crate) fn connection_generation(&self) -> u64 {
        self.connection_generation.load(Relaxed)
    }

    /// Ends all connections of this generation, unless they have ended already, because the answers
    /// on one of them no longer match their requests.
    pub(crate) fn end_connections_of(&self, generation: u64) {
        self.connection_generation.fetch_max(generation + 1, Relaxed);
    }

    /// Marks the component as not ready. It still answers requests.
    pub(crate) fn leave(&self) {
        self.is_leaving.store(true, Relaxed);
    }

    /// Refuses new requests, and stops answering from the cache.
    pub(crate) fn close(&self) {
        self.leave();
        self.is_closing.store(true, Relaxed);
    }

    #[inline]
    pub(crate) fn is_closing(&self) -> bool {
        self.is_closing.load(Relaxed)
    }

    pub(crate) fn ended_with(&self, report: ShutdownReport) {
        // A component ends once.
        let _ = self.report.set(report);
    }

    /// Returns the report of the shutdown that ended the component.
    pub(crate) fn report(&self) -> Option<ShutdownReport> {
        self.report.get().copied()
    }

    /// Returns the error for a closed mailbox.
    pub(crate) fn why_closed(&self) -> Error {
        if self.report.get().is_some() { Error::ShuttingDown } else { Error::Closed }
    }
}

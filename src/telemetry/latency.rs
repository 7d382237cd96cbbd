//! Recent latencies. Pure.

use std::{
    mem,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use serde::Serialize;

/// Percentiles of a latency over the last one to two minutes, in microseconds, to two digits. All are
/// zero if nothing was measured in that time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Latency {
    /// The number of measurements.
    pub count: u64,
    /// The median.
    pub p50_us: u64,
    /// The 90th percentile.
    pub p90_us: u64,
    /// The 99th percentile.
    pub p99_us: u64,
    /// The maximum.
    pub max_us: u64,
}

/// Records latencies. A lock is enough: there is one record for each call.
#[derive(Debug, Default)]
pub(crate) struct Latencies(Mutex<TwoMinuteWindow>);

/// The current minute and the one before.
#[derive(Debug)]
struct TwoMinuteWindow {
    current: Histogram<u64>,
    previous: Histogram<u64>,
    /// When the current minute began; `None` before the first use.
    began: Option<Instant>,
}

const MINUTE: Duration = Duration::from_secs(60);

impl Latencies {
    pub(crate) fn record(&self, latency: Duration, now: Instant) {
        let microseconds = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.at(now, |window| window.current.saturating_record(microseconds));
    }

    pub(crate) fn read(&self, now: Instant) -> Latency {
        let both = self.at(now, |window| window.both());
        Latency {
            count: both.len(),
            p50_us: both.value_at_quantile(0.5),
            p90_us: both.value_at_quantile(0.9),
            p99_us: both.value_at_quantile(0.99),
            max_us: both.max(),
        }
    }

    fn at<R>(&self, now: Instant, act: impl FnOnce(&mut TwoMinuteWindow) -> R) -> R {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        window.advance(now);
        act(&mut window)
    }
}

impl TwoMinuteWindow {
    /// Drops latencies that are older than the previous minute.
    fn advance(&mut self, now: Instant) {
        let began = *self.began.get_or_insert(now);
        let age = now.saturating_duration_since(began);
        if age >= 2 * MINUTE {
            self.previous.reset();
            self.current.reset();
            self.began = Some(now);
        } else if age >= MINUTE {
            mem::swap(&mut self.current, &mut self.previous);
            self.current.reset();
            self.began = Some(began + MINUTE);
        }
    }

    fn both(&self) -> Histogram<u64> {
        let mut both = self.previous.clone();
        #[expect(clippy::expect_used, reason = "fails only for values out of range")]
        both.add(&self.current).expect("both have the same bounds");
        both
    }
}

impl Default for TwoMinuteWindow {
    fn default() -> Self {
        const TEN_MINUTES: u64 = 600_000_000;
        #[expect(clippy::expect_used, reason = "fails only for bounds or digits out of range")]
        let new = || Histogram::new_with_bounds(1, TEN_MINUTES, 2).expect("valid bounds");
        Self { current: new(), previous: new(), began: None }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[allow(clippy::disallowed_methods)]
    fn start() -> Instant {
        Instant::now()
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn latencies_older_than_two_minutes_are_ignored() {
        let (latencies, start) = (Latencies::default(), start());
        assert_eq!(latencies.read(start), Latency::default());

        latencies.record(ms(80), start);
        latencies.record(ms(2), start + MINUTE);

        let both = latencies.read(start + 2 * MINUTE - ms(1));
        assert_eq!(both.count, 2);
        assert!((80_000..81_000).contains(&both.max_us) && (2_000..2_100).contains(&both.p50_us));
        let later = latencies.read(start + 2 * MINUTE);
        assert!(later.count == 1 && later.max_us < 2_100, "{later:?}");
        assert_eq!(latencies.read(start + 3 * MINUTE), Latency::default());
    }

    #[test]
    fn latency_beyond_the_last_bucket_counts_in_it() {
        let (latencies, now) = (Latencies::default(), start());
        latencies.record(Duration::MAX, now);
        assert!(latencies.read(now).p50_us >= 600_000_000);
    }

    proptest! {
        #[test]
        fn window_covers_the_last_one_to_two_minutes(
            pauses in vec((0..90_000u64, 1..5_000u64), 1..40),
        ) {
            let (latencies, start) = (Latencies::default(), start());
            let mut now = start;
            let mut all = Vec::new();
            for (pause, latency) in pauses {
                now += ms(pause);
                latencies.record(ms(latency), now);
                all.push((now, latency));

                let since = |span| all.iter().filter(move |(at, _)| now - *at < span);
                let count = latencies.read(now).count as usize;
                prop_assert!(since(MINUTE).count() <= count && count <= since(2 * MINUTE).count());
                let longest = since(MINUTE).map(|(_, latency)| latency * 1_000).max().unwrap();
                prop_assert!(latencies.read(now).max_us >= longest);
            }
        }
    }
}

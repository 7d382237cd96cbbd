//! How long things took lately. Pure.

use std::{
    mem,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use serde::Serialize;

/// Percentiles of a latency over the last one to two minutes, in microseconds, to two digits. All are
/// zero where nothing was measured in that time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Latency {
    /// How many were measured.
    pub count: u64,
    /// Half of them took no longer.
    pub p50_us: u64,
    /// Nine of ten took no longer.
    pub p90_us: u64,
    /// All but one in a hundred took no longer.
    pub p99_us: u64,
    /// The longest.
    pub max_us: u64,
}

/// What [`Latency`] is read from. Written once a call, so that a lock does.
#[derive(Debug, Default)]
pub(crate) struct Latencies(Mutex<TwoMinuteWindow>);

/// This minute and the one before.
#[derive(Debug)]
struct TwoMinuteWindow {
    this: Histogram<u64>,
    last: Histogram<u64>,
    /// When this one began; none if nothing has happened yet.
    began: Option<Instant>,
}

const MINUTE: Duration = Duration::from_secs(60);

impl Latencies {
    pub(crate) fn record(&self, latency: Duration, now: Instant) {
        let microseconds = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.at(now, |minutes| minutes.this.saturating_record(microseconds));
    }

    pub(crate) fn read(&self, now: Instant) -> Latency {
        let both = self.at(now, |minutes| minutes.both());
        Latency {
            count: both.len(),
            p50_us: both.value_at_quantile(0.5),
            p90_us: both.value_at_quantile(0.9),
            p99_us: both.value_at_quantile(0.99),
            max_us: both.max(),
        }
    }

    fn at<R>(&self, now: Instant, act: impl FnOnce(&mut TwoMinuteWindow) -> R) -> R {
        let mut minutes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        minutes.turn(now);
        act(&mut minutes)
    }
}

impl TwoMinuteWindow {
    /// Forgets what is older than the minute before this one.
    fn turn(&mut self, now: Instant) {
        let began = *self.began.get_or_insert(now);
        let age = now.saturating_duration_since(began);
        if age >= 2 * MINUTE {
            self.last.reset();
            self.this.reset();
            self.began = Some(now);
        } else if age >= MINUTE {
            mem::swap(&mut self.this, &mut self.last);
            self.this.reset();
            self.began = Some(began + MINUTE);
        }
    }

    fn both(&self) -> Histogram<u64> {
        let mut both = self.last.clone();
        #[expect(clippy::expect_used, reason = "fails only for values out of the other's range")]
        both.add(&self.this).expect("both have the same bounds");
        both
    }
}

impl Default for TwoMinuteWindow {
    fn default() -> Self {
        const TEN_MINUTES: u64 = 600_000_000;
        #[expect(clippy::expect_used, reason = "fails only for bounds or digits out of range")]
        let new = || Histogram::new_with_bounds(1, TEN_MINUTES, 2).expect("valid bounds");
        Self { this: new(), last: new(), began: None }
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
    fn what_is_older_than_two_minutes_says_nothing_of_now() {
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
    fn one_that_is_longer_than_can_be_told_counts_as_the_longest() {
        let (latencies, now) = (Latencies::default(), start());
        latencies.record(Duration::MAX, now);
        assert!(latencies.read(now).p50_us >= 600_000_000);
    }

    proptest! {
        #[test]
        fn it_is_of_all_in_the_last_minute_and_of_none_before_the_last_two(
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

//! How long callers waited for Statsig, over the last one to two minutes. Pure.

use std::{
    mem,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use serde::Serialize;

const MINUTE: Duration = Duration::from_secs(60);

/// The waits of this minute and the minute before.
#[derive(Debug)]
pub(super) struct WaitTimes {
    this: Histogram<u64>,
    last: Histogram<u64>,
    /// When this minute began, once anything has been recorded.
    began: Option<Instant>,
}

/// Percentiles in microseconds, with the fields of the component's `Latency`.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Percentiles {
    count: u64,
    p50_us: u64,
    p90_us: u64,
    p99_us: u64,
    max_us: u64,
}

impl WaitTimes {
    pub(super) fn record(&mut self, wait: Duration, now: Instant) {
        self.turn(now);
        self.this.saturating_record(u64::try_from(wait.as_micros()).unwrap_or(u64::MAX));
    }

    pub(super) fn percentiles(&mut self, now: Instant) -> Percentiles {
        self.turn(now);
        let mut both = self.last.clone();
        #[expect(clippy::expect_used, reason = "fails only for values out of the other's range")]
        both.add(&self.this).expect("both have the same bounds");
        Percentiles {
            count: both.len(),
            p50_us: both.value_at_quantile(0.5),
            p90_us: both.value_at_quantile(0.9),
            p99_us: both.value_at_quantile(0.99),
            max_us: both.max(),
        }
    }

    /// Forgets waits from before the last minute.
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
}

impl Default for WaitTimes {
    fn default() -> Self {
        const TEN_MINUTES: u64 = 600_000_000;
        #[expect(clippy::expect_used, reason = "fails only for bounds or digits out of range")]
        let new = || Histogram::new_with_bounds(1, TEN_MINUTES, 2).expect("valid bounds");
        Self { this: new(), last: new(), began: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_count_for_one_to_two_minutes() {
        #[expect(clippy::disallowed_methods, reason = "the start of a manual clock")]
        let start = Instant::now();
        let mut waits = WaitTimes::default();
        waits.record(Duration::from_millis(2), start);
        waits.record(Duration::from_millis(8), start + MINUTE);
        let count = |waits: &mut WaitTimes, now| waits.percentiles(now).count;
        assert_eq!(count(&mut waits, start + MINUTE), 2);
        let both = waits.percentiles(start + MINUTE);
        assert!((1_900..=2_100).contains(&both.p50_us) && both.max_us >= 8_000, "{both:?}");
        assert_eq!(count(&mut waits, start + 2 * MINUTE), 1);
        assert_eq!(count(&mut waits, start + 4 * MINUTE), 0);
    }
}

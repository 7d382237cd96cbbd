//! The last three minutes, second by second, for the page's charts. Pure.

use std::{collections::VecDeque, time::Duration};

use actix_statsig::Stats;
use serde::Serialize;

/// The time between two samples.
pub(super) const PERIOD: Duration = Duration::from_secs(1);

/// The most samples: three minutes.
const MAX_SAMPLES: usize = 180;

/// The last samples, the oldest first.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub(super) struct History(VecDeque<Sample>);

/// The counts that the charts show, as they were at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Sample {
    /// The process's age.
    pub(super) uptime_ms: u64,
    pub(super) names: u64,
    pub(super) cached: u64,
    /// Calls, without those refused before an attempt.
    pub(super) calls: u64,
    /// Requests that got an error, refused bodies included.
    pub(super) errors: u64,
    pub(super) buffered: u64,
    pub(super) in_flight: u64,
}

impl Sample {
    pub(super) fn new(uptime: Duration, stats: &Stats, refused_bodies: u64) -> Self {
        Self {
            uptime_ms: u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX),
            names: stats.names,
            cached: stats.cached,
            calls: stats.calls.saturating_sub(stats.refused_calls),
            errors: stats.errors.values().sum::<u64>() + refused_bodies,
            buffered: stats.buffered,
            in_flight: stats.in_flight,
        }
    }
}

impl History {
    /// Adds a sample, and forgets the oldest beyond the limit.
    pub(super) fn push(&mut self, sample: Sample) {
        if self.0.len() == MAX_SAMPLES {
            self.0.pop_front();
        }
        self.0.push_back(sample);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(second: u64) -> Sample {
        Sample::new(Duration::from_secs(second), &Stats::default(), 0)
    }

    #[test]
    fn history_keeps_three_minutes_of_seconds_and_no_more() {
        let mut history = History::default();
        for second in 0..1_000 {
            history.push(sample(second));
        }
        assert_eq!(history.0.len() as u32 * PERIOD, Duration::from_secs(180));
        assert_eq!(history.0.front(), Some(&sample(820)));
        assert_eq!(history.0.back(), Some(&sample(999)));
        assert!(history.0.capacity() < 2 * MAX_SAMPLES);
    }

    #[test]
    fn sample_counts_refused_bodies_and_skips_refused_calls() {
        let mut stats = Stats::default();
        (stats.calls, stats.refused_calls) = (10, 7);
        stats.errors.insert(actix_statsig::ErrorKind::CircuitOpen, 7);
        let sample = Sample::new(Duration::from_millis(1_500), &stats, 2);
        assert_eq!((sample.uptime_ms, sample.calls, sample.errors), (1_500, 3, 9));
    }
}

//! Time that goes on while the machine is suspended. Pure: clocks are passed in.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Adds suspended time to the monotonic clock. On Linux that clock stops while the machine is suspended,
/// so a cached answer would be as fresh on Monday as it was on Friday.
///
/// A second clock reading for each cache hit would double its cost. So the second clock is read at most
/// once a millisecond; only the kernel runs in the first millisecond after a suspension.
#[derive(Debug)]
pub(crate) struct SuspendedTime {
    /// The suspended time at the start.
    before: Duration,
    /// The time when the second clock was last read, in milliseconds since the start.
    read: AtomicU64,
    /// The suspended time since the start, in milliseconds.
    since: AtomicU64,
}

/// The two clocks are not read at the same moment, so their difference is not exact. Changes below this
/// many milliseconds are ignored until they add up.
const INEXACT: u64 = 100;

impl SuspendedTime {
    pub(crate) fn new(slept: Duration) -> Self {
        Self { before: slept, read: AtomicU64::new(0), since: AtomicU64::new(0) }
    }

    /// Returns the time since the start: `elapsed` on the monotonic clock, plus the time suspended since
    /// then. `slept` reads the total suspended time.
    pub(crate) fn add(&self, elapsed: Duration, slept: impl FnOnce() -> Duration) -> Duration {
        let at = millis(elapsed);
        if at != self.read.load(Relaxed) {
            self.read.store(at, Relaxed);
            let since = millis(slept().saturating_sub(self.before));
            // Suspended time never decreases: a lower reading is inexact.
            if since >= self.since.load(Relaxed).saturating_add(INEXACT) {
                self.since.fetch_max(since, Relaxed);
            }
        }
        elapsed + Duration::from_millis(self.since.load(Relaxed))
    }
}

fn millis(duration: Duration) -> u64 {
    duration.as_secs() * 1_000 + u64::from(duration.subsec_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const HOUR: Duration = Duration::from_secs(3_600);

    #[test]
    fn time_asleep_is_added_from_the_next_millisecond_on() {
        let now = HOUR;
        let slept = SuspendedTime::new(HOUR);
        assert_eq!(slept.add(now + MS, || HOUR), now + MS);
        let later = now + 2 * MS;
        assert_eq!(slept.add(later, || 3 * HOUR), later + 2 * HOUR);
        assert_eq!(slept.add(later, || panic!("read again")), later + 2 * HOUR);
        assert_eq!(slept.add(later + MS, || 4 * HOUR), later + MS + 3 * HOUR);
    }

    /// The first reading is too high, and the next one is correct.
    #[test]
    fn time_never_goes_back_though_a_reading_does() {
        let now = HOUR;
        let slept = SuspendedTime::new(HOUR);
        assert_eq!(slept.add(now + MS, || HOUR + 500 * MS), now + 501 * MS);
        assert_eq!(slept.add(now + 2 * MS, || HOUR), now + 502 * MS);
        assert_eq!(slept.add(now + 3 * MS, || 2 * HOUR), now + 3 * MS + HOUR);
    }

    #[test]
    fn inexact_readings_change_nothing_until_they_add_up() {
        let now = HOUR;
        let slept = SuspendedTime::new(HOUR);
        for (n, reading, added) in [
            (1, HOUR + 99 * MS, Duration::ZERO),
            (2, HOUR - MS, Duration::ZERO),
            (3, HOUR + 100 * MS, 100 * MS),
            (4, HOUR + 190 * MS, 100 * MS),
            (5, HOUR + 210 * MS, 210 * MS),
        ] {
            let at = now + n * MS;
            assert_eq!(slept.add(at, || reading), at + added, "{n}");
        }
    }
}

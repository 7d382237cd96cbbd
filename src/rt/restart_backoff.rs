//! Backoff for an actor that restarts repeatedly. Pure.

use std::time::{Duration, Instant};

/// The restarts of one actor.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RestartBackoff {
    in_a_row: u32,
    last: Option<Instant>,
}

/// A restart this long after the previous one has no pause, and resets the backoff.
const CALM: Duration = Duration::from_secs(10);

/// The number of restarts in a row that have no pause.
const FREE: u32 = 3;

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

impl RestartBackoff {
    /// Notes a restart. Returns how long the actor pauses before it continues.
    pub(crate) fn note(&mut self, now: Instant) -> Duration {
        let is_calm = self.last.is_none_or(|last| now.saturating_duration_since(last) >= CALM);
        self.in_a_row = if is_calm { 1 } else { self.in_a_row.saturating_add(1) };
        self.last = Some(now);
        match self.in_a_row.checked_sub(FREE + 1) {
            None => Duration::ZERO,
            Some(more) => FIRST_PAUSE.saturating_mul(2u32.saturating_pow(more)).min(LONGEST_PAUSE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods)]
    fn restart_burst_backs_off_until_calm_resets_it() {
        let now = Instant::now();
        let mut restarts = RestartBackoff::default();
        let pauses: Vec<_> = (0..12).map(|_| restarts.note(now).as_millis()).collect();
        assert_eq!(pauses, [0, 0, 0, 10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
        assert_eq!(restarts.note(now + CALM), Duration::ZERO);
    }
}

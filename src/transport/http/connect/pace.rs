//! When a connection has to rest. Pure: `now` is passed in.
//!
//! A stray answer for the same name cannot be told from the answer. The answer itself then comes when
//! nobody expects it, but no later than answers take; a connection that is given one request right
//! after the other never shows it, and gives each the answer to the one before. So no connection
//! goes on like that for long: it rests for as long as an answer has taken, and what was late shows.

use std::time::{Duration, Instant};

/// How the requests of a connection followed each other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    began: Instant,
    ended: Instant,
    slowest: Duration,
    /// Requests since the last rest.
    in_a_row: u32,
}

/// So many requests may follow each other without a rest.
const MOST_IN_A_ROW: u32 = 16;

/// No connection rests for longer.
const LONGEST_REST: Duration = Duration::from_secs(1);

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self { began: now, ended: now, slowest: Duration::ZERO, in_a_row: 0 }
    }

    /// A request begins.
    pub(super) fn begin(&mut self, now: Instant) {
        if self.is_rested(now) {
            self.in_a_row = 0;
        }
        self.in_a_row += 1;
        self.began = now;
    }

    /// Its answer is over.
    pub(super) fn end(&mut self, now: Instant) {
        self.slowest = self.slowest.max(now.saturating_duration_since(self.began));
        self.ended = now;
    }

    /// It has been idle for as long as an answer takes.
    pub(super) fn is_rested(&self, now: Instant) -> bool {
        self.idle(now) >= self.slowest.min(LONGEST_REST)
    }

    pub(super) fn has_to_rest(&self, now: Instant) -> bool {
        self.in_a_row >= MOST_IN_A_ROW && !self.is_rested(now)
    }

    /// For how long it has been idle.
    pub(super) fn idle(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods)]
    fn connection_rests_after_so_many_requests_in_a_row_for_as_long_as_an_answer_takes() {
        let ms = Duration::from_millis;
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        for _ in 0..MOST_IN_A_ROW {
            assert!(!pace.has_to_rest(now));
            pace.begin(now);
            now += ms(5);
            pace.end(now);
        }
        assert!(pace.has_to_rest(now + ms(4)));
        assert!(!pace.has_to_rest(now + ms(5)));
        pace.begin(now + ms(5));
        pace.end(now + ms(6));
        assert!(!pace.has_to_rest(now + ms(6)), "it has rested");

        pace.begin(now);
        pace.end(now + 10 * LONGEST_REST);
        assert!(pace.is_rested(now + 11 * LONGEST_REST));
    }
}

//! When a connection has to rest. Pure: `now` is passed in.
//!
//! A stray answer for the same name cannot be told from the answer. The answer itself then comes when
//! nobody expects it, but no later than answers take; a connection that is given one request right
//! after the other never shows it, and gives each the answer to the one before. So no connection
//! goes on like that for long: it rests for as long as an answer has taken, and what was late shows.

use std::time::{Duration, Instant};

/// How the requests of a connection followed each other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cooldown {
    began: Instant,
    ended: Instant,
    slowest: Duration,
    /// Requests since the last rest.
    consecutive: u32,
}

/// So many requests may follow each other without a rest.
const MAX_CONSECUTIVE: u32 = 16;

/// No connection rests for longer.
const MAX_COOLDOWN: Duration = Duration::from_secs(1);

impl Cooldown {
    pub(super) fn new(now: Instant) -> Self {
        Self { began: now, ended: now, slowest: Duration::ZERO, consecutive: 0 }
    }

    /// A request begins.
    pub(super) fn begin(&mut self, now: Instant) {
        if self.is_cooled_down(now) {
            self.consecutive = 0;
        }
        self.consecutive += 1;
        self.began = now;
    }

    /// Its answer is over.
    pub(super) fn end(&mut self, now: Instant) {
        self.slowest = self.slowest.max(now.saturating_duration_since(self.began));
        self.ended = now;
    }

    /// It has been idle for as long as an answer takes.
    pub(super) fn is_cooled_down(&self, now: Instant) -> bool {
        self.idle(now) >= self.slowest.min(MAX_COOLDOWN)
    }

    pub(super) fn needs_cooldown(&self, now: Instant) -> bool {
        self.consecutive >= MAX_CONSECUTIVE && !self.is_cooled_down(now)
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
        let mut cooldown = Cooldown::new(now);
        for _ in 0..MAX_CONSECUTIVE {
            assert!(!cooldown.needs_cooldown(now));
            cooldown.begin(now);
            now += ms(5);
            cooldown.end(now);
        }
        assert!(cooldown.needs_cooldown(now + ms(4)));
        assert!(!cooldown.needs_cooldown(now + ms(5)));
        cooldown.begin(now + ms(5));
        cooldown.end(now + ms(6));
        assert!(!cooldown.needs_cooldown(now + ms(6)), "it has rested");

        cooldown.begin(now);
        cooldown.end(now + 10 * MAX_COOLDOWN);
        assert!(cooldown.is_cooled_down(now + 11 * MAX_COOLDOWN));
    }
}

//! Decides when a connection must cool down. Pure: `now` is passed in.
//!
//! A stray answer may look like the expected one, which then arrives within the usual time. If
//! requests follow one another without a break, every request silently gets the answer to the
//! request before it. So after some requests in a row, a connection idles for as long as its
//! slowest answer took. A late answer then arrives while the connection is idle, and the connection
//! is closed.

use std::time::{Duration, Instant};

/// The timing of a connection's requests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cooldown {
    started: Instant,
    ended: Instant,
    slowest: Duration,
    /// Requests since the last break.
    consecutive: u32,
}

/// The most requests without a break.
const MAX_CONSECUTIVE: u32 = 16;

/// The longest break.
const MAX_COOLDOWN: Duration = Duration::from_secs(1);

impl Cooldown {
    pub(super) fn new(now: Instant) -> Self {
        Self { started: now, ended: now, slowest: Duration::ZERO, consecutive: 0 }
    }

    /// Records that a request starts.
    pub(super) fn on_request(&mut self, now: Instant) {
        if self.is_over(now) {
            self.consecutive = 0;
        }
        self.consecutive += 1;
        self.started = now;
    }

    /// Records that an answer is complete.
    pub(super) fn on_answer(&mut self, now: Instant) {
        self.slowest = self.slowest.max(now.saturating_duration_since(self.started));
        self.ended = now;
    }

    /// Whether the connection has been idle for as long as its slowest answer took.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.idle(now) >= self.slowest.min(MAX_COOLDOWN)
    }

    /// Whether the connection must not be used now.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.consecutive >= MAX_CONSECUTIVE && !self.is_over(now)
    }

    /// How long the connection has been idle.
    pub(super) fn idle(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods)]
    fn busy_connection_rests_for_as_long_as_an_answer_takes() {
        let ms = Duration::from_millis;
        let mut now = Instant::now();
        let mut cooldown = Cooldown::new(now);
        for _ in 0..MAX_CONSECUTIVE {
            assert!(!cooldown.is_due(now));
            cooldown.on_request(now);
            now += ms(5);
            cooldown.on_answer(now);
        }
        assert!(cooldown.is_due(now + ms(4)));
        assert!(!cooldown.is_due(now + ms(5)));
        cooldown.on_request(now + ms(5));
        cooldown.on_answer(now + ms(6));
        assert!(!cooldown.is_due(now + ms(6)), "it has cooled down");

        cooldown.on_request(now);
        cooldown.on_answer(now + 10 * MAX_COOLDOWN);
        assert!(cooldown.is_over(now + 11 * MAX_COOLDOWN));
    }
}

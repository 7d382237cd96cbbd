//! Whether the client's pool of connections is sick. Pure: `now` is passed in.

use std::time::{Duration, Instant};

use crate::model::error::Error;

/// Counts failures of connections in a row.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::transport) struct PoolHealth {
    failures: u32,
    renewed: Option<Instant>,
    last_answer: Option<Instant>,
}

/// So many failures in a row, with no answer between them, ask for a fresh pool.
const FAILURES: u32 = 8;

/// A fresh pool is given this long: where it does not help, the pool was not the reason.
const PATIENCE: Duration = Duration::from_secs(10);

impl PoolHealth {
    /// An attempt got an answer.
    pub(in crate::transport) fn answered(&mut self, now: Instant) {
        self.failures = 0;
        self.last_answer = Some(now);
    }

    /// An attempt failed; whether it is time for a fresh pool. As for the breaker, what began
    /// before the last answer does not count.
    pub(in crate::transport) fn failed(
        &mut self,
        error: &Error,
        began: Instant,
        now: Instant,
    ) -> bool {
        let is_connection = matches!(error, Error::Connect { fault, .. } if !fault.is_tls());
        if !is_connection || self.last_answer.is_some_and(|at| began < at) {
            return false;
        }
        self.failures += 1;
        let is_recent = |at: Instant| now.saturating_duration_since(at) < PATIENCE;
        if self.failures < FAILURES || self.renewed.is_some_and(is_recent) {
            return false;
        }
        (self.failures, self.renewed) = (0, Some(now));
        true
    }
}

#[cfg(test)]
mod tests {
    use std::{io, sync::Arc};

    use super::*;
    use crate::model::error::ConnectFault;

    #[test]
    #[allow(clippy::disallowed_methods)]
    fn repeated_connection_failures_ask_for_a_fresh_pool_once_in_a_while() {
        let now = Instant::now();
        let source = Arc::new(io::Error::other("broken"));
        let broken = Error::Connect { fault: ConnectFault::Closed, source };
        let slow = Error::AttemptTimeout { limit: PATIENCE };
        let mut pool = PoolHealth::default();

        let mut asked = |now| (0..3 * FAILURES).filter(|_| pool.failed(&broken, now, now)).count();
        assert_eq!(asked(now), 1);
        assert_eq!(asked(now + PATIENCE / 2), 0);
        assert_eq!(asked(now + PATIENCE), 1);

        let mut pool = PoolHealth::default();
        assert!((0..100).all(|_| !pool.failed(&slow, now, now)), "a slow server is no sick pool");
        for _ in 0..100 {
            assert!(!pool.failed(&broken, now, now));
            pool.answered(now);
        }
    }
}

//! What follows from a `Retry-After`: it is about the key, and so about every call. Pure: `now` and the
//! randomness are passed in.

use std::time::{Duration, Instant};

use crate::error::Error;

/// Until when the server has asked to be left alone.
#[derive(Debug, Default)]
pub(super) struct Calm {
    asked: Option<Asked>,
}

#[derive(Debug)]
struct Asked {
    status: u16,
    until: Instant,
    spread: Duration,
}

/// What a call does while there is to be calm.
#[derive(Clone, Debug)]
pub(super) enum Advice {
    /// Nothing holds it up.
    Go,
    /// It is worth trying then.
    WaitUntil(Instant),
    /// Its deadline is nearer.
    Fail { status: u16, retry_after: Duration },
}

/// A server that asks for more gets this.
pub(super) const LONGEST: Duration = Duration::from_secs(60);

const LEAST_SPREAD: Duration = Duration::from_millis(100);
const WIDEST_SPREAD: Duration = Duration::from_secs(5);

/// How long a server is left alone that asks for this.
pub(super) fn capped(retry_after: Duration) -> Duration {
    retry_after.min(LONGEST)
}

/// What waited goes out over a time of this length, so that not all of it comes at once.
pub(super) fn spread(retry_after: Duration) -> Duration {
    (capped(retry_after) / 10).clamp(LEAST_SPREAD, WIDEST_SPREAD)
}

impl Calm {
    /// An attempt has failed; whether the server has asked for calm that was none before.
    pub(super) fn heed(&mut self, error: &Error, now: Instant) -> bool {
        let Error::Unavailable { status: status @ (429 | 503), retry_after: Some(pause), .. } =
            error
        else {
            return false;
        };
        if pause.is_zero() {
            return false;
        }
        let is_new = self.until(now).is_none();
        let until = now + capped(*pause);
        if self.asked.as_ref().is_none_or(|asked| asked.until < until) {
            self.asked = Some(Asked { status: *status, until, spread: spread(*pause) });
        }
        is_new
    }

    /// `random` is from 0 to 1.
    pub(super) fn advise(&self, deadline: Instant, now: Instant, random: f64) -> Advice {
        let Some(Asked { status, until, spread }) = &self.asked else { return Advice::Go };
        if *until <= now {
            return Advice::Go;
        }
        let left = deadline.saturating_duration_since(*until);
        if left.is_zero() {
            return Advice::Fail { status: *status, retry_after: *until - now };
        }
        // Half of what is left, so that there is time for the call itself.
        Advice::WaitUntil(*until + (*spread).min(left / 2).mul_f64(random.clamp(0.0, 1.0)))
    }

    pub(super) fn until(&self, now: Instant) -> Option<Instant> {
        self.asked.as_ref().map(|asked| asked.until).filter(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[allow(clippy::disallowed_methods)]
    fn start() -> Instant {
        Instant::now()
    }

    fn unavailable(status: u16, retry_after: Option<Duration>) -> Error {
        Error::Unavailable { path: "/v1/check_gate", status, retry_after }
    }

    #[test]
    fn a_call_waits_or_fails_at_once_where_its_deadline_is_nearer() {
        for status in [429, 503] {
            let (mut calm, now) = (Calm::default(), start());
            assert!(calm.heed(&unavailable(status, Some(20 * SECOND)), now));

            let near = calm.advise(now + 3 * SECOND, now + SECOND, 0.5);
            let Advice::Fail { status: said, retry_after } = near else { panic!("{near:?}") };
            assert_eq!((said, retry_after), (status, 19 * SECOND));

            let far = calm.advise(now + 60 * SECOND, now, 0.5);
            let Advice::WaitUntil(at) = far else { panic!("{far:?}") };
            assert_eq!(at, now + 21 * SECOND, "a tenth of the pause is the spread");

            assert!(matches!(calm.advise(now + 60 * SECOND, now + 20 * SECOND, 0.5), Advice::Go));
        }
    }

    #[test]
    fn only_a_429_or_503_that_says_how_long_asks_for_calm() {
        let now = start();
        for error in [
            unavailable(429, None),
            unavailable(503, None),
            unavailable(429, Some(Duration::ZERO)),
            unavailable(500, Some(SECOND)),
            Error::AttemptTimeout { limit: SECOND },
        ] {
            let mut calm = Calm::default();
            assert!(!calm.heed(&error, now), "{error}");
            assert!(calm.until(now).is_none());
        }
    }

    #[test]
    fn the_longest_that_is_asked_for_counts_and_no_more_than_a_minute() {
        let (mut calm, now) = (Calm::default(), start());
        assert!(calm.heed(&unavailable(429, Some(20 * SECOND)), now));
        assert!(!calm.heed(&unavailable(429, Some(10 * SECOND)), now));
        assert_eq!(calm.until(now), Some(now + 20 * SECOND));
        assert!(!calm.heed(&unavailable(429, Some(Duration::MAX)), now));
        assert_eq!(calm.until(now), Some(now + LONGEST));
        assert_eq!(calm.until(now + LONGEST), None);
        assert!(calm.heed(&unavailable(429, Some(SECOND)), now + LONGEST), "a new one");
    }

    proptest! {
        #[test]
        fn a_call_that_waits_goes_out_after_the_calm_and_before_its_deadline(
            pause in 1..200_000u64, left in 0..200_000u64, random in 0.0..=1.0f64,
        ) {
            let (mut calm, now) = (Calm::default(), start());
            let pause = Duration::from_millis(pause);
            calm.heed(&unavailable(429, Some(pause)), now);
            let deadline = now + Duration::from_millis(left);
            match calm.advise(deadline, now, random) {
                Advice::WaitUntil(at) => {
                    prop_assert!(at >= now + capped(pause) && at < deadline);
                    prop_assert!(at <= now + capped(pause) + WIDEST_SPREAD);
                }
                Advice::Fail { .. } => prop_assert!(deadline <= now + capped(pause)),
                Advice::Go => prop_assert!(false, "there is to be calm"),
            }
        }
    }
}

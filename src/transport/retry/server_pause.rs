//! Pauses calls after a `Retry-After`, which applies to the API key and so to every call. Pure:
//! `now` and the randomness are passed in.

use std::{
    hash::BuildHasher,
    time::{Duration, Instant},
};

use foldhash::fast::RandomState;
use smallvec::SmallVec;

use crate::model::{error::Error, user::User};

/// The pauses that the server has asked for.
///
/// The server asks for a pause in its answer to one user's call. If it asks only one or two users
/// to pause, and answers others in between, further pauses apply to those users alone.
#[derive(Debug, Default)]
pub(crate) struct ServerPause {
    for_all: Option<Pause>,
    /// The users that the server last asked to pause, the latest at the end.
    users: SmallVec<[PausedUser; MAX_USERS]>,
    hasher: RandomState,
}

#[derive(Debug)]
struct PausedUser {
    /// The user's hash; `None` for a probe.
    user: Option<u64>,
    others_are_answered: bool,
    /// The pause for this user alone.
    own: Option<Pause>,
}

#[derive(Debug)]
struct Pause {
    status: u16,
    until: Instant,
    spread: Duration,
}

/// The effect of a pause on a call.
#[derive(Clone, Debug)]
pub(crate) enum PauseCheck {
    Proceed,
    WaitUntil(Instant),
    /// The pause ends after the call's deadline.
    PastDeadline {
        status: u16,
        retry_after: Duration,
    },
}

/// The longest pause. A longer `Retry-After` is cut to this.
pub(crate) const MAX_PAUSE: Duration = Duration::from_secs(60);

/// With up to this many paused users, the pauses may be about those users alone. The breaker has
/// the same limit.
const MAX_USERS: usize = 2;

const MIN_SPREAD: Duration = Duration::from_millis(100);
const MAX_SPREAD: Duration = Duration::from_secs(5);

/// Returns the pause to keep for this `Retry-After`.
pub(crate) fn capped(retry_after: Duration) -> Duration {
    retry_after.min(MAX_PAUSE)
}

/// Returns the time over which waiting calls start after the pause, so that they do not all start
/// at once.
pub(crate) fn spread(retry_after: Duration) -> Duration {
    (capped(retry_after) / 10).clamp(MIN_SPREAD, MAX_SPREAD)
}

impl ServerPause {
    /// Records that an attempt of this user, or a probe, failed. Returns whether a pause for all
    /// begins.
    pub(crate) fn on_failure(&mut self, error: &Error, user: Option<&User>, now: Instant) -> bool {
        let Error::Unavailable { status: status @ (429 | 503), retry_after: Some(asked), .. } =
            error
        else {
            return false;
        };
        if asked.is_zero() {
            return false;
        }
        let pause = Pause { status: *status, until: now + capped(*asked), spread: spread(*asked) };
        let user = user.map(|user| self.hasher.hash_one(user));
        match self.users.iter_mut().find(|paused| paused.user == user) {
            Some(PausedUser { others_are_answered: true, own, .. }) => {
                extend(own, pause);
                return false;
            }
            Some(_) => {}
            None => {
                if self.users.len() == MAX_USERS {
                    self.users.remove(0);
                }
                self.users.push(PausedUser { user, others_are_answered: false, own: None });
            }
        }
        let is_new = self.paused_until(now).is_none();
        extend(&mut self.for_all, pause);
        is_new
    }

    /// Records that this user got an answer.
    pub(crate) fn on_answer(&mut self, user: &User) {
        for paused in self.users.iter_mut().filter(|paused| !paused.others_are_answered) {
            paused.others_are_answered = paused.user != Some(self.hasher.hash_one(user));
        }
    }

    /// Checks whether a pause affects a call of this user. `random` is from 0 to 1.
    pub(crate) fn check(
        &self,
        user: &User,
        deadline: Instant,
        now: Instant,
        random: f64,
    ) -> PauseCheck {
        let own = self.users.iter().filter_map(|paused| Some((paused.user?, paused.own.as_ref()?)));
        let mut own = own.filter(|(_, pause)| pause.until > now);
        let own = own.find(|(hash, _)| *hash == self.hasher.hash_one(user)).map(|(_, pause)| pause);
        let longest = self.for_all.iter().chain(own).max_by_key(|pause| pause.until);
        let Some(Pause { status, until, spread }) = longest.filter(|pause| pause.until > now)
        else {
            return PauseCheck::Proceed;
        };
        let left = deadline.saturating_duration_since(*until);
        if left.is_zero() {
            return PauseCheck::PastDeadline { status: *status, retry_after: *until - now };
        }
        // Spread over at most half of the time left, so that the call itself has the other half.
        PauseCheck::WaitUntil(*until + (*spread).min(left / 2).mul_f64(random.clamp(0.0, 1.0)))
    }

    /// Returns until when all calls pause.
    pub(crate) fn paused_until(&self, now: Instant) -> Option<Instant> {
        self.for_all.as_ref().map(|pause| pause.until).filter(|until| *until > now)
    }
}

/// Replaces a pause if the new one ends later.
fn extend(pause: &mut Option<Pause>, by: Pause) {
    if pause.as_ref().is_none_or(|pause| pause.until < by.until) {
        *pause = Some(by);
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

    fn user(n: usize) -> User {
        User::new(format!("u-{n}")).unwrap()
    }

    fn unavailable(status: u16, retry_after: Option<Duration>) -> Error {
        Error::Unavailable { path: "/v1/check_gate", status, retry_after }
    }

    #[test]
    fn call_waits_or_fails_at_once_if_its_deadline_is_nearer() {
        for status in [429, 503] {
            let (mut pause, now) = (ServerPause::default(), start());
            assert!(pause.on_failure(&unavailable(status, Some(20 * SECOND)), Some(&user(0)), now));

            let near = pause.check(&user(0), now + 3 * SECOND, now + SECOND, 0.5);
            let PauseCheck::PastDeadline { status: found, retry_after } = near else {
                panic!("{near:?}")
            };
            assert_eq!((found, retry_after), (status, 19 * SECOND));

            let far = pause.check(&user(0), now + 60 * SECOND, now, 0.5);
            let PauseCheck::WaitUntil(at) = far else { panic!("{far:?}") };
            assert_eq!(at, now + 21 * SECOND, "a tenth of the pause is the spread");

            assert!(matches!(
                pause.check(&user(0), now + 60 * SECOND, now + 20 * SECOND, 0.5),
                PauseCheck::Proceed
            ));
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
            let mut pause = ServerPause::default();
            assert!(!pause.on_failure(&error, Some(&user(0)), now), "{error}");
            assert!(pause.paused_until(now).is_none());
        }
    }

    #[test]
    fn longest_retry_after_counts_up_to_a_minute() {
        let (mut pause, now) = (ServerPause::default(), start());
        assert!(pause.on_failure(&unavailable(429, Some(20 * SECOND)), Some(&user(0)), now));
        assert!(!pause.on_failure(&unavailable(429, Some(10 * SECOND)), Some(&user(0)), now));
        assert_eq!(pause.paused_until(now), Some(now + 20 * SECOND));
        assert!(!pause.on_failure(&unavailable(429, Some(Duration::MAX)), Some(&user(0)), now));
        assert_eq!(pause.paused_until(now), Some(now + MAX_PAUSE));
        assert_eq!(pause.paused_until(now + MAX_PAUSE), None);
        assert!(
            pause.on_failure(&unavailable(429, Some(SECOND)), Some(&user(0)), now + MAX_PAUSE),
            "a new one"
        );
    }

    #[test]
    fn promise_3_retry_after_of_one_user_is_that_users() {
        let (mut pause, now) = (ServerPause::default(), start());
        let (far, busy) = (now + 600 * SECOND, unavailable(429, Some(SECOND)));
        let goes = |pause: &ServerPause, n: usize, now: Instant| {
            matches!(pause.check(&user(n), far, now, 0.5), PauseCheck::Proceed)
        };
        assert!(pause.on_failure(&busy, Some(&user(0)), now), "no other user has an answer yet");
        assert!(!goes(&pause, 0, now) && !goes(&pause, 1, now));
        pause.on_answer(&user(0));
        assert!(
            pause.on_failure(&busy, Some(&user(0)), now + SECOND),
            "no other user was answered"
        );

        let now = now + 2 * SECOND;
        pause.on_answer(&user(1));
        for _ in 0..3 {
            assert!(!pause.on_failure(&busy, Some(&user(0)), now));
            assert!(
                !goes(&pause, 0, now) && goes(&pause, 1, now) && pause.paused_until(now).is_none()
            );
        }
        assert!(goes(&pause, 0, now + SECOND));

        assert!(pause.on_failure(&busy, Some(&user(1)), now), "the pause is about others too");
        assert!(!goes(&pause, 0, now) && !goes(&pause, 1, now) && !goes(&pause, 2, now));
    }

    #[test]
    fn promise_3_retry_after_of_two_users_in_turn_is_theirs() {
        let (mut pause, mut now) = (ServerPause::default(), start());
        let (far, busy) = (now + 600 * SECOND, unavailable(429, Some(SECOND)));
        let goes = |pause: &ServerPause, n: usize, now: Instant| {
            matches!(pause.check(&user(n), far, now, 0.5), PauseCheck::Proceed)
        };
        for n in [0, 1] {
            assert!(
                pause.on_failure(&busy, Some(&user(n)), now),
                "no other user has an answer yet"
            );
            now += SECOND;
            pause.on_answer(&user(2));
        }
        for _ in 0..3 {
            now += SECOND;
            for n in [0, 1] {
                assert!(!pause.on_failure(&busy, Some(&user(n)), now));
                assert!(!goes(&pause, n, now) && goes(&pause, 2, now));
            }
            assert!(!goes(&pause, 0, now) && pause.paused_until(now).is_none());
        }

        assert!(
            pause.on_failure(&busy, Some(&user(2)), now),
            "a third user makes the pause general"
        );
        assert!(
            pause.on_failure(&busy, Some(&user(0)), now + SECOND),
            "and one of them is forgotten"
        );
        assert!(!goes(&pause, 3, now + SECOND) && pause.users.len() == MAX_USERS);
    }

    proptest! {
        #[test]
        fn delayed_call_leaves_after_the_pause_before_its_deadline(
            millis in 1..200_000u64, left in 0..200_000u64, random in 0.0..=1.0f64,
        ) {
            let (mut pause, now) = (ServerPause::default(), start());
            let retry_after = Duration::from_millis(millis);
            pause.on_failure(&unavailable(429, Some(retry_after)), Some(&user(0)), now);
            let deadline = now + Duration::from_millis(left);
            match pause.check(&user(0), deadline, now, random) {
                PauseCheck::WaitUntil(at) => {
                    prop_assert!(at >= now + capped(retry_after) && at < deadline);
                    prop_assert!(at <= now + capped(retry_after) + MAX_SPREAD);
                }
                PauseCheck::PastDeadline { .. } => prop_assert!(deadline <= now + capped(retry_after)),
                PauseCheck::Proceed => prop_assert!(false, "the server has asked for a pause"),
            }
        }
    }
}

//! What follows from a `Retry-After`: it is about the key, and so about every call. Pure: `now` and the
//! randomness are passed in.

use std::{
    hash::BuildHasher,
    time::{Duration, Instant},
};

use foldhash::fast::RandomState;
use smallvec::SmallVec;

use crate::model::{error::Error, user::User};

/// Until when the server has asked to be left alone.
///
/// It asks for that with somebody's call. If it does so with the calls of one or two users only, and
/// answers others in between, it is about those users: then the others go on.
#[derive(Debug, Default)]
pub(in crate::transport) struct ServerPause {
    asked: Option<Pause>,
    /// The users with whose calls the server asked last, the latest at the end.
    users: SmallVec<[PausedUser; MAX_USERS]>,
    hasher: RandomState,
}

/// A user with whose call the server has asked, by its hash.
#[derive(Debug)]
struct PausedUser {
    user: Option<u64>,
    others_are_answered: bool,
    /// What it has asked for this user alone.
    own: Option<Pause>,
}

#[derive(Debug)]
struct Pause {
    status: u16,
    until: Instant,
    spread: Duration,
}

/// What a call does while there is to be pause.
#[derive(Clone, Debug)]
pub(in crate::transport) enum PauseCheck {
    /// Nothing holds it up.
    Proceed,
    /// It is worth trying then.
    WaitUntil(Instant),
    /// Its deadline is nearer.
    PastDeadline { status: u16, retry_after: Duration },
}

/// A server that asks for more gets this.
pub(in crate::transport) const MAX_PAUSE: Duration = Duration::from_secs(60);

/// So many users' trouble may be theirs alone, as for the breaker.
const MAX_USERS: usize = 2;

const MIN_SPREAD: Duration = Duration::from_millis(100);
const MAX_SPREAD: Duration = Duration::from_secs(5);

/// How long a server is left alone that asks for this.
pub(in crate::transport) fn capped(retry_after: Duration) -> Duration {
    retry_after.min(MAX_PAUSE)
}

/// What waited goes out over a time of this length, so that not all of it comes at once.
pub(in crate::transport) fn spread(retry_after: Duration) -> Duration {
    (capped(retry_after) / 10).clamp(MIN_SPREAD, MAX_SPREAD)
}

impl ServerPause {
    /// An attempt of this user, or a probe, has failed; whether the server has asked for calm that was
    /// none before.
    pub(in crate::transport) fn on_failure(
        &mut self,
        error: &Error,
        user: Option<&User>,
        now: Instant,
    ) -> bool {
        let Error::Unavailable { status: status @ (429 | 503), retry_after: Some(asked), .. } =
            error
        else {
            return false;
        };
        if asked.is_zero() {
            return false;
        }
        let asked = Pause { status: *status, until: now + capped(*asked), spread: spread(*asked) };
        let user = user.map(|user| self.hasher.hash_one(user));
        match self.users.iter_mut().find(|of| of.user == user) {
            Some(PausedUser { others_are_answered: true, own, .. }) => {
                extend(own, asked);
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
        extend(&mut self.asked, asked);
        is_new
    }

    /// This user has got an answer.
    pub(in crate::transport) fn on_answer(&mut self, user: &User) {
        for of in self.users.iter_mut().filter(|of| !of.others_are_answered) {
            of.others_are_answered = of.user != Some(self.hasher.hash_one(user));
        }
    }

    /// `random` is from 0 to 1.
    pub(in crate::transport) fn check(
        &self,
        user: &User,
        deadline: Instant,
        now: Instant,
        random: f64,
    ) -> PauseCheck {
        let own = self.users.iter().filter_map(|of| Some((of.user?, of.own.as_ref()?)));
        let mut own = own.filter(|(_, own)| own.until > now);
        let own = own.find(|(of, _)| *of == self.hasher.hash_one(user)).map(|(_, own)| own);
        let asked = self.asked.iter().chain(own).max_by_key(|asked| asked.until);
        let Some(Pause { status, until, spread }) = asked.filter(|asked| asked.until > now) else {
            return PauseCheck::Proceed;
        };
        let left = deadline.saturating_duration_since(*until);
        if left.is_zero() {
            return PauseCheck::PastDeadline { status: *status, retry_after: *until - now };
        }
        // Half of what is left, so that there is time for the call itself.
        PauseCheck::WaitUntil(*until + (*spread).min(left / 2).mul_f64(random.clamp(0.0, 1.0)))
    }

    /// Until when there is to be calm for everybody.
    pub(in crate::transport) fn paused_until(&self, now: Instant) -> Option<Instant> {
        self.asked.as_ref().map(|asked| asked.until).filter(|until| *until > now)
    }
}

fn extend(asked: &mut Option<Pause>, by: Pause) {
    if asked.as_ref().is_none_or(|asked| asked.until < by.until) {
        *asked = Some(by);
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
    fn a_call_waits_or_fails_at_once_where_its_deadline_is_nearer() {
        for status in [429, 503] {
            let (mut pause, now) = (ServerPause::default(), start());
            assert!(pause.on_failure(&unavailable(status, Some(20 * SECOND)), Some(&user(0)), now));

            let near = pause.check(&user(0), now + 3 * SECOND, now + SECOND, 0.5);
            let PauseCheck::PastDeadline { status: said, retry_after } = near else {
                panic!("{near:?}")
            };
            assert_eq!((said, retry_after), (status, 19 * SECOND));

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
    fn the_longest_that_is_asked_for_counts_and_no_more_than_a_minute() {
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
    fn promise_3_calm_that_is_asked_of_one_user_while_others_are_answered_is_that_users() {
        let (mut pause, now) = (ServerPause::default(), start());
        let (far, busy) = (now + 600 * SECOND, unavailable(429, Some(SECOND)));
        let goes = |pause: &ServerPause, n: usize, now: Instant| {
            matches!(pause.check(&user(n), far, now, 0.5), PauseCheck::Proceed)
        };
        assert!(pause.on_failure(&busy, Some(&user(0)), now), "nobody knows better yet");
        assert!(!goes(&pause, 0, now) && !goes(&pause, 1, now));
        pause.on_answer(&user(0));
        assert!(pause.on_failure(&busy, Some(&user(0)), now + SECOND), "no other was answered");

        let now = now + 2 * SECOND;
        pause.on_answer(&user(1));
        for _ in 0..3 {
            assert!(!pause.on_failure(&busy, Some(&user(0)), now));
            assert!(
                !goes(&pause, 0, now) && goes(&pause, 1, now) && pause.paused_until(now).is_none()
            );
        }
        assert!(goes(&pause, 0, now + SECOND));

        assert!(pause.on_failure(&busy, Some(&user(1)), now), "it is about others as well");
        assert!(!goes(&pause, 0, now) && !goes(&pause, 1, now) && !goes(&pause, 2, now));
    }

    #[test]
    fn promise_3_calm_that_is_asked_of_two_users_in_turn_while_others_are_answered_is_theirs() {
        let (mut pause, mut now) = (ServerPause::default(), start());
        let (far, busy) = (now + 600 * SECOND, unavailable(429, Some(SECOND)));
        let goes = |pause: &ServerPause, n: usize, now: Instant| {
            matches!(pause.check(&user(n), far, now, 0.5), PauseCheck::Proceed)
        };
        for n in [0, 1] {
            assert!(pause.on_failure(&busy, Some(&user(n)), now), "nobody knows better yet");
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

        assert!(pause.on_failure(&busy, Some(&user(2)), now), "of three it is about all");
        assert!(
            pause.on_failure(&busy, Some(&user(0)), now + SECOND),
            "and one of them is forgotten"
        );
        assert!(!goes(&pause, 3, now + SECOND) && pause.users.len() == MAX_USERS);
    }

    proptest! {
        #[test]
        fn a_call_that_waits_goes_out_after_the_calm_and_before_its_deadline(
            millis in 1..200_000u64, left in 0..200_000u64, random in 0.0..=1.0f64,
        ) {
            let (mut pause, now) = (ServerPause::default(), start());
            let asked = Duration::from_millis(millis);
            pause.on_failure(&unavailable(429, Some(asked)), Some(&user(0)), now);
            let deadline = now + Duration::from_millis(left);
            match pause.check(&user(0), deadline, now, random) {
                PauseCheck::WaitUntil(at) => {
                    prop_assert!(at >= now + capped(asked) && at < deadline);
                    prop_assert!(at <= now + capped(asked) + MAX_SPREAD);
                }
                PauseCheck::PastDeadline { .. } => prop_assert!(deadline <= now + capped(asked)),
                PauseCheck::Proceed => prop_assert!(false, "there is to be calm"),
            }
        }
    }
}

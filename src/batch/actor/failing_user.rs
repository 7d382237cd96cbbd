//! Distinguishes the failure of one user's calls from an outage. Pure.
//!
//! A failure that is one user's alone does not make the component unready.

use crate::model::user::User;

/// The user whose call failed last.
#[derive(Debug, Default)]
pub(super) struct FailingUser {
    user: Option<User>,
    /// Whether another user's call was answered after that failure.
    others_are_answered: bool,
}

impl FailingUser {
    pub(super) fn record_answer(&mut self, user: &User) {
        self.others_are_answered |= self.user.as_ref().is_some_and(|failing| failing != user);
    }

    /// Records a failed call. Returns whether the failure is specific to this user: the last
    /// failure was this user's too, and another user's call was answered between the two.
    pub(super) fn record_failure(&mut self, user: &User) -> bool {
        let is_theirs = self.others_are_answered && self.user.as_ref() == Some(user);
        *self = Self { user: Some(user.clone()), others_are_answered: false };
        is_theirs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(id: &str) -> User {
        User::new(id).unwrap()
    }

    #[test]
    fn second_failure_is_the_users_own_if_others_are_answered() {
        let mut failing = FailingUser::default();
        let (marie, other) = (user("marie"), user("other"));

        assert!(!failing.record_failure(&marie));
        failing.record_answer(&other);
        assert!(failing.record_failure(&marie));
        failing.record_answer(&other);
        assert!(failing.record_failure(&marie));
    }

    #[test]
    fn failures_in_a_row_or_of_several_users_are_everybodys() {
        let mut failing = FailingUser::default();
        let (marie, other) = (user("marie"), user("other"));

        assert!(!failing.record_failure(&marie) && !failing.record_failure(&marie));
        failing.record_answer(&marie);
        assert!(!failing.record_failure(&marie), "no other user was answered");
        failing.record_answer(&other);
        assert!(!failing.record_failure(&other));
        assert!(!failing.record_failure(&marie));
    }
}

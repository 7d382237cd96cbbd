//! Whether a failed call costs the component its readiness, or is its user's own trouble. Pure.

use crate::model::user::User;

/// The user whose call failed last.
#[derive(Debug, Default)]
pub(super) struct FailingUser {
    user: Option<User>,
    /// Another user's call was answered after that failure.
    others_are_answered: bool,
}

impl FailingUser {
    pub(super) fn answered(&mut self, user: &User) {
        self.others_are_answered |= self.user.as_ref().is_some_and(|failing| failing != user);
    }

    /// Whether the failure is only this user's: the one before was this user's too, and another user
    /// has been answered between them.
    pub(super) fn failed(&mut self, user: &User) -> bool {
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
    fn failure_is_the_users_own_from_the_second_one_if_others_are_answered_between() {
        let mut failing = FailingUser::default();
        let (marie, other) = (user("marie"), user("other"));

        assert!(!failing.failed(&marie));
        failing.answered(&other);
        assert!(failing.failed(&marie));
        failing.answered(&other);
        assert!(failing.failed(&marie));
    }

    #[test]
    fn failures_in_a_row_or_of_several_users_are_everybodys() {
        let mut failing = FailingUser::default();
        let (marie, other) = (user("marie"), user("other"));

        assert!(!failing.failed(&marie) && !failing.failed(&marie));
        failing.answered(&marie);
        assert!(!failing.failed(&marie), "no other user was answered");
        failing.answered(&other);
        assert!(!failing.failed(&other));
        assert!(!failing.failed(&marie));
    }
}

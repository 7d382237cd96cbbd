//! The failures since the last answer.

use super::Probe;
use crate::model::user::User;

/// The failures since the last answer.
#[derive(Debug, Default)]
pub(super) struct FailureStreak {
    failures: u32,
    /// The failures that count: every failure that no single user's request can cause, and up to
    /// `MAX_PER_USER` other failures of each user.
    counted: u32,
    failures_by_user: Vec<(User, u32)>,
    /// The running probe that decides whether the breaker opens.
    pub(super) probe: Option<Probe>,
}

/// The number of counted failures in a row that opens the breaker.
const THRESHOLD: u32 = 10;

/// The most failures of one user that count, apart from failures that no single user's request can
/// cause. So it takes failures of three users to open the breaker.
const MAX_PER_USER: u32 = 4;

impl FailureStreak {
    pub(super) fn count(&mut self, user: &User, of_any_user: bool) {
        self.failures = self.failures.saturating_add(1);
        if of_any_user {
            self.counted += 1;
            return;
        }
        // The list stays short: the breaker opens at the third user.
        let known = self.failures_by_user.iter_mut().find(|(known, _)| known == user);
        let by_this_user = match known {
            Some((_, failures)) => {
                *failures += 1;
                *failures
            }
            None => {
                self.failures_by_user.push((user.clone(), 1));
                1
            }
        };
        self.counted += u32::from(by_this_user <= MAX_PER_USER);
    }

    /// Whether the breaker opens.
    pub(super) fn opens_breaker(&self) -> bool {
        self.counted >= THRESHOLD
    }

    /// Whether a probe must distinguish a failing server from one user in trouble.
    pub(super) fn needs_probe(&self) -> bool {
        self.failures >= THRESHOLD
    }
}

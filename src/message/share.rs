//! The fair share of one user. Pure.

/// Returns how much one user may use: three quarters of what other users leave, so that there is always
/// room for the next user. A small amount (`always`) is allowed while there is room.
pub(crate) fn fair_share(limit: usize, used_by_others: usize, always: usize) -> usize {
    let left = limit.saturating_sub(used_by_others);
    // Not `left * 3 / 4`, which may overflow.
    let three_quarters = left / 4 * 3 + left % 4 * 3 / 4;
    three_quarters.max(always).min(left)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn share_is_three_quarters_of_what_others_leave() {
        assert_eq!(fair_share(64, 0, 1), 48);
        assert_eq!(fair_share(64, 48, 1), 12);
        assert_eq!((fair_share(1, 0, 1), fair_share(2, 0, 1), fair_share(3, 0, 1)), (1, 1, 2));
        assert_eq!(
            (fair_share(10, 0, 100), fair_share(10, 4, 100), fair_share(10, 11, 100)),
            (10, 6, 0)
        );
        assert_eq!(fair_share(usize::MAX, 0, 0), usize::MAX / 4 * 3 + 2);
    }

    proptest! {
        /// Any number of users take their full share, one after the other.
        #[test]
        fn promise_3_users_at_their_share_leave_room_for_the_next(
            limit in 4usize..100_000, users in 0usize..8,
        ) {
            let mut taken = 0;
            for _ in 0..users {
                let takes = fair_share(limit, taken, 1);
                prop_assert!(takes > 0 || taken == limit);
                taken += takes;
            }
            prop_assert!(taken <= limit);
            prop_assert!(limit - taken >= limit / 4usize.pow(users as u32));
        }
    }
}

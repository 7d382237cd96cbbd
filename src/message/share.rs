//! How much of something scarce one user may hold. Pure.

/// One user may hold three quarters of what others leave: so a user who holds much always leaves
/// something for whoever comes next, and the more users hold much, the less each of them may. What
/// is small (`always`) is not worth a refusal while there is room.
pub(crate) fn share(limit: usize, held_by_others: usize, always: usize) -> usize {
    let left = limit.saturating_sub(held_by_others);
    // Not `left * 3 / 4`, which may overflow.
    let three_quarters = left / 4 * 3 + left % 4 * 3 / 4;
    three_quarters.max(always).min(left)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn alone_it_is_three_quarters_and_beside_others_three_quarters_of_the_rest() {
        assert_eq!(share(64, 0, 1), 48);
        assert_eq!(share(64, 48, 1), 12);
        assert_eq!((share(1, 0, 1), share(2, 0, 1), share(3, 0, 1)), (1, 1, 2));
        assert_eq!((share(10, 0, 100), share(10, 4, 100), share(10, 11, 100)), (10, 6, 0));
        assert_eq!(share(usize::MAX, 0, 0), usize::MAX / 4 * 3 + 2);
    }

    proptest! {
        /// However many users take as much as they may, one after the other.
        #[test]
        fn promise_3_users_who_take_all_they_may_leave_room_for_the_next(
            limit in 4usize..100_000, users in 0usize..8,
        ) {
            let mut taken = 0;
            for _ in 0..users {
                let takes = share(limit, taken, 1);
                prop_assert!(takes > 0 || taken == limit);
                taken += takes;
            }
            prop_assert!(taken <= limit);
            prop_assert!(limit - taken >= limit / 4usize.pow(users as u32));
        }
    }
}

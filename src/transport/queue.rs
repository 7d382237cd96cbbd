//! Calls that wait for a place in flight, users taking turns. Pure.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    time::Instant,
};

use foldhash::fast::RandomState;

use crate::user::User;

/// First in first out for each user, and one after the other among the users, so that one with many
/// calls does not starve another.
#[derive(Debug)]
pub(super) struct FairQueue<T> {
    waiting: HashMap<u64, Waiting<T>, RandomState>,
    lines: HashMap<User, VecDeque<u64>, RandomState>,
    /// Users with a line, the next one first.
    turns: VecDeque<User>,
    deadlines: BTreeSet<(Instant, u64)>,
    last: u64,
}

#[derive(Debug)]
struct Waiting<T> {
    item: T,
    deadline: Instant,
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        Self {
            waiting: HashMap::default(),
            lines: HashMap::default(),
            turns: VecDeque::new(),
            deadlines: BTreeSet::new(),
            last: 0,
        }
    }
}

impl<T> FairQueue<T> {
    pub(super) fn push(&mut self, user: User, deadline: Instant, item: T) {
        self.last += 1;
        self.waiting.insert(self.last, Waiting { item, deadline });
        self.deadlines.insert((deadline, self.last));
        let line = self.lines.entry(user.clone()).or_default();
        if line.is_empty() {
            self.turns.push_back(user);
        }
        line.push_back(self.last);
    }

    /// The next item of the user whose turn it is.
    pub(super) fn pop(&mut self) -> Option<T> {
        while let Some(user) = self.turns.pop_front() {
            let Some(line) = self.lines.get_mut(&user) else { continue };
            // What has expired is no longer waiting, but still in its line.
            let next = std::iter::from_fn(|| line.pop_front())
                .find_map(|id| Some((id, self.waiting.remove(&id)?)));
            if line.is_empty() {
                self.lines.remove(&user);
            } else {
                self.turns.push_back(user);
            }
            if let Some((id, waiting)) = next {
                self.deadlines.remove(&(waiting.deadline, id));
                return Some(waiting.item);
            }
        }
        None
    }

    /// Takes out what has been waiting until its deadline.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<T> {
        let mut expired = Vec::new();
        while let Some(&(deadline, id)) = self.deadlines.first()
            && deadline <= now
        {
            self.deadlines.pop_first();
            expired.extend(self.waiting.remove(&id).map(|waiting| waiting.item));
        }
        if self.waiting.is_empty() {
            self.lines.clear();
            self.turns.clear();
        }
        expired
    }

    /// When `expire` has something to do next.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn user(id: usize) -> User {
        User::new(format!("u-{id}")).unwrap()
    }

    #[allow(clippy::disallowed_methods)]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn promise_3_users_take_turns_however_many_calls_one_of_them_has() {
        let mut queue = FairQueue::default();
        let deadline = start();
        for n in 0..10_000 {
            queue.push(user(0), deadline, (0, n));
        }
        queue.push(user(1), deadline, (1, 0));
        queue.push(user(1), deadline, (1, 1));

        let first: Vec<_> = std::iter::from_fn(|| queue.pop()).take(5).collect();

        assert_eq!(first, [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2)]);
    }

    #[test]
    fn what_waits_until_its_deadline_is_taken_out_and_does_not_come_again() {
        let mut queue = FairQueue::default();
        let now = start();
        let later = now + Duration::from_secs(1);
        queue.push(user(0), now, "early");
        queue.push(user(0), later, "late");

        assert_eq!(queue.next_deadline(), Some(now));
        assert_eq!(queue.expire(now), ["early"]);
        assert_eq!(queue.next_deadline(), Some(later));
        assert_eq!(queue.pop(), Some("late"));
        assert_eq!((queue.pop(), queue.next_deadline()), (None, None));
        assert!(queue.expire(later).is_empty());
    }

    proptest! {
        #[test]
        fn everything_comes_out_once_and_in_order_for_each_user(
            steps in proptest::collection::vec((0..3u8, 0..4usize, 0..50u64), 0..200),
        ) {
            let mut queue = FairQueue::default();
            let start = start();
            let (mut pushed, mut popped) = (Vec::new(), Vec::new());
            for (n, (step, who, at)) in steps.into_iter().enumerate() {
                let at = start + Duration::from_millis(at);
                match step {
                    0 => {
                        queue.push(user(who), at, (who, n));
                        pushed.push((who, n));
                    }
                    1 => popped.extend(queue.pop()),
                    _ => {
                        let mut expired = queue.expire(at);
                        expired.sort_unstable();
                        pushed.retain(|item| expired.binary_search(item).is_err());
                    }
                }
            }
            popped.extend(std::iter::from_fn(|| queue.pop()));
            for who in 0..4 {
                let of = |list: &[(usize, usize)]| -> Vec<_> {
                    list.iter().filter(|item| item.0 == who).copied().collect()
                };
                prop_assert_eq!(of(&popped), of(&pushed));
            }
            prop_assert!(queue.lines.is_empty() && queue.deadlines.is_empty());
        }
    }
}

//! Queues calls that wait for a slot in flight. Users take turns, and no user holds more than its
//! share of the slots. Pure.

use std::{
    collections::{BTreeSet, HashMap, VecDeque, hash_map::Entry},
    time::Instant,
};

use foldhash::fast::RandomState;

use crate::{message::share::fair_share, model::user::User};

/// A queue with round robin among users, and first in, first out for each user. A user with many
/// calls does not starve the others.
///
/// A user that holds its [`share`] of the slots keeps its turn while others go first. A hanging
/// call cannot be made to give up its slot, and another user may arrive at any time. So one user
/// never holds all slots, even while no other user has calls.
#[derive(Debug)]
pub(super) struct FairQueue<T> {
    waiting: HashMap<u64, Waiting<T>, RandomState>,
    users: HashMap<User, UserCalls, RandomState>,
    /// Users with queued calls, the next one first.
    round_robin: VecDeque<User>,
    deadlines: BTreeSet<(Instant, u64)>,
    last_id: u64,
    slots: usize,
    in_flight: usize,
}

#[derive(Debug)]
struct Waiting<T> {
    item: T,
    deadline: Instant,
}

#[derive(Debug, Default)]
struct UserCalls {
    /// The waiting calls, and some that have expired.
    queued: VecDeque<u64>,
    in_flight: usize,
}

impl<T> FairQueue<T> {
    /// Creates a queue for this many slots.
    pub(super) fn new(slots: usize) -> Self {
        Self {
            waiting: HashMap::default(),
            users: HashMap::default(),
            round_robin: VecDeque::new(),
            deadlines: BTreeSet::new(),
            last_id: 0,
            slots,
            in_flight: 0,
        }
    }

    pub(super) fn push(&mut self, user: User, deadline: Instant, item: T) {
        self.last_id += 1;
        self.waiting.insert(self.last_id, Waiting { item, deadline });
        self.deadlines.insert((deadline, self.last_id));
        let calls = self.users.entry(user.clone()).or_default();
        if calls.queued.is_empty() {
            self.round_robin.push_back(user);
        }
        calls.queued.push_back(self.last_id);
    }

    /// Removes the next item. With `needs_slot`, it is an item of the first user in turn that may
    /// have another slot, otherwise of the first user in turn.
    pub(super) fn pop(&mut self, needs_slot: bool) -> Option<T> {
        let mut position = 0;
        // Users at their share have calls in flight, so this skips at most as many as there are
        // slots.
        while let Some(user) =
            self.round_robin.get(position).filter(|_| !needs_slot || !self.is_full())
        {
            if needs_slot && !self.has_slot_for(user) {
                position += 1;
                continue;
            }
            let user = self.round_robin.remove(position)?;
            let Some(calls) = self.users.get_mut(&user) else { continue };
            // Skips ids that have expired.
            let next = std::iter::from_fn(|| calls.queued.pop_front())
                .find_map(|id| Some((id, self.waiting.remove(&id)?)));
            if !calls.queued.is_empty() {
                self.round_robin.push_back(user);
            } else if calls.in_flight == 0 {
                self.users.remove(&user);
            }
            if let Some((id, waiting)) = next {
                self.deadlines.remove(&(waiting.deadline, id));
                return Some(waiting.item);
            }
        }
        None
    }

    fn is_full(&self) -> bool {
        self.in_flight >= self.slots
    }

    /// Takes a slot for a call of this user.
    pub(super) fn acquire(&mut self, user: &User) {
        self.in_flight += 1;
        match self.users.get_mut(user) {
            Some(calls) => calls.in_flight += 1,
            None => {
                let calls = UserCalls { queued: VecDeque::new(), in_flight: 1 };
                self.users.insert(user.clone(), calls);
            }
        }
    }

    /// Frees the slot of a call of this user.
    pub(super) fn release(&mut self, user: &User) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if let Some(calls) = self.users.get_mut(user) {
            calls.in_flight = calls.in_flight.saturating_sub(1);
            if calls.in_flight == 0 && calls.queued.is_empty() {
                self.users.remove(user);
            }
        }
    }

    /// Whether a call of this user may start without waiting for another call to end.
    pub(super) fn has_slot_for(&self, user: &User) -> bool {
        let own = self.users.get(user).map_or(0, |calls| calls.in_flight);
        let others = self.in_flight.saturating_sub(own);
        own < fair_share(self.slots, others, 1)
    }

    /// Removes the items whose deadline has passed.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<T> {
        let mut expired = Vec::new();
        while let Some(&(deadline, id)) = self.deadlines.first()
            && deadline <= now
        {
            self.deadlines.pop_first();
            expired.extend(self.waiting.remove(&id).map(|waiting| waiting.item));
        }
        if self.waiting.is_empty() && !self.round_robin.is_empty() {
            for user in self.round_robin.drain(..) {
                let Entry::Occupied(mut calls) = self.users.entry(user) else { continue };
                calls.get_mut().queued.clear();
                if calls.get().in_flight == 0 {
                    calls.remove();
                }
            }
        }
        expired
    }

    /// When to call [`expire`](Self::expire) next.
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

    type Queue = FairQueue<(usize, usize)>;

    fn start_next(queue: &mut Queue) -> Option<(usize, usize)> {
        let next = queue.pop(true)?;
        queue.acquire(&user(next.0));
        Some(next)
    }

    /// Starts all calls that may start, as the transport does after each change.
    fn start_all(queue: &mut Queue) -> Vec<(usize, usize)> {
        std::iter::from_fn(|| start_next(queue)).collect()
    }

    fn full_of_a_hog(slots: usize) -> Queue {
        let mut queue = FairQueue::new(slots);
        for n in 0..200 {
            queue.push(user(0), start(), (0, n));
        }
        start_all(&mut queue);
        queue
    }

    #[test]
    fn promise_3_users_take_turns_whatever_their_number_of_calls() {
        let mut queue = FairQueue::new(1);
        let deadline = start();
        for n in 0..10_000 {
            queue.push(user(0), deadline, (0, n));
        }
        queue.push(user(1), deadline, (1, 0));
        queue.push(user(1), deadline, (1, 1));

        let first = std::iter::from_fn(|| queue.pop(true));

        assert_eq!(first.take(5).collect::<Vec<_>>(), [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2)]);
    }

    #[test]
    fn promise_3_user_with_hanging_calls_leaves_places_for_others() {
        let mut queue = full_of_a_hog(64);
        assert_eq!(queue.in_flight, 48, "one user holds three quarters");

        let mut delayed = 0;
        for n in 1..=1_000 {
            queue.push(user(n), start(), (n, 0));
            let next = start_all(&mut queue);
            delayed += usize::from(next != [(n, 0)]);
            next.iter().for_each(|(who, _)| queue.release(&user(*who)));
        }

        assert_eq!(delayed, 0);
        assert_eq!(queue.in_flight, 48);
    }

    #[test]
    fn user_at_its_share_gets_the_next_place_it_may_have() {
        let mut queue = full_of_a_hog(4);
        queue.push(user(1), start(), (1, 0));
        assert_eq!(start_all(&mut queue), [(1, 0)]);
        queue.push(user(2), start(), (2, 0));
        assert_eq!(start_all(&mut queue), []);

        queue.release(&user(0));

        assert_eq!(start_all(&mut queue), [(2, 0)], "the hog holds its share");
        queue.release(&user(1));
        queue.release(&user(2));
        assert_eq!(start_all(&mut queue), [(0, 3)]);
    }

    #[test]
    fn call_that_needs_no_place_waits_for_none() {
        let mut queue = full_of_a_hog(4);
        queue.push(user(1), start(), (1, 0));
        assert_eq!(start_all(&mut queue), [(1, 0)]);
        queue.push(user(1), start(), (1, 1));

        assert_eq!((queue.pop(true), queue.pop(false)), (None, Some((0, 3))));
        assert_eq!((queue.pop(false), queue.in_flight), (Some((1, 1)), 4));
    }

    #[test]
    fn expired_call_is_removed_once() {
        let mut queue = FairQueue::new(2);
        let now = start();
        let later = now + Duration::from_secs(1);
        queue.push(user(0), now, "early");
        queue.push(user(0), later, "late");

        assert_eq!(queue.next_deadline(), Some(now));
        assert_eq!(queue.expire(now), ["early"]);
        assert_eq!(queue.next_deadline(), Some(later));
        assert_eq!(queue.pop(true), Some("late"));
        assert_eq!((queue.pop(true), queue.next_deadline()), (None, None));
        assert!(queue.expire(later).is_empty());
        assert!(queue.users.is_empty());
    }

    proptest! {
        #[test]
        fn every_call_leaves_once_in_its_users_order_within_its_share(
            slots in 1..20usize,
            steps in proptest::collection::vec((0..4u8, 0..4usize, 0..50u64), 0..200),
        ) {
            let mut queue = FairQueue::new(slots);
            let start = start();
            let (mut pushed, mut popped, mut running) = (Vec::new(), Vec::new(), Vec::new());
            for (n, (step, who, at)) in steps.into_iter().enumerate() {
                let at = start + Duration::from_millis(at);
                match step {
                    0 => {
                        queue.push(user(who), at, (who, n));
                        pushed.push((who, n));
                    }
                    1 => {
                        let next = start_next(&mut queue);
                        popped.extend(next);
                        running.extend(next);
                    }
                    2 if !running.is_empty() => {
                        let (who, _) = running.swap_remove(n % running.len());
                        queue.release(&user(who));
                    }
                    _ => {
                        let mut expired = queue.expire(at);
                        expired.sort_unstable();
                        pushed.retain(|item| expired.binary_search(item).is_err());
                    }
                }
                prop_assert_eq!(queue.in_flight, running.len());
                prop_assert!(running.len() <= slots);
                let held = |who| running.iter().filter(|item| item.0 == who).count();
                for who in 0..4 {
                    let is_waiting = pushed.iter().any(|item| item.0 == who && !popped.contains(item));
                    let mut probe = None;
                    if is_waiting && queue.has_slot_for(&user(who)) {
                        probe = start_next(&mut queue);
                        prop_assert!(probe.is_some(), "a slot is free, and a user may have it");
                    }
                    if let Some(next) = probe {
                        popped.push(next);
                        running.push(next);
                        break;
                    }
                    prop_assert!(held(who) <= fair_share(slots, 0, 1));
                }
            }
            while let Some((who, _)) = running.pop() {
                queue.release(&user(who));
                let next = start_all(&mut queue);
                popped.extend(&next);
                running.extend(next);
            }
            popped.extend(std::iter::from_fn(|| queue.pop(true)));
            for who in 0..4 {
                let of = |list: &[(usize, usize)]| -> Vec<_> {
                    list.iter().filter(|item| item.0 == who).copied().collect()
                };
                prop_assert_eq!(of(&popped), of(&pushed));
            }
            prop_assert!(queue.users.is_empty() && queue.deadlines.is_empty());
            prop_assert!(queue.round_robin.is_empty() && queue.in_flight == 0);
        }
    }
}

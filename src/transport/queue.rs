//! Calls that wait for a place in flight: users take turns, and none of them holds more than its
//! share of the places. Pure.

use std::{
    collections::{BTreeSet, HashMap, VecDeque, hash_map::Entry},
    time::Instant,
};

use foldhash::fast::RandomState;

use crate::{message::share::fair_share, model::user::User};

/// First in first out for each user, and one after the other among the users, so that one with many
/// calls does not starve another.
///
/// A user at its [`share`] of the places keeps its turn, and others go first. It cannot be known who
/// comes next, nor can a place be taken away from a call that hangs: so a user never holds all of
/// them, be it the only one who asks.
#[derive(Debug)]
pub(super) struct FairQueue<T> {
    waiting: HashMap<u64, Waiting<T>, RandomState>,
    users: HashMap<User, Calls, RandomState>,
    /// Users with a line, the next one first.
    turns: VecDeque<User>,
    deadlines: BTreeSet<(Instant, u64)>,
    last: u64,
    places: usize,
    in_flight: usize,
}

#[derive(Debug)]
struct Waiting<T> {
    item: T,
    deadline: Instant,
}

/// A user's calls.
#[derive(Debug, Default)]
struct Calls {
    /// Those that wait, and some that did.
    line: VecDeque<u64>,
    in_flight: usize,
}

impl<T> FairQueue<T> {
    /// For so many calls in flight at once.
    pub(super) fn new(places: usize) -> Self {
        Self {
            waiting: HashMap::default(),
            users: HashMap::default(),
            turns: VecDeque::new(),
            deadlines: BTreeSet::new(),
            last: 0,
            places,
            in_flight: 0,
        }
    }

    pub(super) fn push(&mut self, user: User, deadline: Instant, item: T) {
        self.last += 1;
        self.waiting.insert(self.last, Waiting { item, deadline });
        self.deadlines.insert((deadline, self.last));
        let calls = self.users.entry(user.clone()).or_default();
        if calls.line.is_empty() {
            self.turns.push_back(user);
        }
        calls.line.push_back(self.last);
    }

    /// The next item of the first user in turn who may have another place, or of the first in turn
    /// where none is needed.
    pub(super) fn pop(&mut self, needs_place: bool) -> Option<T> {
        let mut at = 0;
        // Users at their share have calls in flight: there are never more of them than places.
        while let Some(user) = self.turns.get(at).filter(|_| !needs_place || !self.is_full()) {
            if needs_place && !self.may_start(user) {
                at += 1;
                continue;
            }
            let user = self.turns.remove(at)?;
            let Some(calls) = self.users.get_mut(&user) else { continue };
            // What has expired is no longer waiting, but still in its line.
            let next = std::iter::from_fn(|| calls.line.pop_front())
                .find_map(|id| Some((id, self.waiting.remove(&id)?)));
            if !calls.line.is_empty() {
                self.turns.push_back(user);
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
        self.in_flight >= self.places
    }

    /// A call of this user is in flight.
    pub(super) fn enter(&mut self, user: &User) {
        self.in_flight += 1;
        match self.users.get_mut(user) {
            Some(calls) => calls.in_flight += 1,
            None => {
                let calls = Calls { line: VecDeque::new(), in_flight: 1 };
                self.users.insert(user.clone(), calls);
            }
        }
    }

    /// A call of this user is not in flight any more.
    pub(super) fn leave(&mut self, user: &User) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if let Some(calls) = self.users.get_mut(user) {
            calls.in_flight = calls.in_flight.saturating_sub(1);
            if calls.in_flight == 0 && calls.line.is_empty() {
                self.users.remove(user);
            }
        }
    }

    /// Whether a call of this user would not have to wait for the end of another.
    pub(super) fn may_start(&self, user: &User) -> bool {
        let own = self.users.get(user).map_or(0, |calls| calls.in_flight);
        let others = self.in_flight.saturating_sub(own);
        own < fair_share(self.places, others, 1)
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
        if self.waiting.is_empty() && !self.turns.is_empty() {
            for user in self.turns.drain(..) {
                let Entry::Occupied(mut calls) = self.users.entry(user) else { continue };
                calls.get_mut().line.clear();
                if calls.get().in_flight == 0 {
                    calls.remove();
                }
            }
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

    type Queue = FairQueue<(usize, usize)>;

    fn start_next(queue: &mut Queue) -> Option<(usize, usize)> {
        let next = queue.pop(true)?;
        queue.enter(&user(next.0));
        Some(next)
    }

    /// As the transport does whenever something has changed.
    fn start_all(queue: &mut Queue) -> Vec<(usize, usize)> {
        std::iter::from_fn(|| start_next(queue)).collect()
    }

    fn full_of_a_hog(places: usize) -> Queue {
        let mut queue = FairQueue::new(places);
        for n in 0..200 {
            queue.push(user(0), start(), (0, n));
        }
        start_all(&mut queue);
        queue
    }

    #[test]
    fn promise_3_users_take_turns_however_many_calls_one_of_them_has() {
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
    fn promise_3_a_user_whose_calls_hang_leaves_places_for_whoever_comes_next() {
        let mut queue = full_of_a_hog(64);
        assert_eq!(queue.in_flight, 48, "of one user alone");

        let mut delayed = 0;
        for n in 1..=1_000 {
            queue.push(user(n), start(), (n, 0));
            let next = start_all(&mut queue);
            delayed += usize::from(next != [(n, 0)]);
            next.iter().for_each(|(who, _)| queue.leave(&user(*who)));
        }

        assert_eq!(delayed, 0);
        assert_eq!(queue.in_flight, 48);
    }

    #[test]
    fn a_user_at_its_share_has_the_next_place_that_it_may_have() {
        let mut queue = full_of_a_hog(4);
        queue.push(user(1), start(), (1, 0));
        assert_eq!(start_all(&mut queue), [(1, 0)]);
        queue.push(user(2), start(), (2, 0));
        assert_eq!(start_all(&mut queue), []);

        queue.leave(&user(0));

        assert_eq!(start_all(&mut queue), [(2, 0)], "the hog holds two of the two that are left");
        queue.leave(&user(1));
        queue.leave(&user(2));
        assert_eq!(start_all(&mut queue), [(0, 3)]);
    }

    #[test]
    fn what_needs_no_place_waits_for_none() {
        let mut queue = full_of_a_hog(4);
        queue.push(user(1), start(), (1, 0));
        assert_eq!(start_all(&mut queue), [(1, 0)]);
        queue.push(user(1), start(), (1, 1));

        assert_eq!((queue.pop(true), queue.pop(false)), (None, Some((0, 3))));
        assert_eq!((queue.pop(false), queue.in_flight), (Some((1, 1)), 4));
    }

    #[test]
    fn what_waits_until_its_deadline_is_taken_out_and_does_not_come_again() {
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
        fn everything_comes_out_once_and_in_order_for_each_user_as_soon_as_its_share_allows(
            places in 1..20usize,
            steps in proptest::collection::vec((0..4u8, 0..4usize, 0..50u64), 0..200),
        ) {
            let mut queue = FairQueue::new(places);
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
                        queue.leave(&user(who));
                    }
                    _ => {
                        let mut expired = queue.expire(at);
                        expired.sort_unstable();
                        pushed.retain(|item| expired.binary_search(item).is_err());
                    }
                }
                prop_assert_eq!(queue.in_flight, running.len());
                prop_assert!(running.len() <= places);
                let held = |who| running.iter().filter(|item| item.0 == who).count();
                for who in 0..4 {
                    let is_waiting = pushed.iter().any(|item| item.0 == who && !popped.contains(item));
                    let mut probe = None;
                    if is_waiting && queue.may_start(&user(who)) {
                        probe = start_next(&mut queue);
                        prop_assert!(probe.is_some(), "a place is free, and somebody may have it");
                    }
                    if let Some(next) = probe {
                        popped.push(next);
                        running.push(next);
                        break;
                    }
                    prop_assert!(held(who) <= fair_share(places, 0, 1));
                }
            }
            while let Some((who, _)) = running.pop() {
                queue.leave(&user(who));
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
            prop_assert!(queue.turns.is_empty() && queue.in_flight == 0);
        }
    }
}

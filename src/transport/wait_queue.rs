//! A queue of items that wait for an event, each until its own deadline. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    time::Instant,
};

/// Items in the order of their arrival, with their deadlines.
///
/// The queue is checked for each call, and thousands of items may wait. So a check that removes
/// nothing must cost almost nothing.
#[derive(Debug)]
pub(super) struct WaitQueue<T> {
    entries: BTreeMap<u64, Entry<T>>,
    deadlines: BTreeSet<(Instant, u64)>,
    last_id: u64,
}

#[derive(Debug)]
struct Entry<T> {
    since: Instant,
    deadline: Instant,
    item: T,
}

impl<T> Default for WaitQueue<T> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), deadlines: BTreeSet::new(), last_id: 0 }
    }
}

impl<T> WaitQueue<T> {
    pub(super) fn push(&mut self, since: Instant, deadline: Instant, item: T) {
        self.last_id += 1;
        self.entries.insert(self.last_id, Entry { since, deadline, item });
        self.deadlines.insert((deadline, self.last_id));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// When to call [`expire`](Self::expire) next.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Removes the items whose deadline has passed, in the order of their arrival.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<T> {
        let mut ids = Vec::new();
        while let Some(&(deadline, id)) = self.deadlines.first()
            && deadline <= now
        {
            self.deadlines.pop_first();
            ids.push(id);
        }
        ids.sort_unstable();
        ids.into_iter().filter_map(|id| Some(self.entries.remove(&id)?.item)).collect()
    }

    /// Removes the items that arrived at this moment or earlier, in the order of their arrival.
    pub(super) fn take_waiting_since(&mut self, moment: Instant) -> Vec<T> {
        let mut items = Vec::new();
        // Entries are in the order of arrival, so the first late one ends the search.
        while let Some(first) = self.entries.first_entry()
            && first.get().since <= moment
        {
            let (id, Entry { deadline, item, .. }) = first.remove_entry();
            self.deadlines.remove(&(deadline, id));
            items.push(item);
        }
        items
    }

    /// Removes all items, in the order of their arrival.
    pub(super) fn drain(&mut self) -> Vec<T> {
        self.deadlines.clear();
        mem::take(&mut self.entries).into_values().map(|entry| entry.item).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    #[allow(clippy::disallowed_methods)]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn items_are_taken_out_in_the_order_they_came() {
        let (mut queue, now) = (WaitQueue::default(), start());
        let after = |ms| now + Duration::from_millis(ms);
        queue.push(after(0), after(30), "a");
        queue.push(after(1), after(10), "b");
        queue.push(after(2), after(10), "c");
        queue.push(after(3), after(20), "d");

        assert_eq!(queue.next_deadline(), Some(after(10)));
        assert_eq!(queue.expire(after(9)), [""; 0]);
        assert_eq!(queue.expire(after(10)), ["b", "c"]);
        assert_eq!(queue.take_waiting_since(after(0)), ["a"]);
        assert_eq!((queue.drain(), queue.is_empty()), (vec!["d"], true));
    }

    #[test]
    fn looking_at_thousands_that_wait_on_costs_next_to_nothing() {
        const MANY: u32 = 20_000;
        let (mut queue, now) = (WaitQueue::default(), start());
        let later = now + Duration::from_secs(2);
        // Checks that touched every item would take 400 million steps.
        for n in 0..MANY {
            queue.push(now + Duration::from_micros(1), later, n);
            assert_eq!(queue.take_waiting_since(now), [0; 0]);
            assert_eq!(queue.expire(now), [0; 0]);
        }
        assert_eq!(queue.expire(later), (0..MANY).collect::<Vec<_>>());
    }

    proptest! {
        #[test]
        fn everything_comes_out_once(
            steps in proptest::collection::vec((0..4u8, 0..50u64, 0..50u64), 0..100),
        ) {
            let (mut queue, start) = (WaitQueue::default(), start());
            let after = |ms| start + Duration::from_millis(ms);
            let (mut pushed, mut taken) = (0, Vec::new());
            for (step, at, until) in steps {
                match step {
                    0 | 1 => {
                        queue.push(after(at), after(at + until), pushed);
                        pushed += 1;
                    }
                    2 => taken.extend(queue.expire(after(at))),
                    _ => taken.extend(queue.take_waiting_since(after(at))),
                }
            }
            taken.extend(queue.drain());
            taken.sort_unstable();
            prop_assert_eq!(taken, (0..pushed).collect::<Vec<_>>());
            prop_assert_eq!(queue.next_deadline(), None);
        }
    }
}

//! What waits for something that may happen sooner or later, or not in time. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    time::Instant,
};

/// Items in the order in which they came, and the deadlines until which they wait.
///
/// Looking for what is to be taken out costs nothing where there is nothing: it is done for each call
/// that comes, and there may be thousands that wait.
#[derive(Debug)]
pub(super) struct WaitQueue<T> {
    waiting: BTreeMap<u64, Entry<T>>,
    deadlines: BTreeSet<(Instant, u64)>,
    last: u64,
}

#[derive(Debug)]
struct Entry<T> {
    since: Instant,
    until: Instant,
    item: T,
}

impl<T> Default for WaitQueue<T> {
    fn default() -> Self {
        Self { waiting: BTreeMap::new(), deadlines: BTreeSet::new(), last: 0 }
    }
}

impl<T> WaitQueue<T> {
    pub(super) fn push(&mut self, since: Instant, until: Instant, item: T) {
        self.last += 1;
        self.waiting.insert(self.last, Entry { since, until, item });
        self.deadlines.insert((until, self.last));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// When `expire` has something to do next.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(until, _)| *until)
    }

    /// Takes out what has waited until its moment, as it came.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<T> {
        let mut ids = Vec::new();
        while let Some(&(until, id)) = self.deadlines.first()
            && until <= now
        {
            self.deadlines.pop_first();
            ids.push(id);
        }
        ids.sort_unstable();
        ids.into_iter().filter_map(|id| Some(self.waiting.remove(&id)?.item)).collect()
    }

    /// Takes out what has waited since this moment or longer, as it came.
    pub(super) fn take_waiting_since(&mut self, moment: Instant) -> Vec<T> {
        let mut taken = Vec::new();
        // What came later has not waited longer.
        while let Some(first) = self.waiting.first_entry()
            && first.get().since <= moment
        {
            let (id, Entry { until, item, .. }) = first.remove_entry();
            self.deadlines.remove(&(until, id));
            taken.push(item);
        }
        taken
    }

    /// Takes out everything, as it came.
    pub(super) fn drain(&mut self) -> Vec<T> {
        self.deadlines.clear();
        mem::take(&mut self.waiting).into_values().map(|entry| entry.item).collect()
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
        // Each look that touched every one of them would be 400 million steps.
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

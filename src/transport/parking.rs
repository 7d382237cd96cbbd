//! What waits for something that may happen sooner or later, or not in time. Pure.

use std::{collections::BTreeMap, mem, time::Instant};

/// Items in the order of the moments until which they wait.
#[derive(Debug)]
pub(super) struct Parking<T> {
    waiting: BTreeMap<(Instant, u64), Parked<T>>,
    last: u64,
}

#[derive(Debug)]
struct Parked<T> {
    since: Instant,
    item: T,
}

impl<T> Default for Parking<T> {
    fn default() -> Self {
        Self { waiting: BTreeMap::new(), last: 0 }
    }
}

impl<T> Parking<T> {
    pub(super) fn park(&mut self, since: Instant, until: Instant, item: T) {
        self.last += 1;
        self.waiting.insert((until, self.last), Parked { since, item });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// When `expire` has something to do next.
    pub(super) fn next(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|((until, _), _)| *until)
    }

    /// Takes out what has waited until its moment.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<T> {
        let later = self.waiting.split_off(&(now, u64::MAX));
        in_order(mem::replace(&mut self.waiting, later))
    }

    /// Takes out what has waited since this moment or longer.
    pub(super) fn take_since(&mut self, moment: Instant) -> Vec<T> {
        let waiting = mem::take(&mut self.waiting).into_iter();
        let (taken, kept) = waiting.partition(|(_, parked)| parked.since <= moment);
        self.waiting = kept;
        in_order(taken)
    }

    /// Takes out everything.
    pub(super) fn take_all(&mut self) -> Vec<T> {
        in_order(mem::take(&mut self.waiting))
    }
}

/// As it came.
fn in_order<T>(taken: BTreeMap<(Instant, u64), Parked<T>>) -> Vec<T> {
    let mut taken: Vec<_> = taken.into_iter().map(|((_, id), parked)| (id, parked.item)).collect();
    taken.sort_unstable_by_key(|(id, _)| *id);
    taken.into_iter().map(|(_, item)| item).collect()
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
        let (mut parking, now) = (Parking::default(), start());
        let after = |ms| now + Duration::from_millis(ms);
        parking.park(after(0), after(30), "a");
        parking.park(after(1), after(10), "b");
        parking.park(after(2), after(10), "c");
        parking.park(after(3), after(20), "d");

        assert_eq!(parking.next(), Some(after(10)));
        assert_eq!(parking.expire(after(9)), [""; 0]);
        assert_eq!(parking.expire(after(10)), ["b", "c"]);
        assert_eq!(parking.take_since(after(0)), ["a"]);
        assert_eq!((parking.take_all(), parking.is_empty()), (vec!["d"], true));
    }

    proptest! {
        #[test]
        fn everything_comes_out_once(
            steps in proptest::collection::vec((0..4u8, 0..50u64, 0..50u64), 0..100),
        ) {
            let (mut parking, start) = (Parking::default(), start());
            let after = |ms| start + Duration::from_millis(ms);
            let (mut parked, mut taken) = (0, Vec::new());
            for (step, at, until) in steps {
                match step {
                    0 | 1 => {
                        parking.park(after(at), after(at + until), parked);
                        parked += 1;
                    }
                    2 => taken.extend(parking.expire(after(at))),
                    _ => taken.extend(parking.take_since(after(at))),
                }
            }
            taken.extend(parking.take_all());
            taken.sort_unstable();
            prop_assert_eq!(taken, (0..parked).collect::<Vec<_>>());
            prop_assert_eq!(parking.next(), None);
        }
    }
}

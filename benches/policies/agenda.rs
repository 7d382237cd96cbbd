//! The events in virtual time.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
    time::Duration,
};

/// Events in the order of their times. Events at the same time keep the order in which they were
/// entered.
pub(crate) struct Agenda<T> {
    events: BinaryHeap<Reverse<Event<T>>>,
    entered: u64,
}

struct Event<T> {
    at: Duration,
    number: u64,
    what: T,
}

impl<T> Agenda<T> {
    pub(crate) fn new() -> Self {
        Self { events: BinaryHeap::new(), entered: 0 }
    }

    pub(crate) fn enter(&mut self, at: Duration, what: T) {
        self.entered += 1;
        self.events.push(Reverse(Event { at, number: self.entered, what }));
    }

    pub(crate) fn next(&mut self) -> Option<(Duration, T)> {
        self.events.pop().map(|Reverse(event)| (event.at, event.what))
    }
}

impl<T> Ord for Event<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl<T> PartialOrd for Event<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Event<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T> Eq for Event<T> {}

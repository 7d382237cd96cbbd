//! What requests hold of large answers while they wait for others of their names. Pure.

use std::{
    cell::{Cell, RefCell},
    cmp::Reverse,
    collections::HashMap,
    rc::{Rc, Weak},
};

use foldhash::fast::RandomState;

use super::{Answer, Buffer};
use crate::model::{error::Error, evaluation::Evaluation};

/// Counts the bytes of the large evaluations that are held, each once, however many requests have it.
#[derive(Debug)]
pub(super) struct Hold {
    books: Rc<Books>,
    limit: usize,
}

#[derive(Debug, Default)]
struct Books {
    taken: Cell<usize>,
    /// What is held, by where it lies: the cache gives the same evaluation to many requests.
    held: RefCell<HashMap<usize, Weak<Held>, RandomState>>,
}

/// An evaluation that is held, until the last request that has it ends.
#[derive(Debug)]
pub(super) struct Held {
    books: Rc<Books>,
    address: usize,
    bytes: usize,
}

/// What is not larger is within what a name counts as it is admitted.
const LARGE: usize = 256;

impl Hold {
    pub(super) fn new(limit: usize) -> Self {
        Self { books: Rc::default(), limit }
    }

    /// Counts it if it is large, and is not counted yet. It must live as long as what is returned.
    pub(super) fn take(&self, evaluation: &Evaluation) -> Option<Rc<Held>> {
        let bytes = evaluation.text_len();
        if bytes <= LARGE {
            return None;
        }
        let (books, address) = (&self.books, evaluation.address());
        let mut all = books.held.borrow_mut();
        if let Some(held) = all.get(&address).and_then(Weak::upgrade) {
            return Some(held);
        }
        books.taken.set(books.taken.get() + bytes);
        let held = Rc::new(Held { books: Rc::clone(books), address, bytes });
        all.insert(address, Rc::downgrade(&held));
        Some(held)
    }

    #[cfg(test)]
    pub(super) fn taken(&self) -> usize {
        self.books.taken.get()
    }

    fn is_over(&self) -> bool {
        self.books.taken.get() > self.limit
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Self { books, address, bytes } = self;
        books.taken.set(books.taken.get() - *bytes);
        books.held.borrow_mut().remove(address);
    }
}

impl Buffer {
    /// Ends the requests that hold most until what is held fits.
    pub(super) fn let_go(&mut self, answers: &mut Vec<Answer>) {
        if !self.hold.is_over() {
            return;
        }
        let held = self.requests.iter().filter_map(|(request, pending)| {
            let held = pending.held.as_ref()?;
            Some((Reverse(held.iter().map(|held| held.bytes).sum::<usize>()), request))
        });
        let mut held: Vec<_> = held.collect();
        held.sort_unstable();
        for (_, request) in held {
            if !self.hold.is_over() {
                return;
            }
            answers.extend(self.refuse(request, Error::OverloadedBytes { limit: self.hold.limit }));
        }
    }
}

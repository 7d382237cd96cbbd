//! What requests hold of large answers while they wait for others of their names. Pure.

use std::{cell::Cell, cmp::Reverse, rc::Rc};

use super::{Answer, Buffer};
use crate::{error::Error, evaluation::Evaluation};

/// Counts the bytes of the large evaluations that are held, each once, however many requests have it.
#[derive(Debug)]
pub(super) struct Hold {
    taken: Rc<Cell<usize>>,
    limit: usize,
}

/// An evaluation that is held, until the last request that has it ends.
#[derive(Debug)]
pub(super) struct Held {
    taken: Rc<Cell<usize>>,
    bytes: usize,
}

/// What is not larger is within what a name counts as it is admitted.
const LARGE: usize = 256;

impl Hold {
    pub(super) fn new(limit: usize) -> Self {
        Self { taken: Rc::default(), limit }
    }

    /// Counts it if it is large.
    pub(super) fn take(&self, evaluation: &Evaluation) -> Option<Rc<Held>> {
        let bytes = evaluation.text_len();
        (bytes > LARGE).then(|| {
            self.taken.set(self.taken.get() + bytes);
            Rc::new(Held { taken: Rc::clone(&self.taken), bytes })
        })
    }

    #[cfg(test)]
    pub(super) fn taken(&self) -> usize {
        self.taken.get()
    }

    fn is_over(&self) -> bool {
        self.taken.get() > self.limit
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.taken.set(self.taken.get() - self.bytes);
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

//! Limits the bytes of the large evaluations that partial results hold. Pure.
//!
//! A request for several names holds its evaluations until the last one arrives.

use std::{
    cell::{Cell, RefCell},
    cmp::Reverse,
    collections::HashMap,
    rc::{Rc, Weak},
};

use foldhash::fast::RandomState;

use super::{Answer, Buffer};
use crate::model::{error::Error, evaluation::Evaluation};

/// Counts each large evaluation once, however many requests hold it.
#[derive(Debug)]
pub(super) struct ByteBudget {
    charges: Rc<Charges>,
    limit: usize,
}

#[derive(Debug, Default)]
struct Charges {
    total: Cell<usize>,
    /// Keyed by the evaluation's address, because the cache gives the same evaluation to many
    /// requests.
    by_address: RefCell<HashMap<usize, Weak<ByteCharge>, RandomState>>,
}

/// The bytes of one evaluation, released when the last request that holds it ends.
#[derive(Debug)]
pub(super) struct ByteCharge {
    charges: Rc<Charges>,
    address: usize,
    bytes: usize,
}

/// Smaller evaluations are not charged: admission has counted them as part of their names.
const LARGE: usize = 256;

impl ByteBudget {
    pub(super) fn new(limit: usize) -> Self {
        Self { charges: Rc::default(), limit }
    }

    /// Charges the budget for a large evaluation, which must live as long as the charge. Returns
    /// the existing charge if another request holds the same evaluation.
    pub(super) fn charge(&self, evaluation: &Evaluation) -> Option<Rc<ByteCharge>> {
        let bytes = evaluation.text_len();
        if bytes <= LARGE {
            return None;
        }
        let (charges, address) = (&self.charges, evaluation.address());
        let mut by_address = charges.by_address.borrow_mut();
        if let Some(charge) = by_address.get(&address).and_then(Weak::upgrade) {
            return Some(charge);
        }
        charges.total.set(charges.total.get() + bytes);
        let charge = Rc::new(ByteCharge { charges: Rc::clone(charges), address, bytes });
        by_address.insert(address, Rc::downgrade(&charge));
        Some(charge)
    }

    #[cfg(test)]
    pub(super) fn total(&self) -> usize {
        self.charges.total.get()
    }

    fn is_exceeded(&self) -> bool {
        self.charges.total.get() > self.limit
    }
}

impl Drop for ByteCharge {
    fn drop(&mut self) {
        let Self { charges, address, bytes } = self;
        charges.total.set(charges.total.get() - *bytes);
        charges.by_address.borrow_mut().remove(address);
    }
}

impl Buffer {
    /// Fails the requests that hold the most bytes, until the rest fit the budget.
    pub(super) fn shed_largest(&mut self, answers: &mut Vec<Answer>) {
        if !self.byte_budget.is_exceeded() {
            return;
        }
        let holders = self.requests.iter().filter_map(|(request, pending)| {
            let charges = pending.charges.as_ref()?;
            Some((Reverse(charges.iter().map(|charge| charge.bytes).sum::<usize>()), request))
        });
        let mut holders: Vec<_> = holders.collect();
        holders.sort_unstable();
        for (_, request) in holders {
            if !self.byte_budget.is_exceeded() {
                return;
            }
            let error = Error::OverloadedBytes { limit: self.byte_budget.limit };
            answers.extend(self.refuse(request, error));
        }
    }
}

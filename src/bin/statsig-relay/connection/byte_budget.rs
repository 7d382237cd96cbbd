//! A budget of bytes that all connections share.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// The bytes that all connections may hold together, either of unanswered requests or of unread
/// answers.
#[derive(Clone, Debug)]
pub(crate) struct ByteBudget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    used: AtomicUsize,
    limit: usize,
}

/// One connection's share of the budget. Dropping it frees the bytes.
#[derive(Debug)]
pub(crate) struct BudgetShare {
    budget: ByteBudget,
    bytes: usize,
}

impl ByteBudget {
    pub(crate) fn new(limit: usize) -> Self {
        Self(Arc::new(Inner { used: AtomicUsize::new(0), limit }))
    }

    pub(crate) fn is_full(&self) -> bool {
        self.0.used.load(Relaxed) >= self.0.limit
    }

    pub(crate) fn share(&self) -> BudgetShare {
        BudgetShare { budget: self.clone(), bytes: 0 }
    }
}

impl BudgetShare {
    pub(crate) fn budget(&self) -> &ByteBudget {
        &self.budget
    }

    /// Sets the share's size. The bytes are in memory already, so this may exceed the budget. In
    /// that case no connection reads more.
    pub(crate) fn resize(&mut self, bytes: usize) {
        let used = &self.budget.0.used;
        if bytes > self.bytes {
            used.fetch_add(bytes - self.bytes, Relaxed);
        } else if bytes < self.bytes {
            used.fetch_sub(self.bytes - bytes, Relaxed);
        }
        self.bytes = bytes;
    }
}

impl Drop for BudgetShare {
    fn drop(&mut self) {
        self.resize(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_shared_and_given_back() {
        let budget = ByteBudget::new(10);
        let (mut one, mut other) = (budget.share(), budget.share());
        one.resize(4);
        other.resize(5);
        assert!(!budget.is_full());
        one.resize(5);
        assert!(budget.is_full());
        one.resize(2);
        assert!(!budget.is_full());
        other.resize(20);
        assert!(budget.is_full());
        drop(other);
        assert!(!budget.is_full());
        drop(one);
        assert_eq!(budget.0.used.load(Relaxed), 0);
    }
}

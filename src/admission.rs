//! How many names may be pending at once. A mailbox does not bound `Addr::send`, so admission is
//! counted here: by the handle before it sends, by the actor for what comes straight to its address.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use crate::error::Error;

/// Counts the names that are buffered, queued and in flight.
#[derive(Clone, Debug)]
pub(crate) struct Admission(Arc<Places>);

#[derive(Debug)]
struct Places {
    limit: usize,
    taken: AtomicUsize,
}

/// The places of one request's names; free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    places: Arc<Places>,
    names: usize,
}

impl Admission {
    pub(crate) fn new(limit: usize) -> Self {
        Self(Arc::new(Places { limit, taken: AtomicUsize::new(0) }))
    }

    pub(crate) fn admit(&self, names: usize) -> Result<Permit, Error> {
        let Places { limit, taken } = &*self.0;
        let more = |taken: usize| taken.checked_add(names).filter(|taken| taken <= limit);
        // The count says nothing about anything else in memory: no order is needed.
        let admitted = taken.fetch_update(Relaxed, Relaxed, more);
        admitted.map_err(|_| Error::Overloaded { limit: *limit })?;
        Ok(Permit { places: Arc::clone(&self.0), names })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.places.taken.fetch_sub(self.names, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_taken_up_to_the_limit_and_free_when_a_permit_is_dropped() {
        let admission = Admission::new(10);
        let first = admission.admit(7).unwrap();
        assert!(matches!(admission.admit(4), Err(Error::Overloaded { limit: 10 })));
        let _second = admission.admit(3).unwrap();
        assert!(admission.admit(1).is_err());

        drop(first);

        assert!(admission.admit(usize::MAX).is_err());
        assert!(admission.admit(7).is_ok());
    }
}

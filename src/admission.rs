//! How many names may be pending at once. A mailbox does not bound `Addr::send`, so admission is
//! counted here: by the handle before it sends, by the actor for what comes straight to its address.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::Error;

/// Counts the names that are buffered, queued and in flight.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    places: Arc<Semaphore>,
    limit: usize,
}

/// The places of one request's names; free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    _places: OwnedSemaphorePermit,
}

impl Admission {
    pub(crate) fn new(limit: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(limit)), limit }
    }

    pub(crate) fn admit(&self, names: usize) -> Result<Permit, Error> {
        let overloaded = || Error::Overloaded { limit: self.limit };
        let names = u32::try_from(names).map_err(|_| overloaded())?;
        let places = Arc::clone(&self.places).try_acquire_many_owned(names);
        Ok(Permit { _places: places.map_err(|_| overloaded())? })
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

        assert!(admission.admit(7).is_ok());
    }
}

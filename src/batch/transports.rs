//! The transports behind the `BatchActor`: which of them gets a call, and what if it is gone.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use actix::Recipient;

use crate::{
    error::Error,
    messages::{Call, Load},
};

/// Makes the transport of this index: called when one is needed, and again when it has gone.
pub(crate) type TransportFactory = Box<dyn FnMut(usize) -> Result<Recipient<Call>, Error>>;

pub(super) struct Transports {
    factory: TransportFactory,
    slots: Vec<Slot>,
}

#[derive(Default)]
struct Slot {
    transport: Option<Recipient<Call>>,
    /// Calls it has and has not answered.
    load: Load,
}

impl Transports {
    pub(super) fn new(factory: TransportFactory, count: usize) -> Self {
        Self { factory, slots: (0..count).map(|_| Slot::default()).collect() }
    }

    /// Sends the call to the transport that has the fewest. One that is not taken is dropped, and
    /// says so itself.
    pub(super) fn send(&mut self, call: Call) {
        let slots = self.slots.iter_mut().enumerate();
        let Some((index, slot)) = slots.min_by_key(|(_, slot)| slot.load.load(Relaxed)) else {
            return;
        };
        if !slot.transport.as_ref().is_some_and(Recipient::connected) {
            match (self.factory)(index) {
                Ok(transport) => slot.transport = Some(transport),
                Err(error) => return call.complete(Err(error)),
            }
        }
        if let Some(transport) = &slot.transport {
            transport.do_send(call.counted_by(Arc::clone(&slot.load)));
        }
    }
}

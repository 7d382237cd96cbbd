//! Chooses a transport for each call, and replaces a transport that is gone.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use actix::Recipient;
use smallvec::SmallVec;

use crate::{
    message::call::{Call, Load, TransportFactory},
    model::error::Error,
};

pub(super) struct Dispatcher {
    factory: TransportFactory,
    slots: Vec<Slot>,
}

#[derive(Default)]
struct Slot {
    transport: Option<Recipient<Call>>,
    /// Calls that the transport has not answered yet.
    load: Load,
}

impl Dispatcher {
    pub(super) fn new(factory: TransportFactory, count: usize) -> Self {
        Self { factory, slots: (0..count).map(|_| Slot::default()).collect() }
    }

    /// Sends the call to the transport with the least load. Tries the next transport if the factory
    /// fails to make that one. A call that the transport does not accept is dropped, and its drop
    /// reports it as lost.
    pub(super) fn dispatch(&mut self, call: Call) {
        let mut order: SmallVec<[usize; 4]> = (0..self.slots.len()).collect();
        order.sort_by_key(|index| self.slots[*index].load.load(Relaxed));
        let mut failure = Error::Internal { detail: "there is no transport" };
        for index in order {
            let slot = &mut self.slots[index];
            if !slot.transport.as_ref().is_some_and(Recipient::connected) {
                match (self.factory)(index) {
                    Ok(transport) => slot.transport = Some(transport),
                    Err(error) => {
                        failure = error;
                        continue;
                    }
                }
            }
            if let Some(transport) = &slot.transport {
                return transport.do_send(call.counted_by(Arc::clone(&slot.load)));
            }
        }
        call.complete(Err(failure));
    }
}

//! From many requests to few calls, and back.

mod actor;
mod buffer;
mod departure;
mod failing_user;
mod flushing;
mod handlers;
mod isolate;
mod keyed;
mod lane;
mod lanes;
mod leaving;
mod outcomes;
mod refused;
mod refused_key;
mod reply;
mod transports;
mod waits;

pub use actor::BatchActor;
pub(crate) use actor::Parts;
pub(crate) use transports::TransportFactory;
#[cfg(feature = "test-util")]
pub(crate) use {
    buffer::{Buffer, Dealt, Found, Request},
    lane::Lane,
};

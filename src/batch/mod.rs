//! From many requests to few calls, and back.

mod actor;
mod buffer;
mod reply;

pub use actor::BatchActor;
pub(crate) use actor::{Parts, TransportFactory};

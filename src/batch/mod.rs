//! From many requests to few calls, and back.

mod actor;
mod buffer;

pub use self::actor::BatchActor;
pub(crate) use self::actor::Parts;
#[cfg(feature = "test-util")]
pub(crate) use self::buffer::{Buffer, Effects, PartialResults, Request, group::BatchKey};

//! Turns many requests into few calls, and the outcomes of calls into answers.

mod actor;
mod buffer;

pub use self::actor::BatchActor;
#[cfg(feature = "test-util")]
pub(crate) use self::buffer::{Answer, Buffer, PartialResults, Request, group::BatchKey};

//! From calls to HTTP, and back.

mod actor;
mod connect;
mod distinct;
mod excerpt;
mod failure;
mod http;
mod queue;
mod retry;
pub(crate) mod tls;
mod wire;

pub(crate) use actor::TransportActor;
#[cfg(feature = "test-util")]
pub(crate) use wire::decode;

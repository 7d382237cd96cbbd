//! From calls to HTTP, and back.

mod actor;
mod connect;
mod excerpt;
mod failure;
mod http;
mod queue;
mod retry;
pub(crate) mod tls;
mod wire;

pub(crate) use actor::TransportActor;

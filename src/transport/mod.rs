//! From calls to HTTP, and back.

mod actor;
mod breaker;
mod budget;
mod connect;
mod excerpt;
mod failure;
mod health;
mod http;
mod queue;
mod retry;
pub(crate) mod tls;
mod upstream;
mod wire;

pub(crate) use actor::TransportActor;

//! From calls to HTTP, and back.

mod actor;
mod attempts;
mod body;
mod breaker;
mod budget;
mod connect;
mod excerpt;
mod factory;
mod failure;
mod foreign;
mod handlers;
mod health;
mod http;
mod job;
mod misnamed;
mod queue;
mod retry;
pub(crate) mod tls;
mod upstream;
mod wire;

pub(crate) use factory::factory;
#[cfg(feature = "test-util")]
pub(crate) use wire::decode;

//! From calls to HTTP, and back.

mod actor;
mod attempts;
mod breaker;
mod broken;
mod budget;
mod connect;
mod distinct;
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

#[cfg(feature = "test-util")]
pub(crate) use connect::frame;
pub(crate) use factory::factory;
#[cfg(feature = "test-util")]
pub(crate) use wire::decode;

//! From calls to HTTP, and back.

mod actor;
mod answer;
mod attempts;
mod body;
mod breaker;
mod broken;
mod budget;
mod calm;
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
mod parked;
mod parking;
mod queue;
mod retry;
pub(crate) mod tls;
mod unpack;
mod upstream;
mod wire;

pub(crate) use body::LongBodies;
#[cfg(feature = "test-util")]
pub(crate) use connect::frame;
pub(crate) use factory::factory;
#[cfg(feature = "test-util")]
pub(crate) use wire::decode;

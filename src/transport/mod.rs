//! Makes the HTTP calls: queueing, retries and the circuit breaker, and one attempt over HTTP.

mod actor;
mod http;
mod queue;
mod retry;
mod wait_queue;

#[cfg(feature = "test-util")]
pub(crate) use self::http::connect::frame;
#[cfg(feature = "test-util")]
pub(crate) use self::http::wire::decode;
pub(crate) use self::{actor::factory::factory, http::tls};

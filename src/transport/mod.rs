//! From calls to HTTP, and back.

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

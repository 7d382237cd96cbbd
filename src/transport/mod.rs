//! The HTTP transport, and the interface for a transport of your own.
//!
//! A transport is an actix actor that handles [`Call`]. It answers each call with
//! [`Call::complete`]: with one evaluation for each name, or with one error for all of them.
//! [`Statsig::builder`](crate::Statsig::builder) starts a component with such a transport in place
//! of HTTP, for example to script Statsig's answers in a test:
//!
//! ```
//! use actix::prelude::*;
//! use actix_statsig::{
//!     CallKind, Config, Error, GateEvaluation, Statsig, User,
//!     transport::{Call, Outcome},
//! };
//!
//! /// Opens each gate that has `beta` in its name.
//! struct Scripted;
//!
//! impl Actor for Scripted {
//!     type Context = Context<Self>;
//! }
//!
//! impl Handler<Call> for Scripted {
//!     type Result = ();
//!
//!     fn handle(&mut self, call: Call, _: &mut Context<Self>) {
//!         let request = call.request();
//!         let gate = |name: &std::sync::Arc<str>| {
//!             Some(GateEvaluation::new(name.clone(), name.contains("beta")).into())
//!         };
//!         let outcome: Outcome = match request.kind {
//!             CallKind::CheckGate => Ok(request.names.iter().map(gate).collect()),
//!             kind => Err(Error::refused(kind, 400, "only gates are scripted")),
//!         };
//!         call.complete(outcome);
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config::builder("any-key").build()?;
//! let statsig = Statsig::builder(config).transport(|| Ok(Scripted.start().recipient())).start()?;
//! # actix_rt::System::new().block_on(async move {
//! assert!(statsig.check_gate(&User::new("u-1")?, "beta_search").await?);
//! # Ok(())
//! # })
//! # }
//! ```

mod actor;
mod http;
mod queue;
mod retry;
mod wait_queue;

pub use crate::{
    message::call::{Call, CallRequest, Outcome},
    model::call_kind::CallKind,
};

#[cfg(feature = "test-util")]
pub(crate) use self::http::connect::frame;
#[cfg(feature = "test-util")]
pub(crate) use self::http::wire::decode;
pub(crate) use self::{actor::factory::factory, http::tls};

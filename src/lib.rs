//! A supervised actix component that asks Statsig for feature gates and dynamic configs in batches.
//!
//! [`Statsig`] starts it and asks; [`CheckGates`] and [`GetConfigs`] are the messages for those who
//! rather send to its [`BatchActor`]; [`Config`] has the settings, [`User`] whom a question is about,
//! [`Error`] what can go wrong. With the feature `test-util`, `test_util` has a server to test an
//! app against.
//!
//! ```
//! # #[cfg(feature = "test-util")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use actix_statsig::test_util::{LocalStatsig, Rules};
//! # let server = LocalStatsig::start(Rules::sample())?;
//! # let config = actix_statsig::Config::builder("secret-key").base_url(server.url()).build()?;
//! use actix_statsig::{CheckGates, Statsig, User};
//!
//! let statsig = Statsig::start(config)?;
//! let user = User::builder().user_id("u-1").country("NL").custom("plan", "pro").build()?;
//!
//! # actix_rt::System::new().block_on(async move {
//! // Through the handle:
//! if statsig.check_gate(&user, "new_checkout").await? {
//!     let homepage = statsig.get_config(&user, "homepage").await?;
//!     let theme: String = homepage.get_or("theme", "light".into());
//!     assert_eq!(theme, "dark");
//! }
//!
//! // As messages: one evaluation for each name, in the order asked.
//! let gates = statsig.addr().send(CheckGates::new(user, ["new_checkout", "beta"])).await??;
//! assert_eq!(gates[1].name(), "beta");
//! # Ok(())
//! # })
//! # }
//! # #[cfg(not(feature = "test-util"))]
//! # fn main() {}
//! ```
//!
//! # How it works
//!
//! Requests wait in the `BatchActor`'s buffer, grouped by user and exposure mode, each compared in
//! full. A group leaves when its distinct names reach [`batch_size`](Config::batch_size), and
//! everything leaves when [`flush_interval`](Config::flush_interval) has run since the first request
//! was buffered; with nothing buffered there is no timer. Under [`FlushPolicy::Adaptive`] a user who
//! has no call in flight does not wait at all. Gates leave as calls of up to 100 names, configs as a
//! call each, which is what the API takes. A name that is in flight already is joined,
//! not asked again; whoever joined a call that fails is asked for again, once, while there is time.
//!
//! What was answered is kept for [`cache_ttl`](Config::cache_ttl) in a map that every thread reads
//! and only the `BatchActor` writes: the same question is answered there and then, before there is
//! any message. Past that time an answer is still good for when Statsig fails.
//!
//! Calls go to a `TransportActor` of its own, as messages, or to the one of several
//! ([`transports`](Config::transports)) that has the fewest. Together they have
//! [`max_in_flight`](Config::max_in_flight) of them on the way and queue the rest, users taking
//! turns; they retry what time may mend, with backoff and full jitter; and they answer each call by
//! the deadline of the request that caused it. Outcomes come back as messages too, so that each
//! actor alone writes its state.
//!
//! Both actors run under supervisors, and catch panics at their edges: actix's `Supervisor` restarts
//! an actor that stops, but does not survive one that panics.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod admission;
mod batch;
mod cache;
mod clock;
mod component;
mod config;
mod error;
mod evaluation;
mod failpoint;
mod fallback;
mod hits;
mod hooks;
mod messages;
mod restarts;
mod shared;
mod stats;
mod statsig;
mod transport;
mod turns;
mod user;

#[cfg(feature = "test-util")]
pub mod test_util;
#[cfg(feature = "web")]
pub mod web;

pub use batch::BatchActor;
pub use config::{Config, ConfigBuilder, FlushPolicy};
pub use error::{ConnectFault, Error};
pub use evaluation::{ConfigEvaluation, Evaluation, GateEvaluation, Source};
pub use fallback::Fallback;
pub use messages::{
    Asking, Call, CallKind, CallRequest, CheckGates, Flush, GetConfigs, Outcome, Shutdown,
    ShutdownReport,
};
pub use stats::{BreakerState, Latency, Stats};
pub use statsig::{Name, Statsig};
pub use user::{Attribute, Tier, User, UserBuilder};

/// The README's examples are tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

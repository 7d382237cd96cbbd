//! A supervised actix component that asks Statsig for feature gates and dynamic configs in batches.
//!
//! [`Statsig`] starts it and asks; [`CheckGates`] and [`GetConfigs`] are the messages for those who
//! rather send to its [`BatchActor`]; [`Config`] has the settings, [`User`] whom a question is about,
//! [`Error`] what can go wrong.
//!
//! # A first check
//!
//! ```
//! # #[cfg(feature = "test-util")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use actix_statsig::test_util::{LocalStatsig, Rules};
//! # let server = LocalStatsig::start(Rules::sample())?;
//! # let config = actix_statsig::Config::builder("secret-key").base_url(server.url()).build()?;
//! use actix_statsig::{Statsig, User};
//!
//! // `Config::from_env()?` reads STATSIG_API_KEY and the other settings.
//! let statsig = Statsig::start(config)?; // one for the whole app; clones share it
//! let user = User::builder().user_id("u-1").country("NL").custom("plan", "pro").build()?;
//!
//! # actix_rt::System::new().block_on(async move {
//! if statsig.check_gate(&user, "new_checkout").await? {
//!     println!("the new checkout");
//! }
//! # Ok(())
//! # })
//! # }
//! # #[cfg(not(feature = "test-util"))]
//! # fn main() {}
//! ```
//!
//! Build the user once for each request of your app and pass it around: it is checked and serialised
//! then, and a clone shares it. [`Statsig::start`] puts the component on a thread of its own, to be
//! asked from any runtime; [`Statsig::start_here`] puts it on the current arbiter.
//!
//! # Several at once
//!
//! What is asked at the same time leaves together; ask for several in one go, not one after the
//! other:
//!
//! ```
//! # use actix_statsig::{CheckGates, Error, Statsig, User};
//! # async fn example(statsig: Statsig, user: User) -> Result<(), Box<dyn std::error::Error>> {
//! let open: Vec<bool> = statsig.check_gates(&user, ["new_checkout", "beta"]).await?;
//!
//! // The whole evaluations, as a message: one for each name, in the order asked.
//! let gates = statsig.addr().send(CheckGates::new(user, ["new_checkout", "beta"])).await??;
//! assert_eq!(gates[1].name(), "beta");
//! println!("{} because of {:?}", gates[1].value(), gates[1].rule_id());
//! # Ok(())
//! # }
//! ```
//!
//! # Configs
//!
//! Dynamic configs and experiments have values, read key by key or as a type of yours:
//!
//! ```
//! # use actix_statsig::{Error, Statsig, User};
//! # async fn example(statsig: Statsig, user: User) -> Result<(), Error> {
//! #[derive(serde::Deserialize)]
//! struct Homepage { theme: String, columns: u32 }
//!
//! let homepage = statsig.get_config(&user, "homepage").await?;
//! let theme: String = homepage.get_or("theme", "light".into());
//! let columns: u32 = homepage.get("columns")?; // an error that says what is there instead
//! let homepage: Homepage = homepage.deserialize()?;
//! # Ok(())
//! # }
//! ```
//!
//! # Errors and fallbacks
//!
//! Every request gets one answer: evaluations, or one [`Error`] that says what to mend and whether
//! time may mend it ([`Error::is_retryable`]; what is worth another attempt has had its attempts).
//! An error is never turned into `false` behind your back. Where a default is good enough, say so:
//!
//! ```
//! # use actix_statsig::{Config, Error, Statsig, User};
//! # async fn example(statsig: Statsig, user: User) -> Result<(), Error> {
//! let new = statsig.gate_or(&user, "new_checkout", false).await;
//! let columns = statsig.config_or(&user, "homepage", "columns", 2).await;
//! # Ok(())
//! # }
//! ```
//!
//! A fallback is logged, counted in [`Stats::fallbacks`] and told to a hook of yours
//! ([`ConfigBuilder::on_fallback`], [`ConfigBuilder::on_error`]). While Statsig fails, what was
//! answered within the last hour still answers, and says so: [`Source::Stale`].
//!
//! # In actix-web, in OpenFeature
//!
//! With the feature `web` the module `web` wires an `App`, which says once how a request becomes a
//! user: then `Flags` is an extractor with one consistent snapshot for each request, and
//! `RequireGate` keeps a scope for those whose gate is open. With the feature `open-feature` the
//! module `open_feature` has a provider for the OpenFeature SDK.
//!
//! # Testing your app
//!
//! With the feature `test-util`, `test_util::LocalStatsig` stands in for Statsig: it follows rules
//! that a test gives, refuses what the API document refuses, records what it was asked, and fails on
//! demand. Transports can be scripted as well ([`Statsig::start_here_with`]), for tests in virtual
//! time.
//!
//! # Before production
//!
//! - One component for the app, not one for each worker: callers share calls only within one.
//! - Keep `panic = "unwind"`: supervision rests on it.
//! - Choose what a failure means at each place: an error, a default, or a gate that closes.
//! - Know what is kept, and for how long: [`cache_ttl`](Config::cache_ttl) delays changes and
//!   answers without an exposure; [`stale_if_error`](Config::stale_if_error) outlasts outages.
//! - [`timeout`](Config::timeout) is the longest your page waits. Make it less than your own.
//! - Drain at the end: [`Statsig::shutdown`] after the server has stopped (`web::serve` does both).
//! - Watch it: [`Statsig::stats`], the feature `metrics`, or the page of `statsig-relay`.
//!
//! # Watching it
//!
//! [`Stats`] has the counts and latencies, [`Stats::is_ready`] whether Statsig answers. The feature
//! `metrics` publishes them through the facade of that name. Spans of `tracing`, all at DEBUG:
//!
//! | span | within | fields |
//! |---|---|---|
//! | `statsig.request` | the span in which its message was made | `operation`, `names`, `outcome` |
//! | `statsig.flush` | none; follows from the requests whose calls it makes | `calls` |
//! | `statsig.call` | the flush; follows from each request it is made for or that joined it | `operation`, `names`, `outcome` |
//! | `statsig.attempt` | the call | `operation`, `number`, `outcome` |
//!
//! `operation` is `check_gate` or `get_config`; `outcome` is `ok`, an [`Error::kind`], `abandoned` where
//! nobody waited for it any more, or `lost` where a transport lost a call; the rest are numbers. What is
//! pending when the runtime is stopped has no outcome. Each span is with the subscriber that has its
//! parent. An answer that the handle takes from the cache has no span, and costs none. In normal work
//! nothing is logged at INFO or above between start and shutdown; no key and no private attribute is
//! logged at any level.
//!
//! # Tuning
//!
//! The defaults suit most. [`FlushPolicy::Adaptive`] has a user who has no call in flight wait for
//! nothing; a longer [`flush_interval`](Config::flush_interval) makes fewer calls where a user's
//! checks come some milliseconds apart; several [`transports`](Config::transports) pay where HTTP
//! and TLS are more than one core's work. `docs/tuning.md` has figures for each.
//!
//! # How it works
//!
//! ```text
//! caller ──CheckGates──▶ BatchActor ──Call──▶ TransportActor ──POST──▶ Statsig
//!    ▲                     │ buffers by user      │ bounded in flight, users
//!    │                     │ and exposure mode    │ taking turns, retries,
//!    │                     │                      │ breaker, deadlines
//!    └──exactly one reply──┴──◀──────outcome──────┘
//! ```
//!
//! Requests wait in the `BatchActor`'s buffer, grouped by user and exposure mode, each compared in
//! full. A group leaves when its distinct names reach [`batch_size`](Config::batch_size), and
//! everything leaves when [`flush_interval`](Config::flush_interval) has run since the first request
//! was buffered; with nothing buffered there is no timer. Under [`FlushPolicy::Adaptive`] a user who
//! has no call in flight does not wait at all. Gates leave as calls of up to 100 names, configs as a
//! call each, which is what the API takes. A name that is in flight already is joined,
//! not asked again; whoever joined a call that fails is asked for again, once, while there is time.
//! A name that Statsig refused leaves alone for a while, so that it fails nobody else's.
//!
//! What was answered is kept for [`cache_ttl`](Config::cache_ttl) in a map that every thread reads
//! and only the `BatchActor` writes: the same question is answered there and then, before there is
//! any message. Past that time an answer is still good for when Statsig fails.
//!
//! Calls go to a `TransportActor` of its own, as messages, or to the one of several
//! ([`transports`](Config::transports)) that has the fewest. Together they have
//! [`max_in_flight`](Config::max_in_flight) of them on the way and queue the rest, users taking
//! turns, and none of them with more than its share; they retry what time may mend, with backoff and full jitter; and they answer each call by
//! the deadline of the request that caused it. Outcomes come back as messages too, so that each
//! actor alone writes its state.
//!
//! Both actors run under supervisors, and catch panics at their edges: actix's `Supervisor` restarts
//! an actor that stops, but does not survive one that panics.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod admission;
mod api_key;
mod batch;
mod cache;
mod call;
mod clock;
mod component;
mod config;
mod error;
mod evaluation;
mod failpoint;
mod fallback;
mod hits;
mod hooks;
mod json;
mod latency;
mod messages;
#[cfg(feature = "metrics")]
pub mod metrics;
mod name;
mod restarts;
mod share;
mod shared;
mod slept;
mod spans;
mod stats;
mod statsig;
mod transport;
mod turns;
mod user;

#[cfg(feature = "open-feature")]
pub mod open_feature;
#[cfg(feature = "test-util")]
pub mod test_util;
#[cfg(feature = "web")]
pub mod web;

pub use batch::BatchActor;
pub use call::{Call, CallKind, CallRequest, Outcome};
pub use config::{Config, ConfigBuilder, FlushPolicy};
pub use error::{ConnectFault, Error};
pub use evaluation::{ConfigEvaluation, Evaluation, GateEvaluation, Source};
pub use fallback::Fallback;
pub use latency::Latency;
pub use messages::{Asking, CheckGates, Flush, GetConfigs, Shutdown, ShutdownReport};
pub use stats::{BreakerState, Stats};
pub use statsig::{Name, Statsig};
pub use user::{Attribute, Tier, User, UserBuilder};

/// The README's examples are tests.
#[cfg(all(doctest, feature = "open-feature", feature = "test-util", feature = "web"))]
#[doc = include_str!("../README.md")]
struct Readme;

//! A supervised actix component that asks Statsig for feature gates and dynamic configs in batches.
//!
//! [`Statsig`] starts the component and sends it checks. [`CheckGates`] and [`GetConfigs`] are the
//! messages to its [`BatchActor`], if you prefer to send messages. [`Config`] holds the settings,
//! [`User`] describes the user of a check, [`Error`] says what went wrong.
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
//! once, and clones share the result. [`User::from_json_text`] reads a user from JSON and keeps numbers
//! of any length. [`Statsig::start`] runs the component on a thread of its own and takes requests from
//! any runtime; [`Statsig::start_in_current_arbiter`] runs it on the current arbiter.
//! [`Statsig::set_api_key`] changes the key while the component runs.
//!
//! # Several checks at once
//!
//! Names that are checked at the same time share a call. Check several names in one request, not
//! one after the other:
//!
//! ```
//! # use actix_statsig::{CheckGates, Error, Statsig, User};
//! # async fn example(statsig: Statsig, user: User) -> Result<(), Box<dyn std::error::Error>> {
//! let open: Vec<bool> = statsig.check_gates(&user, ["new_checkout", "beta"]).await?;
//!
//! // A message returns whole evaluations: one for each name, in order.
//! let gates = statsig.addr().send(CheckGates::new(user, ["new_checkout", "beta"])).await??;
//! assert_eq!(gates[1].name(), "beta");
//! println!("{} because of {:?}", gates[1].value(), gates[1].rule_id());
//! # Ok(())
//! # }
//! ```
//!
//! # Configs
//!
//! Dynamic configs and experiments have values. Read them key by key, as your own type, or as the JSON
//! text that Statsig wrote ([`ConfigEvaluation::json`]):
//!
//! ```
//! # use actix_statsig::{Error, Statsig, User};
//! # async fn example(statsig: Statsig, user: User) -> Result<(), Error> {
//! #[derive(serde::Deserialize)]
//! struct Homepage { theme: String, columns: u32 }
//!
//! let homepage = statsig.get_config(&user, "homepage").await?;
//! let theme: String = homepage.get_or("theme", "light".into());
//! let columns: u32 = homepage.get("columns")?; // an error says which type was found
//! let homepage: Homepage = homepage.deserialize()?;
//! # Ok(())
//! # }
//! ```
//!
//! # Errors and fallbacks
//!
//! Every request gets one answer: evaluations, or one [`Error`]. [`Error::is_retryable`] says whether
//! the same request may succeed later; failed calls have been retried already. [`Error::is_overload`] says
//! whether too many requests were pending. [`Error::Intermediary`] says that a proxy or firewall answered
//! in Statsig's place. [`Error::kind`] is an [`ErrorKind`], for statistics. An error never becomes `false`
//! silently. If a default is good enough, pass one:
//!
//! ```
//! # use actix_statsig::{Config, Error, Statsig, User};
//! # async fn example(statsig: Statsig, user: User) -> Result<(), Error> {
//! let new = statsig.check_gate_or(&user, "new_checkout", false).await;
//! let columns = statsig.get_config_or(&user, "homepage", "columns", 2).await;
//! # Ok(())
//! # }
//! ```
//!
//! Every fallback is logged, counted in [`Stats::fallbacks`] and reported to your hook
//! ([`ConfigBuilder::on_fallback`]); every error is reported to [`ConfigBuilder::on_error`]. While
//! Statsig fails, cached answers from the last hour are served, with [`Source::Stale`]. The
//! component logs one line when this begins and one when it ends.
//!
//! # actix-web and OpenFeature
//!
//! With the feature `web`, you define once how a request becomes a user. Then the extractor `Flags`
//! gives each request one consistent snapshot, `RequireGate` lets only users whose gate is open into
//! a scope, and `web::serve` shuts down gracefully. With the feature `open-feature`, the module
//! `open_feature` has a provider for the OpenFeature SDK.
//!
//! # Testing your app
//!
//! With the feature `test-util`, `test_util::LocalStatsig` replaces Statsig: it follows your test's
//! rules, refuses what the API document refuses, records its requests, and fails on demand. For tests in
//! virtual time, script the [`transport`].
//!
//! # Before production
//!
//! - Start one component for the app, not one for each worker: callers share calls only within one
//!   component.
//! - Keep `panic = "unwind"`: supervision needs it.
//! - Choose for each check what a failure means: an error, a default, or a closed gate.
//! - Choose how long answers are cached: [`cache_ttl`](Config::cache_ttl) delays changes, and a cached
//!   answer logs no exposure; [`stale_if_error`](Config::stale_if_error) bridges outages.
//!   [`cache_entries`](Config::cache_entries) and [`cache_bytes`](Config::cache_bytes) bound the cache.
//! - [`timeout`](Config::timeout) is the longest that your page waits. Set it below your server's
//!   limit.
//! - Calls use the HTTP proxy of the environment (`HTTPS_PROXY` and the like), unless
//!   [`proxy`](ConfigBuilder::proxy) says otherwise.
//! - Shut down gracefully: [`Statsig::shutdown`] after the server has stopped (`web::serve` does both).
//! - Monitor the component: [`Statsig::stats`], the feature `metrics`, or the page of `statsig-relay`.
//!
//! # Monitoring
//!
//! [`Stats`] has counts and latencies, and [`Stats::is_ready`] says whether Statsig answers. The
//! feature `metrics` publishes them through the `metrics` facade. The component has these `tracing`
//! spans, all at DEBUG:
//!
//! | span | within | fields |
//! |---|---|---|
//! | `statsig.request` | the span in which its message was made | `operation`, `names`, `outcome` |
//! | `statsig.flush` | none; follows from the requests whose calls it makes | `calls` |
//! | `statsig.call` | the flush; follows from each of its requests, including those that join it | `operation`, `names`, `outcome` |
//! | `statsig.attempt` | the call | `operation`, `number`, `outcome` |
//!
//! `operation` is `check_gate` or `get_config`. `outcome` is `ok`, an [`Error::kind`], `abandoned`
//! if all callers left, or `lost` if the transport lost the call. The other fields are numbers.
//! Work that is pending when the runtime is stopped has no outcome. Each span belongs to its
//! parent's subscriber. An answer from the cache has no span.
//!
//! Each call logs one event at DEBUG within its span: `a call was answered`, with each name's value and
//! rule id in `answers`, or `a call failed`, with the `names` and the `error`. To see events and spans
//! with `tracing-subscriber`, set `RUST_LOG=actix_statsig=debug`; `with_span_events(FmtSpan::CLOSE)` logs
//! the spans too.
//!
//! In normal operation nothing is logged at INFO or above between start and shutdown. The event of
//! a call does not include the user. No key and no private attribute is logged at any level; server
//! texts that may repeat one are withheld.
//!
//! # Tuning
//!
//! The defaults suit most apps. With [`FlushPolicy::Adaptive`], a user without a call in flight
//! does not wait. A longer [`flush_interval`](Config::flush_interval) makes fewer calls if a user's
//! checks arrive a few milliseconds apart. Several [`transports`](Config::transports) help if HTTP
//! and TLS take more than one core. `docs/tuning.md` has figures.
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
//! Requests wait in the `BatchActor`'s buffer, grouped by user (compared in full) and exposure
//! mode. A group is flushed when its distinct names reach [`batch_size`](Config::batch_size).
//! Everything is flushed when [`flush_interval`](Config::flush_interval) has passed since the first
//! request was buffered; an empty buffer has no timer. Under [`FlushPolicy::Adaptive`], a user
//! without a call in flight does not wait. A call asks for up to 100 gates or for one config, as
//! the API allows. A request for a name that is already in flight joins that call. If the call
//! fails because its deadline passed, requests that joined it later may still have time left: their
//! names are sent once more. A name that Statsig refused gets its own call for a while, so that it does not fail other names.
//!
//! Answers are cached for [`cache_ttl`](Config::cache_ttl), in a map that every thread reads and only the
//! `BatchActor` writes. A repeated check is answered from the cache, without a message. After that time an
//! answer is served only while Statsig fails.
//!
//! The `BatchActor` sends each call as a message to a `TransportActor`. If there are several
//! ([`transports`](Config::transports)), it picks the one with the fewest calls. Together they have [`max_in_flight`](Config::max_in_flight) calls in flight and queue the rest. Users take
//! turns, and no user gets more than its share. Transports retry with backoff and full jitter, and
//! answer each call by the deadline of the request that caused it. While the circuit breaker is
//! open, or until a `Retry-After` has passed, calls wait. Outcomes come back as messages, so each
//! actor alone writes its state.
//!
//! Both actors run under supervisors and catch panics at their edges: actix's `Supervisor` restarts an
//! actor that stops, but does not survive a panic.
//!
//! # Types of other crates
//!
//! Public signatures use types of `actix`, `serde_json` and `tracing`; of `actix-web` with the
//! feature `web`; and of `open-feature` with the feature of that name. They use no types of `awc`
//! or `rustls`.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod batch;
mod config;
mod handle;
mod message;
mod model;
#[cfg(feature = "open-feature")]
pub mod open_feature;
mod rt;
mod shared;
mod telemetry;
#[cfg(feature = "test-util")]
pub mod test_util;
pub mod transport;
#[cfg(feature = "web")]
pub mod web;

#[cfg(feature = "metrics")]
pub use crate::telemetry::metrics;
pub use crate::{
    batch::BatchActor,
    config::{Config, ConfigBuilder, FlushPolicy},
    handle::{Http, Name, Statsig, StatsigBuilder},
    message::{CheckGates, Flush, GetConfigs, Shutdown, ShutdownReport},
    model::{
        call_kind::CallKind,
        error::{ConnectFault, Error, ErrorKind},
        evaluation::{ConfigEvaluation, Evaluation, GateEvaluation, Source},
        user::{Attribute, Tier, User, UserBuilder},
    },
    telemetry::{
        fallback::Fallback,
        latency::Latency,
        stats::{BreakerState, Stats},
    },
};

#[doc(hidden)]
pub use crate::message::BatchRequest;

/// The README's examples are tests.
#[cfg(all(doctest, feature = "open-feature", feature = "test-util", feature = "web"))]
#[doc = include_str!("../README.md")]
struct Readme;

//! actix-web integration: an extractor, a middleware and a graceful shutdown.
//!
//! [`FlagsConfig`] tells an `App` which component to ask, and how a request becomes a
//! [`User`](crate::User). [`RequestUser`] fills in the fields that every request has: ip, user
//! agent and locale. Handlers then take [`Flags`] as an argument, [`RequireGate`] guards a part of
//! the app, and [`serve()`] runs the server and shuts it down gracefully.
//!
//! ```no_run
//! use actix_statsig::web::{Flags, FlagsConfig, RequestUser, RequireGate, serve};
//! use actix_statsig::{Config, Statsig};
//! use actix_web::{App, HttpRequest, HttpServer, Result, error::ErrorUnauthorized, get, web};
//! use std::time::Duration;
//!
//! #[get("/checkout")]
//! async fn checkout(flags: Flags) -> Result<&'static str> {
//!     Ok(if flags.check_gate("new_checkout").await? { "the new checkout" } else { "the old checkout" })
//! }
//!
//! #[actix_web::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let statsig = Statsig::start(Config::from_env()?)?;
//!     let flags = FlagsConfig::new(statsig.clone(), |request: &HttpRequest| {
//!         let id = request.cookie("id").ok_or_else(|| ErrorUnauthorized("log in first"))?;
//!         Ok::<_, actix_web::Error>(RequestUser::new().user(request).user_id(id.value()).build()?)
//!     });
//!     let app = move || {
//!         let beta = web::scope("/beta").wrap(RequireGate::new("beta"));
//!         App::new().app_data(flags.clone()).service(checkout).service(beta)
//!     };
//!     let server = HttpServer::new(app).bind(("127.0.0.1", 8080))?;
//!     serve(server, &statsig, Duration::from_secs(30)).await?;
//!     Ok(())
//! }
//! ```
//!
//! A request has one snapshot of its flags. A name that any middleware, extractor or handler has asked
//! for keeps its answer until the request ends, even if the cache changes meanwhile. Each name in a call
//! to Statsig is an exposure, so only names that the app asks for are sent.
//!
//! # Statuses
//!
//! An error from a handler's `?`, from [`RequireGate`] or from `identify` becomes a response with
//! one of these statuses. The body names only the status.
//!
//! | status | when | in the log |
//! |---|---|---|
//! | 400 | [`InvalidUser`]: `identify` built a user that Statsig would refuse, for example with an empty id | WARN with the field, at most once a second |
//! | 500 | no [`FlagsConfig`] is set, or `identify` extracts [`Flags`] | ERROR for each request, with what to do |
//! | 500 | [`InvalidName`]: the app asked for a name that Statsig does not allow, see [`Name`](crate::Name) | ERROR with the name and the rule, at most once a second |
//! | 500 | [`MissingKey`] or [`WrongType`]: a config's value does not have the key or type that the handler reads | nothing |
//! | 500 | [`Internal`]: the component's own code failed | ERROR for each restart |
//! | 502 | [`Unauthorized`]: Statsig refused the API key, the likeliest first error in production | WARN when calls begin to fail; ERROR once Statsig has refused the key for 10 seconds |
//! | 502 | [`Connect`] with a [TLS fault](crate::ConnectFault::is_tls), or [`InvalidResponse`], and no stale answer | WARN when calls begin to fail |
//! | 502 | [`Refused`] or [`MissingName`]: Statsig refused the call or left the name out | nothing |
//! | 503 | Statsig or the network fails, and no stale answer: [`Timeout`], [`AttemptTimeout`], [`CircuitOpen`], [`Intermediary`], [`Unavailable`], or [`Connect`] with any other fault | WARN when calls begin to fail |
//! | 503 | too much is pending ([`Error::is_overload`]) | nothing |
//! | 503 | the component is shutting down or has ended: [`ShuttingDown`], [`Closed`] | INFO when a shutdown begins |
//!
//! "No stale answer" means that the cache has no evaluation of this user and name, or only one that
//! is older than [`stale_if_error`](crate::Config::stale_if_error) allows. Other visitors get the
//! stale evaluation and do not notice the outage. [`Stats::errors`](crate::Stats::errors) and
//! [`on_error`](crate::ConfigBuilder::on_error) also include errors that are not logged, except
//! [`InvalidUser`], [`MissingKey`] and [`WrongType`], which your own calls return.
//!
//! Startup errors ([`InvalidConfig`], [`NoArbiter`], [`Start`]) would be 500, but no request gets
//! them.
//!
//! Two statuses do not come from the component. If `identify` returns an error of your own, that
//! error has its own status, such as 401. A closed gate answers 404 or [your own
//! response](RequireGate::when_closed).
//!
//! [`Error::is_overload`]: crate::Error::is_overload
//! [`InvalidUser`]: crate::Error::InvalidUser
//! [`InvalidName`]: crate::Error::InvalidName
//! [`MissingKey`]: crate::Error::MissingKey
//! [`WrongType`]: crate::Error::WrongType
//! [`InvalidConfig`]: crate::Error::InvalidConfig
//! [`NoArbiter`]: crate::Error::NoArbiter
//! [`Start`]: crate::Error::Start
//! [`Internal`]: crate::Error::Internal
//! [`Unauthorized`]: crate::Error::Unauthorized
//! [`Connect`]: crate::Error::Connect
//! [`InvalidResponse`]: crate::Error::InvalidResponse
//! [`Refused`]: crate::Error::Refused
//! [`MissingName`]: crate::Error::MissingName
//! [`Timeout`]: crate::Error::Timeout
//! [`AttemptTimeout`]: crate::Error::AttemptTimeout
//! [`CircuitOpen`]: crate::Error::CircuitOpen
//! [`Intermediary`]: crate::Error::Intermediary
//! [`Unavailable`]: crate::Error::Unavailable
//! [`ShuttingDown`]: crate::Error::ShuttingDown
//! [`Closed`]: crate::Error::Closed

mod config;
mod errors;
mod flags;
mod forwarded;
mod memo;
mod request_snapshot;
mod request_user;
mod require_gate;
mod serve;
mod shutdown;
mod signals;
mod snapshot;

pub use self::config::FlagsConfig;
pub use self::errors::IdentifyError;
pub use self::flags::Flags;
pub use self::request_user::RequestUser;
pub use self::require_gate::{RequireGate, RequireGateService};
pub use self::serve::{GracefulShutdown, serve, serve_builder, serve_until};

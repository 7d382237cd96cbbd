//! At home in actix-web.
//!
//! [`FlagsConfig`] wires an `App` in one line: it is told once how
//! a request becomes a [`User`](crate::User), for which [`RequestUser`] has what every request brings.
//! Handlers then take [`Flags`] for an argument, [`RequireGate`] closes a part of the app, and
//! [`serve()`] runs the server and lets it leave well.
//!
//! ```no_run
//! use actix_statsig::{Config, Statsig, web::{self, Flags, FlagsConfig, RequireGate, RequestUser}};
//! use actix_web::{App, HttpRequest, HttpServer, Result, error::ErrorUnauthorized, get};
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
//!     let visitor = RequestUser::new();
//!     let flags = FlagsConfig::new(statsig.clone(), move |request: &HttpRequest| {
//!         let id = request.cookie("id").ok_or_else(|| ErrorUnauthorized("who are you?"))?;
//!         Ok::<_, actix_web::Error>(visitor.user(request).user_id(id.value()).build()?)
//!     });
//!     let app = move || {
//!         let beta = actix_web::web::scope("/beta").wrap(RequireGate::new("beta"));
//!         App::new().app_data(flags.clone()).service(checkout).service(beta)
//!     };
//!     let server = HttpServer::new(app).bind(("127.0.0.1", 8080))?;
//!     web::serve(server, &statsig, Duration::from_secs(30)).await?;
//!     Ok(())
//! }
//! ```
//!
//! A request has one snapshot of its flags: what it has asked once, in whatever middleware, extractor
//! or handler, has that answer until the request ends, though the cache turns over in the meantime.
//! Each name in a call to Statsig is an exposure, and nothing is asked that the app did not ask for.

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

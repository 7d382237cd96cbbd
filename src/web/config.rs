//! The configuration of `Flags`: the component to ask, and how a request becomes a user.

use std::{fmt, sync::Arc};

use actix_web::HttpRequest;
use futures_util::future::{FutureExt, LocalBoxFuture, ready};

use super::errors::handler;
use crate::{
    handle::Statsig,
    model::{call_kind::CallKind, error::Error, text::beginning, user::User},
    rt::clock,
    telemetry::fallback::LogThrottle,
};

/// Configures [`Flags`](crate::web::Flags) and [`RequireGate`](crate::web::RequireGate): the
/// component to ask, and how a request becomes a [`User`].
///
/// Pass it to `app_data` of an `App`, a scope or a resource, like the configuration of actix's own
/// extractors. The configuration nearest to the handler applies. Clones are cheap.
///
/// Without a `FlagsConfig`, a request that needs flags is answered with 500, and the log shows the
/// missing line at level ERROR.
///
/// # How `identify` is called
///
/// `identify` runs once for each request, when the first extractor or middleware needs the user.
/// The result applies to the whole request. Everything that `identify` reads must be available by
/// then:
///
/// - Wrap the session middleware last, below the middlewares that use flags: actix runs the
///   last-wrapped middleware first.
/// - A middleware of the `App` runs before routing, so the request has no path parameters yet.
///
/// `identify` must not extract `Flags`, because `Flags` needs the user that `identify` builds. If
/// it does, the extraction fails, the request is answered with 500, and the log says at level ERROR
/// what to do instead.
///
/// An error of `identify` becomes the response, wrapped in
/// [`IdentifyError`](crate::web::IdentifyError).
///
/// A user needs an id. If your visitors are anonymous, give each an id of your own, and keep the id in
/// a cookie or a session. [`RequestUser`](crate::web::RequestUser) adds ip, user agent and locale.
///
/// ```
/// # use actix_statsig::{Statsig, web::{FlagsConfig, RequestUser}};
/// # use actix_web::{App, HttpRequest, HttpServer, error::ErrorUnauthorized};
/// # fn main() {}
/// # fn run(statsig: Statsig) {
/// let flags = FlagsConfig::new(statsig.clone(), |request: &HttpRequest| {
///     let id = request.cookie("id").ok_or_else(|| ErrorUnauthorized("log in first"))?;
///     Ok::<_, actix_web::Error>(RequestUser::new().user(request).user_id(id.value()).build()?)
/// });
/// let server = HttpServer::new(move || App::new().app_data(flags.clone()));
/// # }
/// ```
#[derive(Clone)]
pub struct FlagsConfig(Arc<Inner>);

struct Inner {
    statsig: Statsig,
    identify: Identify,
    invalid_names: LogThrottle,
    invalid_users: LogThrottle,
}

type Identify = Box<dyn Fn(&HttpRequest) -> IdentifyFuture<'_> + Send + Sync>;

type IdentifyFuture<'a> = LocalBoxFuture<'a, Result<User, actix_web::Error>>;

impl FlagsConfig {
    /// Returns a configuration whose `identify` is a plain function or closure.
    pub fn new<F, E>(statsig: Statsig, identify: F) -> Self
    where
        F: Fn(&HttpRequest) -> Result<User, E> + Send + Sync + 'static,
        E: Into<actix_web::Error>,
    {
        Self::boxed(statsig, move |request| {
            ready(identify(request).map_err(Into::into)).boxed_local()
        })
    }

    /// Returns a configuration whose `identify` is an async function or closure, for example one
    /// that looks up a session.
    ///
    /// ```
    /// # use actix_statsig::{Statsig, User, web::FlagsConfig};
    /// # use actix_web::{App, HttpRequest, error::ErrorInternalServerError};
    /// # async fn account_of(request: &HttpRequest) -> Result<String, std::io::Error> { Ok(format!("{:?}", request.path())) }
    /// async fn identify(request: &HttpRequest) -> actix_web::Result<User> {
    ///     let account = account_of(request).await.map_err(ErrorInternalServerError)?;
    ///     Ok(User::new(account)?)
    /// }
    /// # fn run(statsig: Statsig) {
    /// let app = App::new().app_data(FlagsConfig::new_async(statsig, identify));
    /// # }
    /// ```
    pub fn new_async<F, E>(statsig: Statsig, identify: F) -> Self
    where
        F: AsyncFn(&HttpRequest) -> Result<User, E> + Send + Sync + 'static,
        E: Into<actix_web::Error>,
    {
        let identify = Arc::new(identify);
        Self::boxed(statsig, move |request| {
            let identify = Arc::clone(&identify);
            async move { identify(request).await.map_err(Into::into) }.boxed_local()
        })
    }

    fn boxed<F>(statsig: Statsig, identify: F) -> Self
    where
        F: Fn(&HttpRequest) -> IdentifyFuture<'_> + Send + Sync + 'static,
    {
        Self(Arc::new(Inner {
            statsig,
            identify: Box::new(identify),
            invalid_names: LogThrottle::default(),
            invalid_users: LogThrottle::default(),
        }))
    }

    /// Returns the configuration nearest to the request's handler.
    pub(super) fn of(request: &HttpRequest) -> Option<&Self> {
        request.app_data()
    }

    pub(super) fn statsig(&self) -> &Statsig {
        &self.0.statsig
    }

    pub(super) fn identify<'a>(&self, request: &'a HttpRequest) -> IdentifyFuture<'a> {
        (self.0.identify)(request)
    }

    /// Logs a name that breaks the API's rule: at most once a second at ERROR, with the number of
    /// such names since the last line, and otherwise at DEBUG.
    pub(super) fn log_invalid_name(&self, kind: CallKind, error: &Error) {
        const TEXT: &str = "invalid gate or config name, not sent to Statsig: correct the name";
        let operation = kind.operation();
        match self.0.invalid_names.note(clock::now()) {
            Some(requests) => tracing::error!(requests, operation, %error, "{TEXT}"),
            None => tracing::debug!(operation, %error, "{TEXT}"),
        }
    }

    /// Logs a user that breaks one of the API's rules, as often as an invalid name, but at WARN,
    /// because a client may have caused it. The error names the field, but does not show its value.
    pub(super) fn log_invalid_user(&self, request: &HttpRequest, error: &Error) {
        const TEXT: &str = "`identify` built an invalid user, and the request is answered with 400";
        let handler = handler(request);
        // A text field, which subscribers escape: the user's field may be a custom attribute with
        // any name.
        let error = error.to_string();
        let error = beginning(&error, 200);
        match self.0.invalid_users.note(clock::now()) {
            Some(requests) => tracing::warn!(requests, handler, error, "{TEXT}"),
            None => tracing::debug!(handler, error, "{TEXT}"),
        }
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for FlagsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlagsConfig").field("statsig", self.statsig()).finish_non_exhaustive()
    }
}

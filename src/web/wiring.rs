//! What an `App` is told once: whom to ask, and how a request becomes a user.

use std::{fmt, rc::Rc, sync::Arc};

use actix_web::{
    HttpMessage, HttpRequest, HttpResponse, ResponseError, http::StatusCode, web::ServiceConfig,
};
use futures_util::future::{FutureExt, LocalBoxFuture, ready};
use tokio::sync::OnceCell;

use super::{errors::NotConfigured, snapshot::Snapshot};
use crate::{statsig::Statsig, user::User};

impl Statsig {
    /// Wires an `App`, or a part of one, so that [`Flags`](crate::web::Flags) and
    /// [`RequireGate`](crate::web::RequireGate) work in it: for
    /// [`App::configure`](actix_web::App::configure) and the like.
    ///
    /// `identify` says whose request it is. It is called when the first of these needs to know, and
    /// once for a request. Its error is the request's answer, as the app's own errors are. A user
    /// needs an id, so a visitor who has not logged in needs one from the app, in a cookie or a
    /// session; see [`Visitor`](crate::web::Visitor) for the rest.
    ///
    /// Where an `App` and a scope in it are wired apart, what is nearer to the handler counts.
    ///
    /// ```
    /// # use actix_statsig::{Statsig, web::Visitor};
    /// # use actix_web::{App, HttpRequest, HttpServer, error::ErrorUnauthorized};
    /// # fn main() {}
    /// # fn run(statsig: Statsig) {
    /// let visitor = Visitor::new();
    /// let flags = statsig.configure(move |request: &HttpRequest| {
    ///     let id = request.cookie("id").ok_or_else(|| ErrorUnauthorized("who are you?"))?;
    ///     Ok::<_, actix_web::Error>(visitor.user(request).user_id(id.value()).build()?)
    /// });
    /// let server = HttpServer::new(move || App::new().configure(&flags));
    /// # }
    /// ```
    pub fn configure<F, E>(
        &self,
        identify: F,
    ) -> impl Fn(&mut ServiceConfig) + Clone + Send + Sync + use<F, E>
    where
        F: Fn(&HttpRequest) -> Result<User, E> + Send + Sync + 'static,
        E: Into<actix_web::Error>,
    {
        self.wire(boxed(move |request| ready(identify(request).map_err(Into::into)).boxed_local()))
    }

    /// The same as [`configure`](Self::configure) where it takes a while to find out whose request it
    /// is: an async function or closure.
    ///
    /// ```
    /// # use actix_statsig::{Statsig, User};
    /// # use actix_web::{App, HttpRequest, error::ErrorInternalServerError};
    /// # async fn account_of(request: &HttpRequest) -> Result<String, std::io::Error> { todo!() }
    /// async fn identify(request: &HttpRequest) -> actix_web::Result<User> {
    ///     let account = account_of(request).await.map_err(ErrorInternalServerError)?;
    ///     Ok(User::new(account)?)
    /// }
    /// # fn run(statsig: Statsig) {
    /// let app = App::new().configure(statsig.configure_async(identify));
    /// # }
    /// ```
    pub fn configure_async<F, E>(
        &self,
        identify: F,
    ) -> impl Fn(&mut ServiceConfig) + Clone + Send + Sync + use<F, E>
    where
        F: AsyncFn(&HttpRequest) -> Result<User, E> + Send + Sync + 'static,
        E: Into<actix_web::Error>,
    {
        let identify = Arc::new(identify);
        self.wire(boxed(move |request| {
            let identify = Arc::clone(&identify);
            async move { identify(request).await.map_err(Into::into) }.boxed_local()
        }))
    }

    fn wire(
        &self,
        identify: Identify,
    ) -> impl Fn(&mut ServiceConfig) + Clone + Send + Sync + use<> {
        let wiring = Arc::new(Wiring { statsig: Arc::new(self.clone()), identify });
        move |app: &mut ServiceConfig| {
            app.app_data(Arc::clone(&wiring));
        }
    }
}

/// An `App` has it among its data.
struct Wiring {
    statsig: Arc<Statsig>,
    identify: Identify,
}

type Identify = Box<dyn Fn(&HttpRequest) -> Identified<'_> + Send + Sync>;

type Identified<'a> = LocalBoxFuture<'a, Result<User, actix_web::Error>>;

/// Tells the compiler that the request is borrowed for as long as the user takes.
fn boxed<F>(identify: F) -> Identify
where
    F: Fn(&HttpRequest) -> Identified<'_> + Send + Sync + 'static,
{
    Box::new(identify)
}

/// The request's snapshot, which is made with its first use.
pub(super) async fn snapshot(request: &HttpRequest) -> Result<Rc<Snapshot>, actix_web::Error> {
    let wiring = request.app_data::<Arc<Wiring>>().ok_or_else(|| NotConfigured::log(request))?;
    let visit = Visits::visit(request, wiring);
    let made = visit.get_or_init(|| async {
        let user =
            (wiring.identify)(request).await.map_err(|error| Unidentified(Rc::new(error)))?;
        Ok(Rc::new(Snapshot::new(Arc::clone(&wiring.statsig), user)))
    });
    Ok(made.await.clone()?)
}

/// A request's snapshot, or why there is none. Not a future that everybody polls: that would hold
/// the request which holds it, and both would stay when the client leaves in the meantime.
type Visit = Rc<OnceCell<Result<Rc<Snapshot>, Unidentified>>>;

/// One for each wiring that the request came by, among the request's extensions.
#[derive(Default)]
struct Visits(Vec<(Arc<Wiring>, Visit)>);

impl Visits {
    fn visit(request: &HttpRequest, wiring: &Arc<Wiring>) -> Visit {
        let mut extensions = request.extensions_mut();
        let Self(visits) = extensions.get_or_insert_with(Self::default);
        if let Some((_, visit)) = visits.iter().find(|(other, _)| Arc::ptr_eq(other, wiring)) {
            return Rc::clone(visit);
        }
        let visit = Visit::default();
        visits.push((Arc::clone(wiring), Rc::clone(&visit)));
        visit
    }
}

/// The error of the app's own with which it could not identify the user, for all who need to know;
/// it answers as that one does.
#[derive(Clone)]
struct Unidentified(Rc<actix_web::Error>);

impl fmt::Display for Unidentified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Unidentified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl ResponseError for Unidentified {
    fn status_code(&self) -> StatusCode {
        self.0.as_response_error().status_code()
    }

    fn error_response(&self) -> HttpResponse {
        self.0.error_response()
    }
}

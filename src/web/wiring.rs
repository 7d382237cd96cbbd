//! What an `App` is told once: whom to ask, and how a request becomes a user.

use std::{
    cell::Cell,
    fmt,
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use actix_web::{
    HttpMessage, HttpRequest, HttpResponse, ResponseError, http::StatusCode, web::ServiceConfig,
};
use futures_util::future::{FutureExt, LocalBoxFuture, ready};
use tokio::sync::OnceCell;

use super::{
    errors::{AsksWithin, NotConfigured},
    snapshot::Snapshot,
};
use crate::{handle::Statsig, model::user::User};

impl Statsig {
    /// Wires an `App`, or a part of one, so that [`Flags`](crate::web::Flags) and
    /// [`RequireGate`](crate::web::RequireGate) work in it: for
    /// [`App::configure`](actix_web::App::configure) and the like.
    ///
    /// `identify` says whose request it is. It is called when the first of these needs to know, and
    /// what it says holds for the whole request: what it needs must be there by then. A middleware
    /// that opens a session goes outside of those that ask for flags, and a middleware of the `App`
    /// runs before the request has a route and with that path parameters.
    ///
    /// It cannot extract [`Flags`](crate::web::Flags), which need the user it is about to make. It gets
    /// an error, which answers the request with 500, and a line at level ERROR says what to do instead.
    ///
    /// Its error is the request's answer, [`Unidentified`](crate::web::Unidentified). A user needs an
    /// id, so a visitor who has not logged in needs one from the app, in a cookie or a session; see
    /// [`RequestUser`](crate::web::RequestUser) for the rest.
    ///
    /// Where an `App` and a scope in it are wired apart, what is nearer to the handler counts.
    ///
    /// ```
    /// # use actix_statsig::{Statsig, web::RequestUser};
    /// # use actix_web::{App, HttpRequest, HttpServer, error::ErrorUnauthorized};
    /// # fn main() {}
    /// # fn run(statsig: Statsig) {
    /// let visitor = RequestUser::new();
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
    /// # async fn account_of(request: &HttpRequest) -> Result<String, std::io::Error> { Ok(format!("{:?}", request.path())) }
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
    if visit.is_identifying.get() {
        return Err(AsksWithin::log(request).into());
    }
    let made = visit.made.get_or_init(|| async {
        // Called when it is polled, for `identify` itself may be no async function.
        let identify = async { (wiring.identify)(request).await };
        let identified = Identifying { visit: &visit, identify: pin!(identify) }.await;
        let user = identified.map_err(|error| Unidentified(Rc::new(error)))?;
        let user = wiring.statsig.in_environment(user);
        Ok(Rc::new(Snapshot::new(Arc::clone(&wiring.statsig), user)))
    });
    Ok(made.await.clone()?)
}

/// A request's snapshot, or why there is none. Not a future that everybody polls: that would hold
/// the request which holds it, and both would stay when the client leaves in the meantime.
#[derive(Default)]
struct Visit {
    made: OnceCell<Result<Rc<Snapshot>, Unidentified>>,
    /// The app's function runs right now: what is asked now, that function asks.
    is_identifying: Cell<bool>,
}

/// The app's function, while it finds out whose request it is.
struct Identifying<'a, F> {
    visit: &'a Visit,
    identify: Pin<&'a mut F>,
}

impl<F: Future> Future for Identifying<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.visit.is_identifying.set(true);
        let _reset = Reset(&self.visit.is_identifying);
        self.identify.as_mut().poll(cx)
    }
}

/// Also where the app's function panics.
struct Reset<'a>(&'a Cell<bool>);

impl Drop for Reset<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

/// One for each wiring that the request came by, among the request's extensions.
#[derive(Default)]
struct Visits(Vec<(Arc<Wiring>, Rc<Visit>)>);

impl Visits {
    fn visit(request: &HttpRequest, wiring: &Arc<Wiring>) -> Rc<Visit> {
        // The app may hold the extensions while it identifies, for the first who wanted to know.
        if let Some(visit) = request.extensions().get::<Self>().and_then(|known| known.of(wiring)) {
            return visit;
        }
        let visit = Rc::<Visit>::default();
        let mut extensions = request.extensions_mut();
        let Self(visits) = extensions.get_or_insert_with(Self::default);
        visits.push((Arc::clone(wiring), Rc::clone(&visit)));
        visit
    }

    fn of(&self, wiring: &Arc<Wiring>) -> Option<Rc<Visit>> {
        let found = self.0.iter().find(|(other, _)| Arc::ptr_eq(other, wiring));
        found.map(|(_, visit)| Rc::clone(visit))
    }
}

/// The app could not say whose request it is: its own error, shared by all who wanted to know. It
/// answers, and reads, as that one does.
///
/// ```
/// # use actix_statsig::web::Unidentified;
/// # #[derive(Debug)] struct LoginRequired;
/// /// For a middleware that looks at responses.
/// fn is_login_required(error: &actix_web::Error) -> bool {
///     let unidentified = error.as_error::<Unidentified>();
///     unidentified.is_some_and(|error| error.app_error().as_error::<LoginRequired>().is_some())
/// }
/// # impl std::fmt::Display for LoginRequired {
/// #     fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str("log in") }
/// # }
/// # impl actix_web::ResponseError for LoginRequired {}
/// ```
#[derive(Clone)]
pub struct Unidentified(Rc<actix_web::Error>);

impl Unidentified {
    /// What the app's function returned.
    pub fn app_error(&self) -> &actix_web::Error {
        &self.0
    }
}

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

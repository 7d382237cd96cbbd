//! The middleware `RequireGate`.

use std::{
    fmt,
    future::{Ready, ready},
    rc::Rc,
    sync::Arc,
};

use actix_web::{
    HttpRequest, HttpResponse,
    body::{EitherBody, MessageBody},
    dev::{Service, ServiceRequest, ServiceResponse, Transform, forward_ready},
};
use futures_util::future::{FutureExt, LocalBoxFuture};

use super::flags::Flags;
use crate::model::error::Error;

/// Middleware that answers 404 unless a gate is open for the request's user. Wrap an `App`, a scope or a
/// resource with it.
///
/// The 404 has no body, like actix's own answer for an unknown path. If your app has a 404 page,
/// return it with [`when_closed`](Self::when_closed).
///
/// If Statsig fails, the response has the [`Error`]'s [status](crate::web#statuses).
/// [`fail_open`](Self::fail_open) and [`fail_closed`](Self::fail_closed) change this. Three errors
/// always fail the request: `identify` returns an error, no
/// [`FlagsConfig`](crate::web::FlagsConfig) is set, or the gate's [name](crate::Name) is invalid.
///
/// A middleware outside this one must answer requests without a user, such as a CORS preflight:
/// actix runs the last wrapped middleware first.
///
/// Handlers behind this middleware share its answer: their [`Flags`] already contain the gate.
///
/// ```
/// use actix_statsig::web::RequireGate;
/// use actix_web::{HttpResponse, web};
///
/// let beta = web::scope("/beta").wrap(RequireGate::new("beta").fail_closed());
/// let moved = RequireGate::new("new_checkout").when_closed(|_request| {
///     HttpResponse::TemporaryRedirect().insert_header(("location", "/basket")).finish()
/// });
/// ```
#[derive(Clone)]
#[must_use = "a middleware does nothing until something is wrapped with it"]
pub struct RequireGate(Rc<Requirement>);

#[derive(Clone)]
struct Requirement {
    gate: Arc<str>,
    on_failure: OnFailure,
    when_closed: Rc<dyn Fn(&HttpRequest) -> HttpResponse>,
}

/// The action if there is no answer.
#[derive(Clone, Copy, Debug)]
enum OnFailure {
    Fail,
    Open,
    Close,
}

impl RequireGate {
    /// Requires this gate. A request asks for it once, in the snapshot of its [`Flags`].
    pub fn new(gate: impl Into<Arc<str>>) -> Self {
        let when_closed = Rc::new(|_: &_| HttpResponse::NotFound().finish());
        Self(Rc::new(Requirement { gate: gate.into(), on_failure: OnFailure::Fail, when_closed }))
    }

    /// Treats the gate as open if Statsig fails. Every fallback is counted, logged and reported, as
    /// [`Statsig::check_gate_or`](crate::Statsig::check_gate_or) describes.
    pub fn fail_open(self) -> Self {
        self.with(|requirement| requirement.on_failure = OnFailure::Open)
    }

    /// Treats the gate as closed if Statsig fails. Every fallback is counted, logged and reported, as
    /// [`Statsig::check_gate_or`](crate::Statsig::check_gate_or) describes.
    pub fn fail_closed(self) -> Self {
        self.with(|requirement| requirement.on_failure = OnFailure::Close)
    }

    /// Sets the response while the gate is closed, in place of 404.
    pub fn when_closed(self, response: impl Fn(&HttpRequest) -> HttpResponse + 'static) -> Self {
        self.with(|requirement| requirement.when_closed = Rc::new(response))
    }

    fn with(mut self, set: impl FnOnce(&mut Requirement)) -> Self {
        set(Rc::make_mut(&mut self.0));
        self
    }
}

impl Requirement {
    /// Returns whether the request may pass.
    async fn admits(&self, request: &mut ServiceRequest) -> Result<bool, actix_web::Error> {
        let flags = request.extract::<Flags>().await?;
        let gate = || Arc::clone(&self.gate);
        let fell_back = |error: Error, is_open| {
            flags.fell_back(gate(), error);
            is_open
        };
        match (flags.check_gate(gate()).await, self.on_failure) {
            (Ok(is_open), _) => Ok(is_open),
            // A mistake in the app, not a failure of Statsig: `Flags` has logged it.
            (Err(error @ Error::InvalidName { .. }), _) => Err(error.into()),
            (Err(error), OnFailure::Open) => Ok(fell_back(error, true)),
            (Err(error), OnFailure::Close) => Ok(fell_back(error, false)),
            (Err(error), OnFailure::Fail) => Err(error.into()),
        }
    }
}

impl fmt::Debug for RequireGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Requirement { gate, on_failure, .. } = &*self.0;
        f.debug_struct("RequireGate")
            .field("gate", gate)
            .field("on_failure", on_failure)
            .finish_non_exhaustive()
    }
}

impl<S, B> Transform<S, ServiceRequest> for RequireGate
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error> + 'static,
    B: MessageBody,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = actix_web::Error;
    type Transform = RequireGateService<S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, Self::InitError>>;

    fn new_transform(&self, service: S) -> Self::Future {
        let requirement = Rc::clone(&self.0);
        ready(Ok(RequireGateService { service: Rc::new(service), requirement }))
    }
}

/// A service wrapped by [`RequireGate`].
pub struct RequireGateService<S> {
    service: Rc<S>,
    requirement: Rc<Requirement>,
}

impl<S, B> Service<ServiceRequest> for RequireGateService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error> + 'static,
    B: MessageBody,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = actix_web::Error;
    type Future = LocalBoxFuture<'static, Result<Self::Response, Self::Error>>;

    forward_ready!(service);

    fn call(&self, mut request: ServiceRequest) -> Self::Future {
        let (service, requirement) = (Rc::clone(&self.service), Rc::clone(&self.requirement));
        async move {
            match requirement.admits(&mut request).await {
                Ok(true) => service.call(request).await.map(ServiceResponse::map_into_left_body),
                Ok(false) => {
                    let response = (requirement.when_closed)(request.request());
                    Ok(request.into_response(response).map_into_right_body())
                }
                // A response, not an `Err`, so that outer middlewares treat it like a handler's
                // response.
                Err(error) => Ok(request.error_response(error).map_into_right_body()),
            }
        }
        .boxed_local()
    }
}

impl<S> fmt::Debug for RequireGateService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequireGateService").finish_non_exhaustive()
    }
}

//! The routes: the Statsig HTTP API's `check_gate` and `get_config`, and the relay's own.
//!
//! A body is read as JSON whatever its content type says: `curl -d` says it is a form. Slashes in
//! a row count as one, and one at a path's end as none. Fields that
//! the API document does not name are ignored, and `null` counts as absent.

use std::collections::BTreeMap;

use actix_statsig::{CheckGates, Error, GetConfigs, Statsig, User};
use actix_web::{
    HttpRequest, HttpResponse, Route,
    http::header::HeaderMap,
    web::{self, Data, ServiceConfig},
};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{connection::Incoming, encoding, health, page, prometheus, respond::Problem};

/// The largest body that is read, in bytes.
#[derive(Clone, Copy)]
pub(crate) struct MaxBody(pub(crate) usize);

/// The most names one request may have, as the API document has it.
const MAX_NAMES: usize = 100;

pub(crate) fn routes(app: &mut ServiceConfig) {
    let post = |path| web::resource(path).default_service(method("POST"));
    let get = |path| web::resource(path).default_service(method("GET, HEAD"));
    app.service(post("/v1/check_gate").route(web::post().to(check_gate)))
        .service(post("/v1/get_config").route(web::post().to(get_config)))
        .service(get("/healthz").route(read().to(health::healthz)))
        .service(get("/readyz").route(read().to(health::readyz)))
        .service(get("/metrics").route(read().to(prometheus::scrape)))
        .service(get("/stats").route(read().to(stats)))
        .service(get("/").route(read().to(page::page)))
        .service(get("/watch").route(read().to(page::watch)))
        .default_service(web::to(|request: HttpRequest| async move {
            Err::<HttpResponse, _>(Problem::not_found(request.path()))
        }));
}

fn read() -> Route {
    web::route().guard(actix_web::guard::Any(actix_web::guard::Get()).or(actix_web::guard::Head()))
}

fn method(allow: &'static str) -> Route {
    web::to(move || async move { Err::<HttpResponse, _>(Problem::wrong_method(allow)) })
}

async fn check_gate(
    statsig: Data<Statsig>,
    limit: Data<MaxBody>,
    request: HttpRequest,
    body: Incoming,
) -> Result<HttpResponse, Problem> {
    let mut body = Body::read(request.headers(), body, **limit).await?;
    let (field, names, single) = match (body.name("gateName")?, body.names("gateNames")?) {
        (Some(name), None) => ("gateName", vec![name], true),
        (None, Some(names)) => ("gateNames", names, false),
        (None, None) => return Err(Problem::bad_request("gateName or gateNames must be given")),
        (Some(_), Some(_)) => {
            return Err(Problem::bad_request("gateName and gateNames must not both be given"));
        }
    };
    let exposure = body.exposure()?;
    let message = CheckGates::new(body.user()?, names);
    let message =
        expose(message, exposure, CheckGates::with_exposure, CheckGates::without_exposure);
    let gates = statsig.ask(message).await.map_err(|error| blame(field, error))?;
    if single {
        return only(&gates);
    }
    let by_name: BTreeMap<_, _> = gates.iter().map(|gate| (gate.name(), gate)).collect();
    Ok(HttpResponse::Ok().json(by_name))
}

async fn get_config(
    statsig: Data<Statsig>,
    limit: Data<MaxBody>,
    request: HttpRequest,
    body: Incoming,
) -> Result<HttpResponse, Problem> {
    let mut body = Body::read(request.headers(), body, **limit).await?;
    let field = "configName";
    let missing = || Problem::bad_request("configName must be given");
    let name = body.name(field)?.ok_or_else(missing)?;
    let exposure = body.exposure()?;
    let message = GetConfigs::new(body.user()?, [name]);
    let message =
        expose(message, exposure, GetConfigs::with_exposure, GetConfigs::without_exposure);
    let configs = statsig.ask(message).await.map_err(|error| blame(field, error))?;
    only(&configs)
}

fn only(evaluations: &[impl Serialize]) -> Result<HttpResponse, Problem> {
    let none = Error::Internal { detail: "one name was asked for, and none answered" };
    let evaluation = evaluations.first().ok_or(none)?;
    Ok(HttpResponse::Ok().json(evaluation))
}

async fn stats(statsig: Data<Statsig>) -> HttpResponse {
    HttpResponse::Ok().json(statsig.stats())
}

/// Leaves it to the configuration whether exposures are logged, where the client does not say.
fn expose<M>(
    message: M,
    exposure: Option<bool>,
    with: impl FnOnce(M) -> M,
    without: impl FnOnce(M) -> M,
) -> M {
    match exposure {
        None => message,
        Some(true) => with(message),
        Some(false) => without(message),
    }
}

/// A bad name's error does not know which field of the body the name stood in.
fn blame(field: &str, error: Error) -> Problem {
    let is_name = matches!(error, Error::InvalidName { .. });
    let problem = Problem::from(error);
    if is_name { problem.at(field) } else { problem }
}

/// A request's body, taken apart field by field.
struct Body(Map<String, Value>);

impl Body {
    async fn read(
        headers: &HeaderMap,
        incoming: Incoming,
        MaxBody(limit): MaxBody,
    ) -> Result<Self, Problem> {
        let bytes = encoding::decode(incoming.read(limit).await?, headers, limit)?;
        match serde_json::from_slice(&bytes) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(_) => Err(Problem::bad_request("the body must be an object")),
            Err(error) => Err(Problem::not_json(&error)),
        }
    }

    fn name(&mut self, field: &str) -> Result<Option<String>, Problem> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::String(name)) => Ok(Some(name)),
            Some(_) => Err(Problem::bad_request(format!("{field} must be a string"))),
        }
    }

    fn names(&mut self, field: &str) -> Result<Option<Vec<String>>, Problem> {
        let rule = || Problem::bad_request(format!("{field} must be a list of 1 to 100 strings"));
        match self.take(field) {
            None => Ok(None),
            Some(Value::Array(names)) if (1..=MAX_NAMES).contains(&names.len()) => {
                let strings = names.into_iter().map(|name| match name {
                    Value::String(name) => Ok(name),
                    _ => Err(rule()),
                });
                strings.collect::<Result<_, _>>().map(Some)
            }
            Some(_) => Err(rule()),
        }
    }

    fn user(&mut self) -> Result<User, Problem> {
        let user = self.take("user").ok_or_else(|| Problem::bad_request("user must be given"))?;
        Ok(User::from_json(user)?)
    }

    /// Whether Statsig is to log exposures, if the client says.
    fn exposure(&mut self) -> Result<Option<bool>, Problem> {
        let disabled = match self.take("statsigMetadata") {
            None => None,
            Some(Value::Object(mut metadata)) => metadata.remove("exposureLoggingDisabled"),
            Some(_) => return Err(Problem::bad_request("statsigMetadata must be an object")),
        };
        match disabled {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(disabled)) => Ok(Some(!disabled)),
            Some(_) => Err(Problem::bad_request(
                "statsigMetadata.exposureLoggingDisabled must be a boolean",
            )),
        }
    }

    fn take(&mut self, field: &str) -> Option<Value> {
        self.0.remove(field).filter(|value| !value.is_null())
    }
}

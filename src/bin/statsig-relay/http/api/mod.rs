//! The routes: the Statsig HTTP API's `check_gate` and `get_config`, and the relay's own.
//!
//! A body is read as JSON whatever its content type: `curl -d` sends JSON as a form. Repeated slashes
//! count as one, and a slash at a path's end does not count. Fields that the API document does not name
//! are ignored, and `null` counts as absent.

mod body;

use std::collections::BTreeMap;

use actix_statsig::{Error, Statsig};
use actix_web::{
    HttpRequest, HttpResponse, Route,
    body::{BodySize, MessageBody},
    http::header::HeaderMap,
    web::{self, Data, ServiceConfig},
};
use serde::Serialize;

use self::body::{CONFIG_NAME, GATE_NAME};
use super::{encoding, health, problem::Problem, prometheus};
use crate::{
    connection::{Handle, Incoming},
    page,
};

/// The size of the largest body that the relay reads, in bytes.
#[derive(Clone, Copy)]
pub(crate) struct MaxBody(pub(crate) usize);

pub(crate) fn routes(app: &mut ServiceConfig) {
    let post = |path| web::resource(path).default_service(wrong_method("POST"));
    let get = |path| web::resource(path).default_service(wrong_method("GET, HEAD"));
    app.service(post("/v1/check_gate").route(web::post().to(check_gate)))
        .service(post("/v1/get_config").route(web::post().to(get_config)))
        .service(get("/healthz").route(get_or_head().to(health::healthz)))
        .service(get("/readyz").route(get_or_head().to(health::readyz)))
        .service(get("/metrics").route(get_or_head().to(prometheus::scrape)))
        .service(get("/stats").route(get_or_head().to(stats)))
        .service(get("/").route(get_or_head().to(page::page)))
        .service(get("/watch").route(get_or_head().to(page::watch)))
        .default_service(web::to(|request: HttpRequest| async move {
            Err::<HttpResponse, _>(Problem::not_found(request.path()))
        }));
}

fn get_or_head() -> Route {
    web::route().guard(actix_web::guard::Any(actix_web::guard::Get()).or(actix_web::guard::Head()))
}

fn wrong_method(allow: &'static str) -> Route {
    web::to(move || async move { Err::<HttpResponse, _>(Problem::wrong_method(allow)) })
}

/// `POST /v1/check_gate`
async fn check_gate(
    statsig: Data<Statsig>,
    limit: Data<MaxBody>,
    request: HttpRequest,
    body: Incoming,
) -> Result<HttpResponse, Problem> {
    let body = read_body(request.headers(), body, **limit).await?;
    let (field, message) = body::parse_gates(&body)?;
    drop(body);
    let gates = statsig.ask(message).await.map_err(|error| in_field(field, error))?;
    if field == GATE_NAME {
        return answer_one(&request, &gates);
    }
    let by_name: BTreeMap<_, _> = gates.iter().map(|gate| (gate.name(), gate)).collect();
    answer(&request, &by_name)
}

/// `POST /v1/get_config`
async fn get_config(
    statsig: Data<Statsig>,
    limit: Data<MaxBody>,
    request: HttpRequest,
    body: Incoming,
) -> Result<HttpResponse, Problem> {
    let body = read_body(request.headers(), body, **limit).await?;
    let message = body::parse_config(&body)?;
    drop(body);
    let configs = statsig.ask(message).await.map_err(|error| in_field(CONFIG_NAME, error))?;
    answer_one(&request, &configs)
}

fn answer_one(
    request: &HttpRequest,
    evaluations: &[impl Serialize],
) -> Result<HttpResponse, Problem> {
    let none = Error::Internal { detail: "one name was asked for, and none was answered" };
    answer(request, evaluations.first().ok_or(none)?)
}

/// Answers with these evaluations, unless unread answers of other clients fill the memory for them.
fn answer(request: &HttpRequest, evaluations: &impl Serialize) -> Result<HttpResponse, Problem> {
    let response = HttpResponse::Ok().json(evaluations);
    let bytes = match response.body().size() {
        BodySize::Sized(bytes) => usize::try_from(bytes).unwrap_or(usize::MAX),
        BodySize::None | BodySize::Stream => 0,
    };
    let connection = request.conn_data::<Handle>();
    if connection.is_none_or(|connection| connection.reserve_answer(bytes)) {
        Ok(response)
    } else {
        Err(Problem::answer_budget_exceeded())
    }
}

/// `GET /stats`
async fn stats(statsig: Data<Statsig>) -> HttpResponse {
    HttpResponse::Ok().json(statsig.stats())
}

/// Names the field in the error of a bad name: the component does not know the field.
fn in_field(field: &str, error: Error) -> Problem {
    let is_name = matches!(error, Error::InvalidName { .. });
    let problem = Problem::from(error);
    if is_name { problem.in_field(field) } else { problem }
}

/// Reads the body as text.
async fn read_body(
    headers: &HeaderMap,
    incoming: Incoming,
    MaxBody(limit): MaxBody,
) -> Result<String, Problem> {
    let bytes = encoding::decode(incoming.read(limit).await?, headers, limit)?;
    String::from_utf8(bytes.into())
        .map_err(|error| Problem::bad_request(format!("the body is not UTF-8: {error}")))
}

//! The routes: the Statsig HTTP API's `check_gate` and `get_config`, and the relay's own.
//!
//! A body is read as JSON whatever its content type, because `curl -d` sends JSON as a form.
//! Repeated slashes in a path count as one, and a trailing slash is ignored. Fields that the API
//! document does not name are ignored, and `null` counts as absent.

mod body;

use std::collections::BTreeMap;

use actix_statsig::{ConfigEvaluation, Error, GateEvaluation, Source, Statsig};
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
    machine::clock::now,
    page::{self, Activity, Page},
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
    page: Data<Page>,
    request: HttpRequest,
    body: Incoming,
) -> Result<HttpResponse, Problem> {
    let message = parse_body(request.headers(), body, **limit, body::parse_gates).await;
    let (field, message) = message.inspect_err(|problem| page.activity().body_refused(problem))?;
    let gates = timed(statsig.ask(message), GateEvaluation::source, page.activity()).await;
    let gates = gates.map_err(|error| in_field(field, error))?;
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
    page: Data<Page>,
    request: HttpRequest,
    body: Incoming,
) -> Result<HttpResponse, Problem> {
    let message = parse_body(request.headers(), body, **limit, body::parse_config).await;
    let message = message.inspect_err(|problem| page.activity().body_refused(problem))?;
    let configs = timed(statsig.ask(message), ConfigEvaluation::source, page.activity()).await;
    answer_one(&request, &configs.map_err(|error| in_field(CONFIG_NAME, error))?)
}

/// Waits for the component's answer, and records the wait if Statsig was asked.
async fn timed<E>(
    answer: impl Future<Output = Result<Vec<E>, Error>>,
    source: impl Fn(&E) -> Source,
    activity: &Activity,
) -> Result<Vec<E>, Error> {
    let began = now();
    let answer = answer.await;
    let was_asked = match &answer {
        Ok(evaluations) => evaluations.iter().any(|each| source(each) == Source::Network),
        Err(Error::InvalidName { .. } | Error::ShuttingDown | Error::Closed) => false,
        Err(error) => !error.is_overload(),
    };
    if was_asked {
        activity.caller_waited(now().saturating_duration_since(began));
    }
    answer
}

fn answer_one(
    request: &HttpRequest,
    evaluations: &[impl Serialize],
) -> Result<HttpResponse, Problem> {
    let none = Error::internal("asked for one name, got no answer");
    answer(request, evaluations.first().ok_or(none)?)
}

/// Answers with these evaluations, unless unread answers of other clients use up the memory for
/// answers.
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

/// Adds the field to the error about a bad name, because the component does not know the field.
fn in_field(field: &str, error: Error) -> Problem {
    let is_name = matches!(error, Error::InvalidName { .. });
    let problem = Problem::from(error);
    if is_name { problem.in_field(field) } else { problem }
}

/// Reads and parses the body. Its text is dropped before Statsig is asked.
async fn parse_body<T>(
    headers: &HeaderMap,
    incoming: Incoming,
    MaxBody(limit): MaxBody,
    parse: impl FnOnce(&str) -> Result<T, Problem>,
) -> Result<T, Problem> {
    let bytes = encoding::decode(incoming.read(limit).await?, headers, limit)?;
    let text = str::from_utf8(&bytes);
    parse(text.map_err(|error| Problem::bad_request(format!("the body is not UTF-8: {error}")))?)
}

//! The routes: the Statsig HTTP API's `check_gate` and `get_config`, and the relay's own.
//!
//! A body is read as JSON whatever its content type says: `curl -d` says it is a form. Slashes in
//! a row count as one, and one at a path's end as none. Fields that the API document does not name are
//! ignored, and `null` counts as absent.

use std::{borrow::Cow, collections::BTreeMap, fmt, marker::PhantomData};

use actix_statsig::{CheckGates, Error, GetConfigs, Statsig, User};
use actix_web::{
    HttpRequest, HttpResponse, Route,
    body::{BodySize, MessageBody},
    http::header::HeaderMap,
    web::{self, Data, ServiceConfig},
};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::{error::Category, value::RawValue};

use crate::{
    connection::{Handle, Incoming},
    encoding, health, page, prometheus,
    respond::Problem,
};

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
    let (field, message) = gates(&read_body(request.headers(), body, **limit).await?)?;
    let gates = statsig.ask(message).await.map_err(|error| blame(field, error))?;
    if field == GATE_NAME {
        return only(&request, &gates);
    }
    let by_name: BTreeMap<_, _> = gates.iter().map(|gate| (gate.name(), gate)).collect();
    answer(&request, &by_name)
}

async fn get_config(
    statsig: Data<Statsig>,
    limit: Data<MaxBody>,
    request: HttpRequest,
    body: Incoming,
) -> Result<HttpResponse, Problem> {
    let message = configs(&read_body(request.headers(), body, **limit).await?)?;
    let configs = statsig.ask(message).await.map_err(|error| blame(CONFIG_NAME, error))?;
    only(&request, &configs)
}

const GATE_NAME: &str = "gateName";
const CONFIG_NAME: &str = "configName";

/// What a body asks, and the field that has the names. It borrows nothing: a text that was unpacked
/// is not counted, and must not stay while Statsig is asked.
fn gates(text: &str) -> Result<(&'static str, CheckGates), Problem> {
    let body = Body::of(text)?;
    let gate_names = names("gateNames", body.gate_names)?;
    let (field, names) = match (name(GATE_NAME, body.gate_name)?, gate_names) {
        (Some(name), None) => (GATE_NAME, vec![name]),
        (None, Some(names)) => ("gateNames", names),
        (None, None) => return Err(Problem::bad_request("gateName or gateNames must be given")),
        (Some(_), Some(_)) => {
            return Err(Problem::bad_request("gateName and gateNames must not both be given"));
        }
    };
    let exposure = body.exposure()?;
    let message = CheckGates::new(body.user()?, names);
    let message =
        expose(message, exposure, CheckGates::with_exposure, CheckGates::without_exposure);
    Ok((field, message))
}

/// The same of a config.
fn configs(text: &str) -> Result<GetConfigs, Problem> {
    let body = Body::of(text)?;
    let missing = || Problem::bad_request("configName must be given");
    let name = name(CONFIG_NAME, body.config_name)?.ok_or_else(missing)?;
    let exposure = body.exposure()?;
    let message = GetConfigs::new(body.user()?, [name]);
    Ok(expose(message, exposure, GetConfigs::with_exposure, GetConfigs::without_exposure))
}

fn only(request: &HttpRequest, evaluations: &[impl Serialize]) -> Result<HttpResponse, Problem> {
    let none = Error::internal("one name was asked for, and none answered");
    answer(request, evaluations.first().ok_or(none)?)
}

/// Answers with this, unless clients that do not read have taken up all the room for answers.
fn answer(request: &HttpRequest, evaluations: &impl Serialize) -> Result<HttpResponse, Problem> {
    let response = HttpResponse::Ok().json(evaluations);
    let bytes = match response.body().size() {
        BodySize::Sized(bytes) => usize::try_from(bytes).unwrap_or(usize::MAX),
        BodySize::None | BodySize::Stream => 0,
    };
    let connection = request.conn_data::<Handle>();
    if connection.is_none_or(|connection| connection.holds_answer(bytes)) {
        Ok(response)
    } else {
        Err(Problem::no_room_for_answer())
    }
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

/// A request's body, as text.
async fn read_body(
    headers: &HeaderMap,
    incoming: Incoming,
    MaxBody(limit): MaxBody,
) -> Result<String, Problem> {
    let bytes = encoding::decode(incoming.read(limit).await?, headers, limit)?;
    String::from_utf8(bytes.into())
        .map_err(|error| Problem::bad_request(format!("the body is not UTF-8: {error}")))
}

/// A request's body, taken apart field by field. What is `null` is not there, and the last of what is
/// there twice counts.
#[derive(Default)]
struct Body<'a> {
    gate_name: Option<&'a RawValue>,
    gate_names: Option<&'a RawValue>,
    config_name: Option<&'a RawValue>,
    /// As text: a number in it may have any length.
    user: Option<&'a RawValue>,
    metadata: Option<&'a RawValue>,
}

impl<'a> Body<'a> {
    fn of(text: &'a str) -> Result<Self, Problem> {
        serde_json::from_str(text).map_err(|error| match error.classify() {
            Category::Data => Problem::bad_request("the body must be an object"),
            _ => Problem::not_json(&error),
        })
    }

    fn user(&self) -> Result<User, Problem> {
        let user = self.user.ok_or_else(|| Problem::bad_request("user must be given"))?;
        Ok(User::try_from(user)?)
    }

    /// Whether Statsig is to log exposures, if the client says.
    fn exposure(&self) -> Result<Option<bool>, Problem> {
        let Some(metadata) = self.metadata else { return Ok(None) };
        let Ok(metadata) =
            serde_json::from_str::<BTreeMap<Cow<'_, str>, &RawValue>>(metadata.get())
        else {
            return Err(Problem::bad_request("statsigMetadata must be an object"));
        };
        match metadata.get("exposureLoggingDisabled").map(|disabled| disabled.get()) {
            None | Some("null") => Ok(None),
            Some("true") => Ok(Some(false)),
            Some("false") => Ok(Some(true)),
            Some(_) => Err(Problem::bad_request(
                "statsigMetadata.exposureLoggingDisabled must be a boolean",
            )),
        }
    }
}

fn name(field: &str, name: Option<&RawValue>) -> Result<Option<String>, Problem> {
    let name = name.map(|name| serde_json::from_str(name.get())).transpose();
    name.map_err(|_| Problem::bad_request(format!("{field} must be a string")))
}

fn names(field: &str, names: Option<&RawValue>) -> Result<Option<Vec<String>>, Problem> {
    let names = names.map(|names| serde_json::from_str::<Vec<String>>(names.get())).transpose();
    let names = names
        .ok()
        .filter(|names| names.as_ref().is_none_or(|names| (1..=MAX_NAMES).contains(&names.len())));
    let rule = || Problem::bad_request(format!("{field} must be a list of 1 to 100 strings"));
    names.ok_or_else(rule)
}

impl<'de: 'a, 'a> Deserialize<'de> for Body<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(BodyVisitor(PhantomData))
    }
}

struct BodyVisitor<'a>(PhantomData<&'a ()>);

impl<'de: 'a, 'a> Visitor<'de> for BodyVisitor<'a> {
    type Value = Body<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut body = Body::default();
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            let field = match &*key {
                "gateName" => &mut body.gate_name,
                "gateNames" => &mut body.gate_names,
                "configName" => &mut body.config_name,
                "user" => &mut body.user,
                "statsigMetadata" => &mut body.metadata,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            let value: &RawValue = map.next_value()?;
            *field = Some(value).filter(|value| value.get() != "null");
        }
        Ok(body)
    }
}

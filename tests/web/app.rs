//! Set-up that the tests of the feature `web` share: a local Statsig, and how requests name users.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use std::{collections::BTreeMap, time::Duration};

use actix_statsig::{
    Config, ConfigBuilder, Statsig, User,
    test_util::{LocalStatsig, Rules},
    web::FlagsConfig,
};
use actix_web::{
    HttpRequest,
    body::MessageBody,
    dev::{Service, ServiceResponse},
    error::ErrorUnauthorized,
    test::{TestRequest, call_service, read_body},
};

/// A configuration without a cache, with one attempt for each call.
pub fn config(server: &LocalStatsig) -> ConfigBuilder {
    Config::builder("secret-key")
        .base_url(server.url())
        .cache_ttl(Duration::ZERO)
        .retry_attempts(1)
        .circuit_breaker(false)
}

pub fn start(rules: Rules) -> (LocalStatsig, Statsig) {
    let server = LocalStatsig::start(rules).unwrap();
    let statsig = Statsig::start(config(&server).build().unwrap()).unwrap();
    (server, statsig)
}

/// Flags from this component, for the user from [`identify`].
pub fn flags(statsig: &Statsig) -> FlagsConfig {
    FlagsConfig::new(statsig.clone(), identify)
}

/// Reads the user's id from a header.
pub fn identify(request: &HttpRequest) -> actix_web::Result<User> {
    let id = request.headers().get("x-user").ok_or_else(|| ErrorUnauthorized("who are you?"))?;
    Ok(User::new(id.to_str().unwrap())?)
}

pub fn get(path: &str) -> TestRequest {
    TestRequest::get().uri(path).insert_header(("x-user", "marie"))
}

/// The answer's status and body.
pub async fn answer<S, B, E>(app: &S, request: TestRequest) -> (u16, String)
where
    S: Service<actix_http::Request, Response = ServiceResponse<B>, Error = E>,
    B: MessageBody,
    E: std::fmt::Debug,
{
    let response = call_service(app, request.to_request()).await;
    let status = response.status().as_u16();
    (status, String::from_utf8(read_body(response).await.to_vec()).unwrap())
}

/// The names of each call that the server got.
pub fn asked(server: &LocalStatsig) -> Vec<Vec<String>> {
    server.requests().into_iter().map(|request| request.names).collect()
}

pub fn fallbacks(statsig: &Statsig) -> BTreeMap<&'static str, u64> {
    let fallbacks = statsig.stats().fallbacks.into_iter();
    fallbacks.map(|(kind, count)| (kind.as_str(), count)).collect()
}

//! An actix-web app with two guarded scopes. When Statsig fails, one closes and the other opens.
//! The example starts a server in place of Statsig, requests its own pages, and exits. With
//! `--serve` it serves until ctrl-c.
//!
//! `cargo run --features test-util,web --example web_guard -- --serve`

#![expect(clippy::print_stdout, reason = "the example prints its results")]

use std::{env, error::Error, time::Duration};

use actix_statsig::{
    Config, ErrorKind, Statsig, User,
    test_util::{Fault, LocalStatsig, Rule, Rules},
    web::{FlagsConfig, RequireGate, serve},
};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, dev::HttpServiceFactory, web};
use futures_util::future::{Either, select};

async fn welcome() -> &'static str {
    "welcome"
}

/// Answers 404 while the gate is closed, and also when Statsig fails.
fn beta() -> impl HttpServiceFactory {
    let gate = RequireGate::new("beta").fail_closed();
    web::scope("/beta").wrap(gate).route("", web::get().to(welcome))
}

/// Redirects to the old payment page while the gate is closed. When Statsig fails, the new page is
/// open, so that every visitor can pay.
fn new_payment() -> impl HttpServiceFactory {
    let old_payment = |_: &HttpRequest| {
        HttpResponse::TemporaryRedirect().insert_header(("location", "/pay")).finish()
    };
    let gate = RequireGate::new("new_payment").when_closed(old_payment).fail_open();
    web::scope("/pay/new").wrap(gate).route("", web::get().to(welcome))
}

/// Takes the user's id from a cookie. All visitors without a cookie share the user `anonymous`.
fn identify(request: &HttpRequest) -> Result<User, actix_statsig::Error> {
    let cookie = request.cookie("id");
    User::new(cookie.as_ref().map_or("anonymous", |cookie| cookie.value()))
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let local = LocalStatsig::start(rules())?;
    let config = Config::builder("secret-key").base_url(local.url()).retry_attempts(1).build()?;

    let statsig = Statsig::start(config)?;
    let flags = FlagsConfig::new(statsig.clone(), identify);
    let app = move || App::new().app_data(flags.clone()).service(beta()).service(new_payment());
    let server = HttpServer::new(app).workers(2).bind(("127.0.0.1", 0))?;
    let url = format!("http://{}", server.addrs()[0]);

    // Serves until SIGTERM or ctrl-c, then answers the requests in flight.
    let serving = serve(server, &statsig, Duration::from_secs(30));
    if env::args().any(|arg| arg == "--serve") {
        println!("try: curl --include --cookie id=u-1 {url}/beta {url}/pay/new");
        println!("{:?}", serving.await?);
        return Ok(());
    }
    match select(Box::pin(serving), Box::pin(check(&url, &local, &statsig))).await {
        Either::Left((ended, _)) => Err(format!("the server ended too early: {ended:?}").into()),
        Either::Right((checked, _)) => checked,
    }
}

/// Opens both gates for `u-1` alone.
fn rules() -> Rules {
    let rule = Rule::new(false).override_for("u-1", true);
    Rules::new().gate("beta", rule.clone()).gate("new_payment", rule)
}

/// Requests both pages as two visitors, and once more while Statsig fails.
async fn check(url: &str, local: &LocalStatsig, statsig: &Statsig) -> Result<(), Box<dyn Error>> {
    for (user, beta, payment) in [("u-1", 200, 200), ("u-2", 404, 307)] {
        assert_eq!(status(&format!("{url}/beta"), user).await?, beta);
        assert_eq!(status(&format!("{url}/pay/new"), user).await?, payment);
        println!("{user}: {beta} for /beta, {payment} for /pay/new");
    }
    local.inject(Fault::status(503).always());
    assert_eq!(status(&format!("{url}/beta"), "u-3").await?, 404);
    assert_eq!(status(&format!("{url}/pay/new"), "u-3").await?, 200);
    println!("while Statsig fails: 404 for /beta, 200 for /pay/new");
    let fallbacks = statsig.stats().fallbacks;
    assert_eq!(fallbacks[&ErrorKind::Unavailable], 2, "both fallbacks are counted");
    Ok(())
}

async fn status(url: &str, user: &str) -> Result<u16, Box<dyn Error>> {
    let request = awc::Client::builder().disable_redirects().finish().get(url);
    let response = request.insert_header(("cookie", format!("id={user}"))).send().await;
    Ok(response.map_err(|error| error.to_string())?.status().as_u16())
}

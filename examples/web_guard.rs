//! An actix-web app with a part that only some may see: a gate around a scope, and what it answers
//! when the gate is closed and when Statsig fails. It starts a server with sample rules in Statsig's
//! place, asks its own pages, and ends; with `--serve` it goes on until ctrl-c.
//!
//! `cargo run --features test-util,web --example web_guard -- --serve`

use std::{env, error::Error, time::Duration};

use actix_statsig::{
    Config, ErrorKind, Statsig, User,
    test_util::{Fault, LocalStatsig, Rule, Rules},
    web::{self, RequireGate},
};
use actix_web::{
    App, HttpRequest, HttpResponse, HttpServer, Responder, dev::HttpServiceFactory, get,
};
use futures_util::future::{Either, select};

#[get("")]
async fn page() -> impl Responder {
    "welcome"
}

/// For a visitor whom Statsig cannot be asked about, it stays closed.
fn beta() -> impl HttpServiceFactory {
    actix_web::web::scope("/beta").wrap(RequireGate::new("beta").fail_closed()).service(page)
}

/// Who may not pay the new way is sent to the old one, and nobody is kept from paying.
fn payment() -> impl HttpServiceFactory {
    let to_the_old_one = |_: &HttpRequest| {
        HttpResponse::TemporaryRedirect().insert_header(("location", "/pay")).finish()
    };
    let gate = RequireGate::new("new_payment").when_closed(to_the_old_one).fail_open();
    actix_web::web::scope("/pay/new").wrap(gate).service(page)
}

/// Whoever has no cookie is an anonymous visitor, and all of these are one.
fn identify(request: &HttpRequest) -> Result<User, actix_statsig::Error> {
    let id = request.cookie("id");
    User::new(id.as_ref().map_or("anonymous", |cookie| cookie.value()))
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let for_u_1 = || Rule::new(false).override_for("u-1", true);
    let local =
        LocalStatsig::start(Rules::new().gate("beta", for_u_1()).gate("new_payment", for_u_1()))?;
    let config = Config::builder("secret-key").base_url(local.url()).retry_attempts(1).build()?;
    let statsig = Statsig::start(config)?;
    let flags = statsig.configure(identify);
    let app = move || App::new().configure(&flags).service(beta()).service(payment());
    let server = HttpServer::new(app).workers(2).bind(("127.0.0.1", 0))?;
    let url = format!("http://{}", server.addrs()[0]);

    // Until SIGTERM or ctrl-c. What is then in flight is answered.
    let serving = web::serve(server, &statsig, Duration::from_secs(30));
    if env::args().any(|arg| arg == "--serve") {
        tell(&format!("serving to some, as in: curl --cookie id=u-1 {url}/beta {url}/pay/new"));
        tell(&format!("{:?}", serving.await?));
        return Ok(());
    }
    match select(Box::pin(serving), Box::pin(check(&url, &local, &statsig))).await {
        Either::Left((served, _)) => Err(format!("it should not have ended: {served:?}").into()),
        Either::Right((checked, _)) => checked,
    }
}

async fn check(url: &str, local: &LocalStatsig, statsig: &Statsig) -> Result<(), Box<dyn Error>> {
    for (user, beta, payment) in [("u-1", 200, 200), ("u-2", 404, 307)] {
        assert_eq!(status(&format!("{url}/beta"), user).await?, beta);
        assert_eq!(status(&format!("{url}/pay/new"), user).await?, payment);
    }
    local.inject(Fault::status(503).always());
    assert_eq!(status(&format!("{url}/beta"), "u-3").await?, 404);
    assert_eq!(status(&format!("{url}/pay/new"), "u-3").await?, 200);
    // Neither was silent.
    assert_eq!(statsig.stats().fallbacks[&ErrorKind::Unavailable], 2);
    Ok(())
}

async fn status(url: &str, user: &str) -> Result<u16, Box<dyn Error>> {
    let request = awc::Client::builder().disable_redirects().finish().get(url);
    let response = request.insert_header(("cookie", format!("id={user}"))).send().await;
    Ok(response.map_err(|error| error.to_string())?.status().as_u16())
}

#[expect(clippy::print_stdout, reason = "it is what the example is for")]
fn tell(what: &str) {
    println!("{what}");
}

//! An actix-web app with a page that depends on a gate and a config. The example starts a server in
//! place of Statsig, requests its own page, and exits. With `--serve` it serves until ctrl-c.
//!
//! `cargo run --features test-util,web --example web_page -- --serve`

#![expect(clippy::print_stdout, reason = "the example prints its results")]

use std::{env, error::Error, time::Duration};

use actix_statsig::{
    Config, Statsig, User,
    test_util::{LocalStatsig, Rule, Rules},
    web::{Flags, FlagsConfig, RequestUser, serve},
};
use actix_web::{App, HttpRequest, HttpServer, Result, error::ErrorUnauthorized, get};
use futures_util::future::{Either, select};
use serde_json::json;

/// Fails the request if the gate cannot be checked. For the color, a default is good enough.
#[get("/checkout")]
async fn checkout(flags: Flags) -> Result<String> {
    let page = match flags.check_gate("new_checkout").await? {
        true => "the new checkout",
        false => "the old checkout",
    };
    let color: String = flags.get_config_or("checkout_page", "color", "grey".to_owned()).await;
    Ok(format!("{page}, in {color}"))
}

/// Takes the user's id from a cookie, and ip, user agent and locale from the request.
fn identify(request: &HttpRequest) -> Result<User> {
    let id = request.cookie("id").ok_or_else(|| ErrorUnauthorized("log in first"))?;
    Ok(RequestUser::new().user(request).user_id(id.value()).build()?)
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let local = LocalStatsig::start(rules())?;
    let config = Config::builder("secret-key").base_url(local.url()).build()?;

    // One component for all workers, on its own thread.
    let statsig = Statsig::start(config)?;
    let flags = FlagsConfig::new(statsig.clone(), identify);
    let app = move || App::new().app_data(flags.clone()).service(checkout);
    let server = HttpServer::new(app).workers(2).bind(("127.0.0.1", 0))?;
    let url = format!("http://{}/checkout", server.addrs()[0]);

    // Serves until SIGTERM or ctrl-c, then answers the requests in flight.
    let serving = serve(server, &statsig, Duration::from_secs(30));
    if env::args().any(|arg| arg == "--serve") {
        println!("try: curl --cookie id=u-1 --header 'accept-language: nl-NL' {url}");
        println!("{:?}", serving.await?);
        return Ok(());
    }
    match select(Box::pin(serving), Box::pin(check(&url))).await {
        Either::Left((ended, _)) => Err(format!("the server ended too early: {ended:?}").into()),
        Either::Right((checked, _)) => checked,
    }
}

fn rules() -> Rules {
    Rules::new()
        .gate("new_checkout", Rule::new(true).when("locale", "nl-NL"))
        .config("checkout_page", json!({"color": "orange"}))
}

/// Requests the page as a visitor does.
async fn check(url: &str) -> Result<(), Box<dyn Error>> {
    for (language, page) in [
        ("nl-NL, en;q=0.5", "the new checkout, in orange"),
        ("en, nl-NL;q=0.5", "the old checkout, in orange"),
    ] {
        let request = awc::Client::new().get(url).insert_header(("accept-language", language));
        let response = request.insert_header(("cookie", "id=u-1")).send().await;
        let body = response.map_err(|error| error.to_string())?.body().await?;
        assert_eq!(body, page);
        println!("{language}: {page}");
    }
    let response = awc::Client::new().get(url).send().await.map_err(|error| error.to_string())?;
    assert_eq!(response.status().as_u16(), 401);
    println!("without a cookie: 401");
    Ok(())
}

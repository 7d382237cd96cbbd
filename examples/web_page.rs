//! An actix-web app whose page depends on a gate and a config. It starts a server with sample rules
//! in Statsig's place, asks its own page, and ends; with `--serve` it goes on until ctrl-c.
//!
//! `cargo run --features test-util,web --example web_page -- --serve`

use std::{env, error::Error, time::Duration};

use actix_statsig::{
    Config, Statsig,
    test_util::{LocalStatsig, Rule, Rules},
    web::{self, Flags, FlagsConfig, RequestUser},
};
use actix_web::{App, HttpRequest, HttpServer, Result, error::ErrorUnauthorized, get};
use futures_util::future::{Either, select};
use serde_json::json;

#[get("/checkout")]
async fn checkout(flags: Flags) -> Result<String> {
    // An error is the request's answer; for a colour, a default will do.
    let page = match flags.check_gate("new_checkout").await? {
        true => "the new checkout",
        false => "the old checkout",
    };
    let color: String = flags.get_config_or("checkout", "color", "grey".to_owned()).await;
    Ok(format!("{page}, in {color}"))
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let rules = Rules::new()
        .gate("new_checkout", Rule::new(true).when("locale", "nl-NL"))
        .config("checkout", json!({"color": "orange"}));
    let local = LocalStatsig::start(rules)?;
    let config = Config::builder("secret-key").base_url(local.url()).build()?;

    // One component for all workers, on a thread of its own.
    let statsig = Statsig::start(config)?;
    let visitor = RequestUser::new();
    let flags = FlagsConfig::new(statsig.clone(), move |request: &HttpRequest| {
        let id = request.cookie("id").ok_or_else(|| ErrorUnauthorized("who are you?"))?;
        Ok::<_, actix_web::Error>(visitor.user(request).user_id(id.value()).build()?)
    });
    let app = move || App::new().app_data(flags.clone()).service(checkout);
    let server = HttpServer::new(app).workers(2).bind(("127.0.0.1", 0))?;
    let url = format!("http://{}/checkout", server.addrs()[0]);

    // Until SIGTERM or ctrl-c. What is then in flight is answered.
    let serving = web::serve(server, &statsig, Duration::from_secs(30));
    if env::args().any(|arg| arg == "--serve") {
        tell(&format!("serving whoever has a cookie, as in: curl --cookie id=u-1 {url}"));
        tell(&format!("{:?}", serving.await?));
        return Ok(());
    }
    match select(Box::pin(serving), Box::pin(check(&url))).await {
        Either::Left((served, _)) => Err(format!("it should not have ended: {served:?}").into()),
        Either::Right((checked, _)) => checked,
    }
}

async fn check(url: &str) -> Result<(), Box<dyn Error>> {
    for (language, page) in [
        ("nl-NL, en;q=0.5", "the new checkout, in orange"),
        ("en, nl-NL;q=0.5", "the old checkout, in orange"),
    ] {
        let request = awc::Client::new().get(url).insert_header(("accept-language", language));
        let response = request.insert_header(("cookie", "id=u-1")).send().await;
        let body = response.map_err(|error| error.to_string())?.body().await?;
        assert_eq!(body, page);
        tell(&format!("{language}: {page}"));
    }
    let nobody = awc::Client::new().get(url).send().await.map_err(|error| error.to_string())?;
    assert_eq!(nobody.status().as_u16(), 401);
    Ok(())
}

#[expect(clippy::print_stdout, reason = "it is what the example is for")]
fn tell(what: &str) {
    println!("{what}");
}

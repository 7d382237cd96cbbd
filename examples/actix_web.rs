//! An actix-web app whose page depends on a gate. It starts a server with sample rules in Statsig's
//! place, asks its own page once, and ends; with `--serve` it goes on until ctrl-c.
//!
//! `cargo run --features test-util --example actix_web -- --serve`

use std::{env, error::Error, time::Duration};

use actix_statsig::{
    Config, Statsig, User,
    test_util::{LocalStatsig, Rules},
};
use actix_web::{
    App, HttpResponse, HttpServer, error::ErrorBadGateway, error::ErrorBadRequest, web,
};

/// `GET /checkout/{user}`
async fn checkout(
    statsig: web::Data<Statsig>,
    user: web::Path<String>,
) -> actix_web::Result<HttpResponse> {
    let user = User::new(user.into_inner()).map_err(ErrorBadRequest)?;
    let page = match statsig.check_gate(&user, "new_checkout").await.map_err(ErrorBadGateway)? {
        true => "the new checkout",
        false => "the old checkout",
    };
    Ok(HttpResponse::Ok().body(page))
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let rules = Rules::new().gate("new_checkout", true);
    let local = LocalStatsig::start(rules)?;
    let config = Config::builder("secret-key").base_url(local.url()).build()?;

    // One component for all workers, on a thread of its own.
    let statsig = Statsig::start(config)?;
    let data = web::Data::new(statsig.clone());
    let app = move || {
        App::new().app_data(data.clone()).route("/checkout/{user}", web::get().to(checkout))
    };
    let server = HttpServer::new(app).workers(2).bind(("127.0.0.1", 0))?;
    let url = format!("http://{}/checkout/u-1", server.addrs()[0]);
    let server = server.run();
    let stop = server.handle();
    let serving = actix_rt::spawn(server);

    tell(&format!("serving {url}"));
    if env::args().all(|arg| arg != "--serve") {
        let page = awc::Client::new().get(&url).send().await.map_err(|error| error.to_string())?;
        assert_eq!({ page }.body().await?, "the new checkout");
        stop.stop(true).await;
    }
    serving.await??;

    // What the last requests asked is answered before the process ends.
    let report = statsig.shutdown(Duration::from_secs(5)).await;
    tell(&format!("{report:?}"));
    Ok(())
}

#[expect(clippy::print_stdout, reason = "it is what the example is for")]
fn tell(what: &str) {
    println!("{what}");
}

//! Tests an app that uses feature flags. `LocalStatsig` replaces Statsig: it applies the test's
//! rules and records the requests it gets. Copy the tests into your app.
//!
//! `cargo test --features test-util,web --example testing`

use actix_statsig::{
    Statsig, User,
    web::{Flags, FlagsConfig, RequestUser},
};
use actix_web::{HttpRequest, error::ErrorUnauthorized, get, web::ServiceConfig};

#[get("/checkout")]
async fn checkout(flags: Flags) -> &'static str {
    match flags.check_gate_or("new_checkout", false).await {
        true => "the new checkout",
        false => "the old checkout",
    }
}

fn identify(request: &HttpRequest) -> actix_web::Result<User> {
    let id = request.cookie("id").ok_or_else(|| ErrorUnauthorized("log in first"))?;
    Ok(RequestUser::new().user(request).user_id(id.value()).build()?)
}

/// Configures the app. In your app, call such a function from `main` and from the tests.
#[cfg_attr(not(test), expect(dead_code, reason = "the example has only tests"))]
fn shop(statsig: &Statsig) -> impl Fn(&mut ServiceConfig) + Clone + use<> {
    let flags = FlagsConfig::new(statsig.clone(), identify);
    move |app| {
        app.app_data(flags.clone()).service(checkout);
    }
}

#[expect(clippy::print_stdout, reason = "the example prints how to run its tests")]
fn main() {
    println!("run: cargo test --features test-util,web --example testing");
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use actix_statsig::{
        Config, ErrorKind,
        test_util::{Fault, LocalStatsig, Rule, Rules},
    };
    use actix_web::{
        App,
        test::{TestRequest, call_and_read_body, init_service},
    };
    use serde_json::json;

    use super::*;

    /// Starts a component for one test, without a cache, so each check follows the current rules.
    fn statsig(server: &LocalStatsig) -> Statsig {
        let config = Config::builder("any-key").base_url(server.url()).cache_ttl(Duration::ZERO);
        Statsig::start(config.build().unwrap()).unwrap()
    }

    /// Requests the page and returns its body.
    async fn visit(statsig: &Statsig, language: &'static str) -> String {
        let app = init_service(App::new().configure(shop(statsig))).await;
        let request = TestRequest::with_uri("/checkout")
            .insert_header(("cookie", "id=u-1"))
            .insert_header(("accept-language", language));
        let body = call_and_read_body(&app, request.to_request()).await;
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[actix_web::test]
    async fn new_checkout_is_for_dutch_readers() {
        let dutch = Rule::new(true).when("locale", "nl-NL");
        let server = LocalStatsig::start(Rules::new().gate("new_checkout", dutch)).unwrap();
        let statsig = statsig(&server);

        assert_eq!(visit(&statsig, "nl-NL").await, "the new checkout");
        assert_eq!(visit(&statsig, "de-DE").await, "the old checkout");
    }

    #[actix_web::test]
    async fn visit_asks_for_one_gate_as_its_user() {
        let server = LocalStatsig::start(Rules::new()).unwrap();

        visit(&statsig(&server), "nl-NL").await;

        let [asked] = &server.requests()[..] else { panic!("{:?}", server.requests()) };
        assert_eq!(asked.names, ["new_checkout"]);
        assert_eq!(asked.user, json!({"userID": "u-1", "locale": "nl-NL"}));
    }

    #[actix_web::test]
    async fn old_checkout_is_shown_and_reported_while_statsig_fails() {
        let server = LocalStatsig::start(Rules::new().gate("new_checkout", true)).unwrap();
        server.inject(Fault::status(503).always());
        let statsig = statsig(&server);

        assert_eq!(visit(&statsig, "nl-NL").await, "the old checkout");

        assert_eq!(statsig.stats().fallbacks[&ErrorKind::Unavailable], 1);
    }
}

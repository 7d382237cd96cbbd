//! The middleware `RequireGate`: which requests pass, and what it answers when Statsig fails.

use std::{
    sync::{Mutex, mpsc},
    time::Duration,
};

use actix_statsig::{
    Error, Statsig,
    test_util::{Fault, LocalStatsig, Rule, Rules},
    web::{Flags, RequireGate},
};
use actix_web::{
    App, HttpResponse,
    middleware::DefaultHeaders,
    test::{TestRequest, call_service, init_service},
    web,
};

use crate::app::{answer, asked, config, fallbacks, flags, get, start};

async fn inside() -> &'static str {
    "inside"
}

/// Open for Nils, closed for all other users.
fn rules() -> Rules {
    Rules::new().gate("insiders", Rule::new(false).override_for("nils", true))
}

fn get_as(user: &str, path: &str) -> TestRequest {
    TestRequest::get().uri(path).insert_header(("x-user", user))
}

#[actix_rt::test]
async fn closed_gate_answers_404_for_app_scope_and_resource() {
    let (_server, statsig) = start(rules());
    let flags = flags(&statsig);
    let gate = || RequireGate::new("insiders");
    let around_a_scope = web::scope("/scope").wrap(gate()).route("", web::get().to(inside));
    let around_a_resource = web::resource("/resource").wrap(gate()).route(web::get().to(inside));
    let parts = App::new()
        .app_data(flags.clone())
        .service(around_a_scope)
        .service(around_a_resource)
        .route("/open", web::get().to(inside));
    let parts = init_service(parts).await;
    let whole =
        App::new().app_data(flags.clone()).wrap(gate()).route("/app", web::get().to(inside));
    let whole = init_service(whole).await;
    let wired_inside = web::scope("/scope").app_data(flags.clone()).wrap(gate());
    let nested = App::new().service(wired_inside.route("", web::get().to(inside)));
    let nested = init_service(nested).await;

    for path in ["/scope", "/resource"] {
        assert_eq!(answer(&parts, get_as("nils", path)).await, (200, "inside".into()));
        assert_eq!(answer(&parts, get_as("olga", path)).await, (404, String::new()));
    }
    assert_eq!(answer(&parts, TestRequest::get().uri("/open")).await, (200, "inside".into()));
    assert_eq!(answer(&whole, get_as("nils", "/app")).await, (200, "inside".into()));
    assert_eq!(answer(&whole, get_as("olga", "/app")).await, (404, String::new()));
    assert_eq!(answer(&nested, get_as("nils", "/scope")).await, (200, "inside".into()));
    assert_eq!(answer(&nested, get_as("olga", "/scope")).await, (404, String::new()));
}

#[actix_rt::test]
async fn app_chooses_the_answer_of_a_closed_gate() {
    let (_server, statsig) = start(rules());
    let waiting_list = RequireGate::new("insiders").when_closed(|request| {
        let list = format!("/waiting-list?for={}", request.path());
        HttpResponse::SeeOther().insert_header(("location", list)).finish()
    });
    let app = App::new().app_data(flags(&statsig)).wrap(waiting_list);
    let app = init_service(app.route("/vault", web::get().to(inside))).await;

    let response = call_service(&app, get_as("olga", "/vault").to_request()).await;

    assert_eq!(response.status().as_u16(), 303);
    assert_eq!(response.headers().get("location").unwrap(), "/waiting-list?for=/vault");
    assert_eq!(answer(&app, get_as("nils", "/vault")).await, (200, "inside".into()));
}

#[actix_rt::test]
async fn handler_behind_the_gate_causes_no_second_exposure() {
    async fn page(flags: Flags) -> Result<String, Error> {
        Ok(format!("{:?}", flags.check_gates(["insiders", "chat"]).await?))
    }
    let (server, statsig) = start(rules());
    let scope = web::scope("/vault").wrap(RequireGate::new("insiders"));
    let app = App::new()
        .app_data(flags(&statsig))
        .wrap(RequireGate::new("insiders"))
        .service(scope.route("", web::get().to(page)));
    let app = init_service(app).await;

    assert_eq!(answer(&app, get_as("nils", "/vault")).await, (200, "[true, false]".into()));

    assert_eq!(asked(&server), [["insiders"], ["chat"]]);
}

#[actix_rt::test]
async fn gate_falls_back_as_the_app_chose_and_reports_each() {
    let server = LocalStatsig::start(rules()).unwrap();
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let config = config(&server).on_fallback(move |fallback| {
        tell.lock()
            .unwrap()
            .send((fallback.name.to_string(), fallback.error.kind().as_str()))
            .unwrap();
    });
    let statsig = Statsig::start(config.build().unwrap()).unwrap();
    let gate = || RequireGate::new("insiders");
    let gone = || HttpResponse::Gone().finish();
    let scope = |path, gate| web::scope(path).wrap(gate).route("", web::get().to(inside));
    let app = App::new()
        .app_data(flags(&statsig))
        .service(scope("/error", gate()))
        .service(scope("/open", gate().fail_open().when_closed(move |_| gone())))
        .service(scope("/closed", gate().when_closed(move |_| gone()).fail_closed()));
    let app = init_service(app).await;
    server.inject(Fault::status(502).always());

    assert_eq!(answer(&app, get("/error")).await, (503, "Service Unavailable".into()));
    assert_eq!(fallbacks(&statsig), [].into(), "an error is no fallback");
    assert_eq!(answer(&app, get("/open")).await, (200, "inside".into()));
    assert_eq!(fallbacks(&statsig), [("unavailable", 1)].into());
    assert_eq!(answer(&app, get("/closed")).await, (410, String::new()));
    assert_eq!(fallbacks(&statsig), [("unavailable", 2)].into());
    for _ in 0..2 {
        let told = told.recv_timeout(Duration::from_secs(60)).expect("the hook gets the error");
        assert_eq!(told, ("insiders".to_owned(), "unavailable"));
    }

    server.clear_faults();
    for (path, status) in [("/error", 404), ("/open", 410), ("/closed", 410)] {
        assert_eq!(answer(&app, get_as("olga", path)).await, (status, String::new()));
        assert_eq!(answer(&app, get_as("nils", path)).await, (200, "inside".into()));
    }
    assert_eq!(fallbacks(&statsig), [("unavailable", 2)].into());
}

#[actix_rt::test]
async fn misconfigured_gates_and_unknown_users_always_fail() {
    let (server, statsig) = start(rules());
    let gate = || RequireGate::new("insiders").fail_open();
    let no_gate = web::scope("/typo").wrap(RequireGate::new("in/siders").fail_open());
    let wired = App::new()
        .app_data(flags(&statsig))
        .service(no_gate.route("", web::get().to(inside)))
        .service(web::resource("/").wrap(gate()).route(web::get().to(inside)));
    let wired = init_service(wired).await;
    let unwired = App::new().wrap(gate()).route("/", web::get().to(inside));
    let unwired = init_service(unwired).await;

    let nobody = TestRequest::get().uri("/");
    assert_eq!(answer(&wired, nobody).await, (401, "who are you?".into()));
    for answer in [answer(&unwired, get("/")).await, answer(&wired, get("/typo")).await] {
        assert_eq!(answer, (500, "Internal Server Error".into()));
    }
    assert_eq!((server.calls(), fallbacks(&statsig)), (0, [].into()));
}

#[actix_rt::test]
async fn middlewares_around_it_see_its_responses() {
    let (server, statsig) = start(rules());
    server.inject(Fault::status(500));
    let around = DefaultHeaders::new().add(("x-frame-options", "DENY"));
    let gate = RequireGate::new("insiders");
    let app = App::new().app_data(flags(&statsig)).wrap(gate).wrap(around);
    let app = init_service(app.route("/", web::get().to(inside))).await;

    for status in [503, 404] {
        let response = call_service(&app, get_as("olga", "/").to_request()).await;
        assert_eq!(response.status().as_u16(), status);
        assert_eq!(response.headers().get("x-frame-options").unwrap(), "DENY");
    }
}

//! The extractor `Flags`: one snapshot for one request, and what happens when there is none.

use std::{
    rc::Rc,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc,
    },
    time::Duration,
};

use actix_rt::{task::yield_now, time::timeout};
use actix_statsig::{
    CheckGates, Error, ErrorKind, FlushPolicy, Statsig, User,
    test_util::{Fault, LocalStatsig, Rule, Rules},
    web::{Flags, FlagsConfig, IdentifyError, RequireGate},
};
use actix_web::{
    App, FromRequest, HttpMessage as _, HttpRequest, HttpResponse, Result,
    body::MessageBody,
    dev::{Payload, Service as _, ServiceRequest, ServiceResponse},
    error::InternalError,
    middleware::{Next, from_fn},
    test::{TestRequest, call_service, init_service, read_body},
    web::{self, Data},
};
use futures_util::future::{FutureExt as _, LocalBoxFuture, join, join_all, join3};
use serde_json::json;

use crate::{
    app::{answer, asked, config, fallbacks, flags, get, identify, start},
    support::log::Log,
};

#[actix_rt::test]
async fn name_has_one_answer_in_a_request_despite_rule_changes() {
    async fn before_and_after(flags: Flags, server: Data<LocalStatsig>) -> Result<String> {
        let before = (flags.check_gate("winter_sale").await?, theme(&flags).await?);
        let now = !before.0;
        server
            .set_rules(Rules::new().gate("winter_sale", now).config("shop", json!({"theme": now})));
        let after = (flags.check_gate("winter_sale").await?, theme(&flags).await?);
        Ok(format!("{before:?} {after:?}"))
    }
    async fn theme(flags: &Flags) -> Result<bool, Error> {
        flags.get_config("shop").await?.get("theme")
    }
    let rules = Rules::new().gate("winter_sale", true).config("shop", json!({"theme": true}));
    for cache_ttl in [Duration::ZERO, Duration::from_millis(1)] {
        let server = LocalStatsig::start(rules.clone()).unwrap();
        let config = config(&server).cache_ttl(cache_ttl).stale_if_error(Duration::ZERO);
        let statsig = Statsig::start(config.build().unwrap()).unwrap();
        let server = Data::new(server);
        let app = App::new().app_data(flags(&statsig)).app_data(server.clone());
        let app = init_service(app.route("/", web::get().to(before_and_after))).await;

        assert_eq!(answer(&app, get("/")).await.1, "(true, true) (true, true)");

        assert_eq!(asked(&server), [["winter_sale"], ["shop"]]);
    }
    let (server, statsig) = start(rules);
    let server = Data::new(server);
    let app = App::new().app_data(flags(&statsig)).app_data(server.clone());
    let app = init_service(app.route("/", web::get().to(before_and_after))).await;
    assert_eq!(answer(&app, get("/")).await.1, "(true, true) (true, true)");
    assert_eq!(answer(&app, get("/")).await.1, "(false, false) (false, false)", "another request");
}

#[actix_rt::test]
async fn name_asked_many_times_at_once_is_sent_once() {
    async fn page(flags: Flags) -> Result<String> {
        let one = join_all((0..50).map(|_| flags.check_gate("dark_mode")));
        let several = flags.check_gates(["dark_mode", "search_v2", "dark_mode"]);
        let configs = join_all((0..50).map(|_| flags.get_config("banner")));
        let (one, several, configs) = join3(one, several, configs).await;
        assert!(one.into_iter().all(|open| open.unwrap()));
        assert!(configs.into_iter().all(|config| config.unwrap().get::<u8>("size").unwrap() == 7));
        Ok(format!("{:?}", several?))
    }
    let rules = Rules::new().gate("dark_mode", true).config("banner", json!({"size": 7}));
    let (server, statsig) = start(rules);
    let app = App::new().app_data(flags(&statsig));
    let app = init_service(app.route("/", web::get().to(page))).await;

    assert_eq!(answer(&app, get("/")).await.1, "[true, false, true]");

    let mut names = asked(&server).concat();
    names.sort();
    assert_eq!(names, ["banner", "dark_mode", "search_v2"]);
}

#[actix_rt::test]
async fn unknown_names_of_one_call_are_sent_together() {
    async fn page(flags: Flags) -> Result<String> {
        let first = flags.check_gate("search_v2").await?;
        let all =
            flags.check_gates(["dark_mode", "search_v2", "recs", "dark_mode", "chat"]).await?;
        Ok(format!("{first} {all:?}"))
    }
    let rules = Rules::new().gate("dark_mode", true).gate("chat", true);
    let server = LocalStatsig::start(rules).unwrap();
    // Names that came apart would leave apart.
    let config = config(&server).flush_policy(FlushPolicy::Adaptive);
    let statsig = Statsig::start(config.build().unwrap()).unwrap();
    let app = App::new().app_data(flags(&statsig));
    let app = init_service(app.route("/", web::get().to(page))).await;

    assert_eq!(answer(&app, get("/")).await.1, "false [true, false, false, true, true]");

    assert_eq!(asked(&server), [vec!["search_v2"], vec!["dark_mode", "recs", "chat"]]);
}

#[actix_rt::test]
async fn answer_arrives_after_its_first_caller_left() {
    async fn page(flags: Flags, server: Data<LocalStatsig>) -> Result<String> {
        tokio::select! {
            biased;
            () = server.calls_reached(1) => {}
            gate = flags.check_gate("dark_mode") => panic!("held, and yet {gate:?}"),
        }
        Ok(flags.check_gate("dark_mode").await?.to_string())
    }
    let (server, statsig) = start(Rules::new().gate("dark_mode", true));
    server.inject(Fault::delay(Duration::from_millis(200)));
    let server = Data::new(server);
    let app = App::new().app_data(flags(&statsig)).app_data(server.clone());
    let app = init_service(app.route("/", web::get().to(page))).await;

    assert_eq!(answer(&app, get("/")).await, (200, "true".into()));
    assert_eq!(asked(&server), [["dark_mode"]]);
}

/// An extractor of an app's own that is made of `Flags`.
struct Layout(bool);

impl FromRequest for Layout {
    type Error = actix_web::Error;
    type Future = LocalBoxFuture<'static, Result<Self>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let flags = Flags::extract(request);
        Box::pin(async { Ok(Self(flags.await?.check_gate("wide").await?)) })
    }
}

/// Counts how often users are identified, which has to wait, as a look-up in a database does.
fn counting(
    count: &Arc<AtomicUsize>,
) -> impl AsyncFn(&HttpRequest) -> Result<User> + Clone + Send + Sync + 'static {
    let count = Arc::clone(count);
    async move |request: &HttpRequest| {
        count.fetch_add(1, SeqCst);
        yield_now().await;
        identify(request)
    }
}

#[actix_rt::test]
async fn extractors_and_middlewares_share_user_and_snapshot() {
    async fn ahead(
        flags: Flags,
        request: ServiceRequest,
        next: Next<impl MessageBody + 'static>,
    ) -> Result<ServiceResponse<impl MessageBody>> {
        assert!(flags.check_gate("wide").await?);
        next.call(request).await
    }
    async fn page(one: Flags, layout: Layout, other: Flags) -> Result<String> {
        assert_eq!(one.user(), other.user());
        let gates = (one.check_gate("wide").await?, layout.0, other.check_gate("wide").await?);
        Ok(format!("{gates:?} {:?}", other.user()))
    }
    let (server, statsig) = start(Rules::new().gate("wide", true));
    let count = Arc::default();
    let app = App::new()
        .app_data(FlagsConfig::new_async(statsig.clone(), counting(&count)))
        .wrap(from_fn(ahead));
    let app = init_service(app.route("/", web::get().to(page))).await;

    let user = r#"(true, true, true) User({"userID":"marie"})"#;
    assert_eq!(answer(&app, get("/")).await.1, user);

    assert_eq!(count.load(SeqCst), 1);
    assert_eq!(asked(&server), [["wide"]]);
}

#[actix_rt::test]
async fn identify_may_read_a_session_from_a_middleware() {
    struct Session(String);
    async fn log_in(
        request: ServiceRequest,
        next: Next<impl MessageBody + 'static>,
    ) -> Result<ServiceResponse<impl MessageBody>> {
        request.extensions_mut().insert(Session("marie".to_owned()));
        next.call(request).await
    }
    #[allow(clippy::await_holding_refcell_ref, reason = "as an app may do")]
    async fn look_up(request: &HttpRequest) -> Result<User> {
        let extensions = request.extensions();
        let Session(id) = extensions.get().expect("the middleware ran");
        yield_now().await;
        Ok(User::new(id.as_str())?)
    }
    async fn page(one: Flags, layout: Layout, other: Flags) -> String {
        format!("{:?} {} {}", other.user(), layout.0, one.user() == other.user())
    }
    let (_server, statsig) = start(Rules::new().gate("wide", true));
    let app =
        App::new().app_data(FlagsConfig::new_async(statsig.clone(), look_up)).wrap(from_fn(log_in));
    let app = init_service(app.route("/", web::get().to(page))).await;

    let user = r#"User({"userID":"marie"}) true true"#;
    assert_eq!(answer(&app, TestRequest::get().uri("/")).await.1, user);
}

#[actix_rt::test]
async fn request_without_flags_identifies_and_asks_nothing() {
    let (server, statsig) = start(Rules::new());
    let count = Arc::default();
    let app = App::new()
        .app_data(FlagsConfig::new_async(statsig.clone(), counting(&count)))
        .route("/plain", web::get().to(|| async { "no flags" }))
        .route("/idle", web::get().to(|_flags: Flags| async { "flags" }));
    let app = init_service(app).await;

    assert_eq!(answer(&app, TestRequest::get().uri("/plain")).await, (200, "no flags".into()));
    assert_eq!(count.load(SeqCst), 0);
    assert_eq!(answer(&app, get("/idle")).await, (200, "flags".into()));
    assert_eq!((count.load(SeqCst), server.calls()), (1, 0));
}

#[actix_rt::test]
async fn identify_error_reaches_the_client_once() {
    fn log_in() -> InternalError<&'static str> {
        let mut response = HttpResponse::SeeOther();
        let response = response.insert_header(("location", "/login")).body("log in first");
        InternalError::from_response("no session", response)
    }
    async fn stubborn(one: Result<Flags>, other: Result<Flags>) -> String {
        format!("{} {}", one.unwrap_err(), other.unwrap_err())
    }
    let (_server, statsig) = start(Rules::new());
    let count = Arc::new(AtomicUsize::new(0));
    let its = Arc::clone(&count);
    let redirecting = FlagsConfig::new_async(statsig.clone(), async move |_: &HttpRequest| {
        its.fetch_add(1, SeqCst);
        yield_now().await;
        Err::<User, _>(log_in())
    });
    let app = App::new()
        .app_data(redirecting)
        .route("/", web::get().to(|_: Flags, _: Flags| async { "in" }))
        .route("/stubborn", web::get().to(stubborn));
    let app = init_service(app).await;

    let response = call_service(&app, get("/").to_request()).await;
    assert_eq!(response.status().as_u16(), 303);
    assert_eq!(response.headers().get("location").unwrap(), "/login");
    let error = response.response().error().unwrap().as_error::<IdentifyError>().unwrap();
    assert!(error.app_error().as_error::<InternalError<&str>>().is_some());
    assert_eq!(read_body(response).await, "log in first");
    assert_eq!(count.load(SeqCst), 1);

    assert_eq!(answer(&app, get("/stubborn")).await.1, "no session no session");
    assert_eq!(count.load(SeqCst), 2);

    let app = App::new().app_data(flags(&statsig));
    let app = init_service(app.route("/", web::get().to(|_: Flags| async { "in" }))).await;
    let nobody = TestRequest::get().uri("/");
    assert_eq!(answer(&app, nobody).await, (401, "who are you?".into()));
    let refused_by_the_api = TestRequest::get().uri("/").insert_header(("x-user", ""));
    assert_eq!(answer(&app, refused_by_the_api).await, (400, "Bad Request".into()));
}

#[actix_rt::test]
async fn error_answers_its_request_and_reveals_nothing() {
    async fn page(flags: Flags) -> Result<String, Error> {
        assert!(matches!(
            flags.check_gate("recs").await,
            Err(Error::Unavailable { status: 500, .. })
        ));
        Ok(flags.check_gates(["recs"]).await?[0].to_string())
    }
    let (server, statsig) = start(Rules::new().gate("recs", true));
    server.inject(Fault::status(500));
    let app = App::new().app_data(flags(&statsig));
    let app = init_service(app.route("/", web::get().to(page))).await;

    assert_eq!(answer(&app, get("/")).await, (503, "Service Unavailable".into()));
    assert_eq!(server.calls(), 1);
}

#[actix_rt::test]
async fn failing_gate_leaves_the_others_their_answers() {
    async fn page(flags: Flags) -> Result<String> {
        let left_out = flags.check_gates(["chat", "recs"]).await.unwrap_err();
        let bad = flags.check_gates(["wide", "wi/de"]).await.unwrap_err();
        assert!(matches!(
            (&left_out, &bad),
            (Error::MissingName { .. }, Error::InvalidName { .. })
        ));
        assert_eq!(flags.check_gate("recs").await.unwrap_err().to_string(), left_out.to_string());
        Ok(format!("{:?}", flags.check_gates(["chat", "wide"]).await?))
    }
    let (server, statsig) = start(Rules::new().gate("chat", true).gate("wide", true));
    server.inject(Fault::leave_out(["recs"]));
    let app = App::new().app_data(flags(&statsig));
    let app = init_service(app.route("/", web::get().to(page))).await;

    assert_eq!(answer(&app, get("/")).await, (200, "[true, true]".into()));
    assert_eq!(server.refused(), 0);
}

#[actix_rt::test]
async fn failing_config_leaves_the_others_their_answers() {
    async fn page(flags: Flags) -> Result<String> {
        let both = flags.get_configs(["shop", "banner"]).await.unwrap_err();
        let again = flags.get_config("banner").await.unwrap_err();
        assert_eq!([both.kind(), again.kind()], [ErrorKind::Unavailable; 2]);
        Ok(flags.get_config_or("shop", "theme", "light".to_owned()).await)
    }
    let (server, statsig) = start(Rules::new().config("shop", json!({"theme": "dark"})));
    server.inject(Fault::status(503).for_name("banner").always());
    let app = App::new().app_data(flags(&statsig));
    let app = init_service(app.route("/", web::get().to(page))).await;

    assert_eq!(answer(&app, get("/")).await, (200, "dark".into()));

    assert!(fallbacks(&statsig).is_empty());
    assert_eq!(server.calls(), 2, "each name is asked for once");
}

#[actix_rt::test]
async fn promise_3_refused_gate_leaves_its_neighbours_answers() {
    async fn page(flags: Flags) -> Result<String> {
        let both = flags.check_gates(["chat", "recs"]).await.unwrap_err();
        let alone = flags.check_gate("recs").await.unwrap_err();
        assert_eq!([both.kind(), alone.kind()], [ErrorKind::Refused; 2]);
        Ok(flags.check_gate("chat").await?.to_string())
    }
    let (server, statsig) = start(Rules::new().gate("chat", true));
    server.inject(Fault::status(400).for_name("recs").always());
    let app = App::new().app_data(flags(&statsig));
    let app = init_service(app.route("/", web::get().to(page))).await;

    assert_eq!(answer(&app, get("/")).await, (200, "true".into()));
}

#[actix_rt::test]
async fn each_fallback_is_counted_and_reported() {
    async fn page(flags: Flags) -> String {
        let columns = flags.get_config_or("shop", "columns", 3).await;
        let of_another_type = flags.get_config_or("shop", "theme", 4).await;
        let theme = flags.get_config_or("shop", "theme", "light".to_owned()).await;
        let gates =
            (flags.check_gate_or("chat", true).await, flags.check_gate_or("chat", false).await);
        format!(
            "{columns} {of_another_type} {theme} {gates:?} {}",
            flags.check_gate_or("wide", false).await
        )
    }
    let rules = Rules::new().config("shop", json!({"theme": "dark"})).gate("wide", true);
    let server = LocalStatsig::start(rules).unwrap();
    server.inject(Fault::status(503).for_name("chat").always());
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let config = config(&server).on_fallback(move |fallback| {
        let told = (fallback.name.to_string(), fallback.key.as_deref().map(str::to_owned));
        tell.lock().unwrap().send((told, fallback.error.kind().as_str())).unwrap();
    });
    let statsig = Statsig::start(config.build().unwrap()).unwrap();
    let app = App::new().app_data(flags(&statsig));
    let app = init_service(app.route("/", web::get().to(page))).await;

    assert_eq!(answer(&app, get("/")).await.1, "3 4 dark (true, false) true");

    let counted = [("missing_key", 1), ("unavailable", 2), ("wrong_type", 1)];
    assert_eq!(fallbacks(&statsig), counted.into());
    let next = || told.recv_timeout(Duration::from_secs(60)).expect("the hook is told");
    let told = [next(), next(), next(), next()];
    let of = |name: &str, key: Option<&str>| (name.to_owned(), key.map(str::to_owned));
    assert_eq!(
        told,
        [
            (of("shop", Some("columns")), "missing_key"),
            (of("shop", Some("theme")), "wrong_type"),
            (of("chat", None), "unavailable"),
            (of("chat", None), "unavailable"),
        ]
    );
}

#[actix_rt::test]
async fn request_without_exposure_stays_out_of_the_snapshot() {
    async fn page(flags: Flags) -> Result<String> {
        let quietly = CheckGates::new(flags.user().clone(), ["chat"]).without_exposure();
        let quiet = flags.statsig().ask(quietly).await?[0].value();
        Ok(format!("{quiet} {}", flags.check_gate("chat").await?))
    }
    let (server, statsig) = start(Rules::new().gate("chat", true));
    let app = App::new().app_data(flags(&statsig));
    let app = init_service(app.route("/", web::get().to(page))).await;

    assert_eq!(answer(&app, get("/")).await.1, "true true");

    let exposures: Vec<_> = server.requests().iter().map(|request| request.exposure).collect();
    assert_eq!(exposures, [false, true]);
}

#[actix_rt::test]
async fn evaluations_say_which_rule_decided() {
    async fn page(flags: Flags) -> Result<String> {
        let gate = flags.gate_evaluation("beta-search").await?;
        let gates = flags.gate_evaluations(["beta-search"]).await?;
        let configs = flags.get_configs(["shop", "unknown"]).await?;
        assert_eq!(gates[0], gate);
        Ok(format!("{:?} {:?}", gate.group_name(), configs[0].rule_id()))
    }
    let rules = Rules::new()
        .gate("beta-search", Rule::new(true).named("r-7", "Early birds"))
        .config("shop", Rule::from(json!({"theme": "dark"})).named("r-8", "Everybody"));
    let (_server, statsig) = start(rules);
    let app = App::new().app_data(flags(&statsig));
    let app = init_service(app.route("/", web::get().to(page))).await;

    assert_eq!(answer(&app, get("/")).await.1, r#"Some("Early birds") Some("r-8")"#);
}

#[actix_rt::test]
async fn nearest_scope_configuration_wins() {
    async fn whose(flags: Flags) -> String {
        format!("{:?}", flags.user())
    }
    async fn first_of_all(
        flags: Flags,
        request: ServiceRequest,
        next: Next<impl MessageBody + 'static>,
    ) -> Result<ServiceResponse<impl MessageBody>> {
        assert_eq!(*flags.user(), User::new("marie").unwrap());
        next.call(request).await
    }
    let (_server, statsig) = start(Rules::new());
    let company = |_: &HttpRequest| User::builder().custom_id("companyID", "acme").build();
    let scope = web::scope("/company").app_data(FlagsConfig::new(statsig.clone(), company));
    let app = App::new()
        .app_data(flags(&statsig))
        .wrap(from_fn(first_of_all))
        .service(scope.route("", web::get().to(whose)))
        .route("/", web::get().to(whose));
    let app = init_service(app).await;

    assert_eq!(answer(&app, get("/")).await.1, r#"User({"userID":"marie"})"#);
    let company = r#"User({"customIDs":{"companyID":"acme"}})"#;
    assert_eq!(answer(&app, get("/company")).await.1, company);
}

#[actix_rt::test]
async fn flags_config_nearest_to_the_handler_overrides_the_others() {
    async fn shown(flags: Flags) -> String {
        format!("{:?}", flags.user())
    }
    let (_server, statsig) = start(Rules::new());
    let of = |id: &'static str| FlagsConfig::new(statsig.clone(), move |_| User::new(id));
    let shows = |path| web::resource(path).get(shown);
    let scope = web::scope("/scope").app_data(of("scope"));
    let scope = scope.service(shows("/own").app_data(of("resource"))).service(shows("/inherited"));
    let app = App::new().app_data(of("app")).service(scope).service(shows("/app"));
    let app = init_service(app).await;

    for (path, id) in [("/app", "app"), ("/scope/inherited", "scope"), ("/scope/own", "resource")] {
        let user = format!(r#"User({{"userID":"{id}"}})"#);
        assert_eq!(answer(&app, get(path)).await.1, user, "{path}");
    }
}

#[actix_rt::test]
async fn missing_configuration_is_logged_and_not_revealed() {
    let log = Log::default();
    let _subscription = log.subscribe();
    let (_server, statsig) = start(Rules::new());
    let asks = || web::get().to(|_: Flags| async { "flags" });
    let wired = web::scope("/wired").app_data(flags(&statsig)).route("", asks());
    let scope = web::scope("/scope").route("/{page}", asks());
    let app = App::new().route("/app", asks()).service(scope).service(wired);
    let app = init_service(app).await;

    for path in ["/app", "/scope/shop"] {
        assert_eq!(answer(&app, get(path)).await, (500, "Internal Server Error".into()));
    }
    assert_eq!(answer(&app, get("/wired")).await, (200, "flags".into()));

    let log = log.to_string();
    let errors: Vec<_> = log.lines().filter(|line| line.contains("ERROR")).collect();
    assert_eq!(errors.len(), 2, "{log}");
    let missing = ".app_data(FlagsConfig::new(";
    assert!(errors.iter().all(|line| line.contains(missing)), "{log}");
    assert!(errors[1].contains("/scope/{page}"), "{log}");
    let request = get("/").to_http_request();
    let error = Flags::extract(&request).await.unwrap_err();
    assert!(error.to_string().contains(missing), "{error}");
}

#[actix_rt::test]
async fn invalid_name_is_logged_as_an_error_with_the_rule() {
    async fn gates(flags: Flags) -> Result<String> {
        Ok(format!("{:?}", flags.check_gates(["a", "b"]).await?))
    }
    async fn config(flags: Flags) -> Result<String> {
        Ok(format!("{:?}", flags.get_config("a").await?))
    }
    async fn default(flags: Flags) -> String {
        format!("{}", flags.check_gate_or("a", true).await)
    }
    let (server, statsig) = start(Rules::new());
    for (path, status) in [("/gates", 500), ("/config", 500), ("/default", 200), ("/guard", 500)] {
        let log = Log::default();
        let _subscription = log.subscribe();
        let guard = web::scope("/guard").wrap(RequireGate::new("a").fail_open());
        let app = App::new()
            .app_data(flags(&statsig))
            .route("/gates", web::get().to(gates))
            .route("/config", web::get().to(config))
            .route("/default", web::get().to(default))
            .service(guard);

        assert_eq!(answer(&init_service(app).await, get(path)).await.0, status, "{path}");

        let log = log.to_string();
        let errors: Vec<_> = log.lines().filter(|line| line.contains("ERROR")).collect();
        let [error] = errors[..] else { panic!("{path}: {log}") };
        assert!(error.contains(r#"name "a" must have 2 to 100 characters"#), "{path}: {error}");
    }
    assert_eq!(server.calls(), 0);
}

#[actix_rt::test]
async fn invalid_user_gets_400_and_a_warning_that_names_the_field() {
    let log = Log::default();
    let _subscription = log.subscribe();
    let (_server, statsig) = start(Rules::new());
    let app = App::new().app_data(flags(&statsig));
    let app = init_service(app.route("/", web::get().to(|_: Flags| async { "flags" }))).await;

    let request = TestRequest::get().uri("/").insert_header(("x-user", ""));
    assert_eq!(answer(&app, request).await, (400, "Bad Request".into()));

    let log = log.to_string();
    let warnings: Vec<_> = log.lines().filter(|line| line.contains("WARN")).collect();
    let [warning] = warnings[..] else { panic!("{log}") };
    assert!(warning.contains("user field `userID`"), "{warning}");
}

#[actix_rt::test]
async fn refused_key_gets_502_and_a_warning() {
    let log = Log::default();
    let _subscription = log.subscribe();
    let server = LocalStatsig::start(Rules::new()).unwrap();
    server.inject(Fault::status(401).always());
    let statsig = Statsig::start_in_current_arbiter(config(&server).build().unwrap()).unwrap();
    let app = App::new().app_data(flags(&statsig)).wrap(RequireGate::new("beta"));

    let answer = answer(&init_service(app).await, get("/")).await;

    assert_eq!(answer, (502, "Bad Gateway".into()));
    let log = log.to_string();
    let warning = log.lines().find(|line| line.contains("WARN")).expect("a warning");
    assert!(warning.contains("calls to Statsig fail"), "{log}");
    assert!(warning.contains("Statsig refused the API key"), "{log}");
}

/// Longer than any of this takes; only a hang waits for it.
const LONG: Duration = Duration::from_secs(30);

#[actix_rt::test]
async fn identify_that_extracts_flags_is_an_error_that_says_so() {
    async fn asks(request: &HttpRequest) -> Result<User> {
        yield_now().await;
        let flags = Flags::extract(request).await?;
        Ok(flags.user().clone())
    }
    fn asks_at_once(request: &HttpRequest) -> Result<User> {
        let flags = Flags::extract(request).now_or_never().expect("it does not wait")?;
        Ok(flags.user().clone())
    }
    /// Asks for flags beside other things, in a task that polls several.
    async fn asks_beside(request: &HttpRequest) -> Result<User> {
        let (_, flags) = join(yield_now(), Flags::extract(request)).await;
        flags.map(|flags| flags.user().clone())
    }
    let log = Log::default();
    let _subscription = log.subscribe();
    let (server, statsig) = start(Rules::new());
    let handler = || web::get().to(|_: Flags, _: Flags| async { "flags" });
    let behind_a_gate = || web::scope("/gate").wrap(RequireGate::new("beta").fail_open());
    let scope = |path| web::scope(path).route("/page", handler());
    let app = App::new()
        .service(scope("/async").app_data(FlagsConfig::new_async(statsig.clone(), asks)))
        .service(scope("/sync").app_data(FlagsConfig::new(statsig.clone(), asks_at_once)))
        .service(scope("/beside").app_data(FlagsConfig::new_async(statsig.clone(), asks_beside)))
        .service(
            scope("/wired")
                .app_data(FlagsConfig::new_async(statsig.clone(), asks))
                .service(behind_a_gate()),
        )
        .app_data(FlagsConfig::new(statsig.clone(), asks_at_once))
        .service(behind_a_gate());
    let app = init_service(app).await;

    let paths = ["/async/page", "/sync/page", "/beside/page", "/wired/gate", "/gate"];
    for path in paths {
        let answered = timeout(LONG, answer(&app, get(path))).await.expect("it does not hang");
        assert_eq!(answered, (500, "Internal Server Error".into()), "{path}");
    }

    let log = log.to_string();
    let errors: Vec<_> = log.lines().filter(|line| line.contains("ERROR")).collect();
    assert_eq!(errors.len(), paths.len(), "{log}");
    assert!(errors.iter().all(|line| line.contains("`identify` extracts `Flags`")), "{log}");
    assert!(errors[0].contains("/async/page"), "{log}");
    assert_eq!(server.calls(), 0);
}

#[actix_rt::test]
async fn identify_may_go_on_without_the_flags_that_it_did_not_get() {
    async fn stubborn(request: &HttpRequest) -> Result<User> {
        assert!(Flags::extract(request).await.is_err());
        yield_now().await;
        assert!(Flags::extract(request).await.is_err());
        identify(request)
    }
    // Two who want to know at once: the second waits, and is not taken for `identify`.
    async fn page(flags: Flags, other: Flags) -> String {
        format!("{:?} {}", flags.user(), flags.user() == other.user())
    }
    let _subscription = Log::default().subscribe();
    let (_server, statsig) = start(Rules::new());
    let app = App::new().app_data(FlagsConfig::new_async(statsig.clone(), stubborn));
    let app = init_service(app.route("/", web::get().to(page))).await;
    let user = r#"User({"userID":"marie"}) true"#;
    let answered = timeout(LONG, answer(&app, get("/"))).await.expect("it does not hang");
    assert_eq!(answered, (200, user.into()));
}

#[actix_rt::test]
async fn flags_are_of_the_user_in_the_components_environment() {
    async fn page(flags: Flags) -> Result<String> {
        let gate = flags.check_gate("staged").await?;
        let again = flags.statsig().check_gate(flags.user(), "staged").await?;
        Ok(format!("{:?} {gate} {again}", flags.user()))
    }
    let rule = Rule::new(true).when("statsigEnvironment.tier", "staging");
    let server = LocalStatsig::start(Rules::new().gate("staged", rule)).unwrap();
    let config = config(&server).environment("staging").build().unwrap();
    let statsig = Statsig::start(config).unwrap();
    let gated =
        web::scope("/gated").wrap(RequireGate::new("staged")).route("", web::get().to(page));
    let app = App::new().app_data(flags(&statsig)).route("/", web::get().to(page));
    let app = init_service(app.service(gated)).await;
    let page = r#"User({"statsigEnvironment":{"tier":"staging"},"userID":"marie"}) true true"#;
    assert_eq!(answer(&app, get("/")).await, (200, page.into()));
    assert_eq!(answer(&app, get("/gated")).await, (200, page.into()));
}

#[test]
fn debug_shows_no_private_attribute() {
    let system = actix_rt::System::new();
    let (_server, statsig) = start(Rules::new());
    let identify = |_: &HttpRequest| {
        User::builder().user_id("marie").private_attribute("income", "hunter2").build()
    };
    async fn shown(flags: Flags) -> String {
        format!("{flags:?}")
    }
    let flags = FlagsConfig::new(statsig.clone(), identify);
    let app = App::new().app_data(flags).route("/", web::get().to(shown));
    let (_, shown) = system.block_on(async { answer(&init_service(app).await, get("/")).await });
    assert!(shown.contains("marie") && !shown.contains("hunter2"), "{shown}");
}

#[actix_rt::test]
async fn client_leaving_during_identify_leaves_nothing_behind() {
    struct Held(#[allow(dead_code, reason = "kept, to see when it goes")] Rc<()>);
    let (_server, statsig) = start(Rules::new());
    let forever = async |request: &HttpRequest| {
        std::future::pending::<()>().await;
        identify(request)
    };
    let app = App::new().app_data(FlagsConfig::new_async(statsig.clone(), forever));
    let app = init_service(app.route("/", web::get().to(|_: Flags| async { "flags" }))).await;
    let held = Rc::new(());
    let request = get("/").to_request();
    request.extensions_mut().insert(Held(Rc::clone(&held)));

    assert!(app.call(request).now_or_never().is_none());

    assert_eq!(Rc::strong_count(&held), 1);
}

//! Promise 6, for an app: `web::serve` shuts the server and the component down gracefully.
//!
//! Each test starts its own program: the same test in another process, where an environment
//! variable marks it as the program.
#![cfg(unix)]

use std::{process::Command, time::Duration};

use actix_statsig::{Config, ConfigBuilder, Error, Statsig, User, web as statsig_web};
use actix_web::{App, HttpRequest, HttpServer, web};
use futures_util::future::join_all;
use statsig_web::{Flags, FlagsConfig};
use tokio::sync::oneshot;

use crate::{
    program::{self, Program, limited},
    support::{
        until,
        upstream::{Mood, Upstream},
    },
};

/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(600);

fn config(upstream: &str) -> ConfigBuilder {
    Config::builder("secret-key")
        .base_url(upstream)
        .timeout(LONG)
        .attempt_timeout(LONG)
        .cache_ttl(Duration::ZERO)
}

/// `GET /{user}`: requests a gate and then a config, and shows the user of each answer and whether
/// the component still accepts requests.
async fn page(flags: Flags, statsig: web::Data<Statsig>) -> Result<String, Error> {
    program::say("a request");
    let gate = flags.gate_evaluation("new_checkout").await?;
    let config = flags.get_config("homepage").await?;
    let ready = if statsig.stats().is_ready() { "ready" } else { "leaving" };
    let [gate, config] = [gate.rule_id(), config.rule_id()].map(Option::unwrap_or_default);
    Ok(format!("{gate} {config} {ready}"))
}

fn identify(request: &HttpRequest) -> Result<User, Error> {
    User::new(request.path().trim_start_matches('/'))
}

fn shown(user: &str) -> String {
    format!(r#"{{"userID":"{user}"}} {{"userID":"{user}"}} leaving"#)
}

/// The program: serves the page until a signal stops it.
fn serve(start: fn(Config) -> Result<Statsig, Error>, config: ConfigBuilder, limit: Duration) {
    actix_rt::System::new().block_on(async {
        let statsig = start(config.build().unwrap()).unwrap();
        let flags = FlagsConfig::new(statsig.clone(), identify);
        let data = web::Data::new(statsig.clone());
        let app = move || {
            let app = App::new().app_data(data.clone()).app_data(flags.clone());
            app.route("/{user}", web::get().to(page))
        };
        // With `system_exit`, the server stops the `System`, which would stop the component too.
        let server = HttpServer::new(app).workers(2).system_exit().bind("127.0.0.1:0").unwrap();
        let address = server.addrs()[0];
        let serving = statsig_web::serve(server, &statsig, limit);
        program::say(format_args!("listening on {address}"));
        let report = serving.await.unwrap();
        assert!(matches!(statsig.flush().await, Err(Error::ShuttingDown)));
        program::say(format_args!("{} cut off", report.cut_off));
    });
}

/// Sends forty requests. Statsig holds their answers until the program has been told to stop and
/// accepts no more connections.
async fn all_are_answered(command: Command, tell: impl AsyncFn(&Program)) {
    let upstream = Upstream::start(Mood::Hold);
    let mut program = Program::start(command, &upstream.url).await;
    let users: Vec<_> = (0..40).map(|n| format!("visitor-{n}")).collect();
    let pages: Vec<_> = users.iter().map(|user| program.get(user)).collect();
    let leave = async {
        for _ in &users {
            assert_eq!(program.says().await.as_deref(), Some("a request"));
        }
        tell(&program).await;
        program.refuses_connections().await;
        upstream.release();
    };

    let (pages, ()) = tokio::join!(join_all(pages), leave);

    for (user, page) in users.iter().zip(pages) {
        assert_eq!(page, Ok((200, shown(user))));
    }
    assert_eq!(program.ended().await, (Some(0), "0 cut off".into()));
}

#[test]
fn promise_6_sigterm_in_the_middle_of_requests_all_are_answered() {
    program::run(
        |upstream| serve(Statsig::start, config(upstream), LONG),
        |command| all_are_answered(command, async |program| program.signal("TERM")),
    );
}

#[test]
fn promise_6_holds_for_a_component_on_the_apps_arbiter() {
    program::run(
        |upstream| serve(Statsig::start_in_current_arbiter, config(upstream), LONG),
        |command| all_are_answered(command, async |program| program.signal("INT")),
    );
}

#[test]
fn promise_6_two_signals_at_once_are_one() {
    let twice = async |program: &Program| {
        for signal in ["STOP", "TERM", "INT", "CONT"] {
            program.signal(signal);
        }
    };
    program::run(
        |upstream| serve(Statsig::start, config(upstream), LONG),
        |command| all_are_answered(command, twice),
    );
}

#[test]
fn promise_6_draining_flags_skip_the_flush_interval() {
    let flush_interval = Duration::from_secs(60);
    program::run(
        |upstream| {
            let config = config(upstream).flush_interval(flush_interval);
            // Requests that wait for the flush interval would be cut off.
            serve(Statsig::start, config, flush_interval / 2);
        },
        |command| all_are_answered(command, async |program| program.signal("TERM")),
    );
}

#[test]
fn promise_6_requests_before_the_signal_are_answered() {
    program::run(
        |upstream| serve(Statsig::start, config(upstream), LONG),
        |command| async {
            let upstream = Upstream::start(Mood::Answer);
            let mut program = Program::start(command, &upstream.url).await;
            // The kernel accepts the connection and the request; the program sees neither until
            // `CONT`.
            program.signal("STOP");
            let arrived = program.send("visitor");
            program.signal("TERM");
            program.signal("CONT");

            let answer = program::read(arrived).await;

            assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer:?}");
            assert!(answer.ends_with(&shown("visitor")), "{answer:?}");
            assert_eq!(program.ended().await, (Some(0), "0 cut off".into()));
        },
    );
}

#[actix_rt::test]
async fn promise_6_app_that_ends_itself_answers_its_requests() {
    let upstream = Upstream::start(Mood::Hold);
    let statsig = Statsig::start(config(&upstream.url).build().unwrap()).unwrap();
    let (flags, data) =
        (FlagsConfig::new(statsig.clone(), identify), web::Data::new(statsig.clone()));
    let app = move || {
        let app = App::new().app_data(data.clone()).app_data(flags.clone());
        app.route("/{user}", web::get().to(page))
    };
    let server = HttpServer::new(app).workers(1).bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/visitor", server.addrs()[0]);
    let (tell, told) = oneshot::channel::<()>();
    let told = async { drop(told.await) };
    let serving = actix_rt::spawn(statsig_web::serve_until(server, &statsig, LONG, told));
    let client = awc::Client::builder().disable_timeout().finish();
    let visit = actix_rt::spawn(client.get(url).send());
    until(|| upstream.calls() == 1).await;

    tell.send(()).unwrap();
    until(|| statsig.stats().is_leaving).await;
    upstream.release();

    let mut answer = limited(visit).await.unwrap().unwrap();
    assert_eq!(
        (answer.status().as_u16(), &*answer.body().await.unwrap()),
        (200, shown("visitor").as_bytes())
    );
    assert_eq!(limited(serving).await.unwrap().unwrap().cut_off, 0);
    assert!(matches!(statsig.flush().await, Err(Error::ShuttingDown)));
}

/// Sends one request that is never answered.
async fn a_visitor_is_cut_off(command: Command, signals: &[&str]) {
    let upstream = Upstream::start(Mood::Hold);
    let mut program = Program::start(command, &upstream.url).await;
    let page = program.get("visitor");
    let leave = async {
        assert_eq!(program.says().await.as_deref(), Some("a request"));
        program.signal(signals[0]);
        program.refuses_connections().await;
        match signals.get(1) {
            Some(again) => program.ended_by(again).await,
            None => program.ended().await,
        }
    };

    let (page, (code, last)) = tokio::join!(page, leave);

    assert!(page.is_err() || page == Ok((503, "Service Unavailable".into())), "{page:?}");
    assert_eq!((code, last.as_str()), (Some(0), "1 cut off"));
}

#[test]
fn promise_6_at_the_limit_what_is_not_answered_is_cut_off() {
    program::run(
        |upstream| serve(Statsig::start, config(upstream), Duration::from_secs(1)),
        |command| a_visitor_is_cut_off(command, &["TERM"]),
    );
}

#[test]
fn promise_6_second_signal_cuts_off_the_rest() {
    program::run(
        |upstream| serve(Statsig::start_in_current_arbiter, config(upstream), LONG),
        |command| a_visitor_is_cut_off(command, &["INT", "INT"]),
    );
}

#[actix_rt::test]
async fn failed_server_says_why_and_ends_the_component() {
    let statsig = Statsig::start(config("http://127.0.0.1:9").build().unwrap()).unwrap();
    let app = || App::new().data_factory(|| async { Err::<(), _>("no database") });
    let server = HttpServer::new(app).workers(1).bind("127.0.0.1:0").unwrap();

    let ended = limited(statsig_web::serve(server, &statsig, LONG)).await;

    assert!(ended.is_err(), "{ended:?}");
    assert!(matches!(statsig.flush().await, Err(Error::ShuttingDown)));
}

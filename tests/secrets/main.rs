//! Promise 7: the key and private attributes appear in no log, `Debug`, error, counter or panic.
//!
//! A binary of its own, because these tests read everything that their process logs and panics
//! with.
#![cfg(feature = "test-util")]

#[path = "../support/mod.rs"]
mod support;

use std::{
    fmt::{Debug, Write as _},
    io,
    sync::{Mutex, MutexGuard, Once, PoisonError},
    time::Duration,
};

use actix_statsig::{
    Attribute, CheckGates, Config, ConfigBuilder, Error, GetConfigs, Statsig, User,
    test_util::{FAILPOINTS, Fault, LocalStatsig, Rules, panic_at},
};
use futures_util::future::join_all;
use serde_json::json;
use support::{
    Script,
    http_proxy::{Conduct, Listening},
    tls_server::{Authority, GATE, Server},
};
use tracing_subscriber::fmt::format::FmtSpan;

const KEY: &str = "secret-K3y0fTheComponent";
const PRIVATE: &str = "hunter2-and-private";
const PASSWORD: &str = "swordf1sh-of-the-proxy";
const PRIVATE_NUMBER: i64 = 730_218_645;

/// Everything that the process has logged, and all its panic messages.
static LOGGED: Mutex<String> = Mutex::new(String::new());

fn logged() -> MutexGuard<'static, String> {
    LOGGED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Captures `log` and `tracing`, both at TRACE, and panics.
fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Listener).expect("the first logger");
        log::set_max_level(log::LevelFilter::Trace);
        let tracing = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_span_events(FmtSpan::FULL)
            .with_ansi(false)
            .with_writer(|| Listener);
        tracing::subscriber::set_global_default(tracing.finish()).expect("the first subscriber");
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            writeln!(logged(), "{panic}").expect("a string");
            print(panic);
        }));
    });
}

struct Listener;

impl log::Log for Listener {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        writeln!(logged(), "{} {}", record.target(), record.args()).expect("a string");
    }

    fn flush(&self) {}
}

impl io::Write for Listener {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        logged().push_str(&String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Everything that an app might print.
#[derive(Default)]
struct Shown(String);

impl Shown {
    fn debug(&mut self, value: &dyn Debug) {
        write!(self.0, "{value:?}\n{value:#?}\n").expect("a string");
    }

    fn answer<T: Debug>(&mut self, answer: &Result<T, Error>) {
        self.debug(answer);
        let mut source = answer.as_ref().err().map(|error| error as &dyn std::error::Error);
        while let Some(error) = source {
            write!(self.0, "{error}\n{error:?}\n").expect("a string");
            source = error.source();
        }
    }
}

/// The first secret found in a text, in any of the renderings that it might have there.
fn secret_in(text: &str) -> Option<String> {
    let number = PRIVATE_NUMBER.to_string();
    let secrets = [KEY, PRIVATE, PASSWORD, &number];
    secrets.into_iter().flat_map(renderings).find(|rendering| text.contains(rendering))
}

fn renderings(secret: &str) -> Vec<String> {
    let each = |render: fn(u8) -> String, separator: &str| {
        secret.bytes().map(render).collect::<Vec<_>>().join(separator)
    };
    let bytes: [fn(u8) -> String; 4] =
        [|b| b.to_string(), |b| format!("{b:x}"), |b| format!("{b:#x}"), |b| format!("{b:X}")];
    let mut renderings = vec![
        secret.to_owned(),
        secret.to_uppercase(),
        secret.to_lowercase(),
        secret.chars().rev().collect(),
        each(|b| format!("%{b:02x}"), ""),
        each(|b| format!("%{b:02X}"), ""),
        each(|b| format!("\\x{b:02x}"), ""),
        each(|b| format!("\\u{b:04x}"), ""),
        secret.replace('-', "%2D"),
    ];
    for separator in ["", " ", ",", ", ", ",\n    ", ":"] {
        renderings.extend(bytes.iter().map(|render| each(*render, separator)));
    }
    for before in 0..3 {
        let encoded = base64(&[&[b'x'; 2][..before], secret.as_bytes()].concat());
        // Without the characters that depend on the text before and after the secret.
        let (from, to) = ([0, 2, 3][before], encoded.len() - 1);
        renderings.push(encoded[from..to].to_owned());
        renderings.push(encoded[from..to].replace('+', "-").replace('/', "_"));
    }
    renderings
}

/// Base64 without padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits: Vec<u8> = bytes.iter().flat_map(|b| (0..8).rev().map(move |n| b >> n & 1)).collect();
    let digit = |six: &[u8]| {
        let index = (0..6).fold(0, |index, n| index << 1 | six.get(n).copied().unwrap_or(0));
        DIGITS[usize::from(index)] as char
    };
    bits.chunks(6).map(digit).collect()
}

#[test]
fn secret_search_finds_every_rendering() {
    use awc::http::header::{HeaderMap, HeaderName, HeaderValue};
    let mut headers = HeaderMap::new();
    let (name, mut key) = (HeaderName::from_static("k"), HeaderValue::from_static(KEY));
    headers.insert(name.clone(), key.clone());
    for text in [
        format!("{headers:?}"),
        format!("{:?}", KEY.as_bytes()),
        format!("{:#?}", KEY.as_bytes()),
        format!("{:x?}", KEY.as_bytes()),
        format!("{:?}", json!({ "key": PRIVATE })),
        format!("{:?}", json!([PRIVATE_NUMBER])),
        // "a:", "ab:" and "abc:" before the key
        "YTpzZWNyZXQtSzN5MGZUaGVDb21wb25lbnQ=".to_owned(),
        "YWI6c2VjcmV0LUszeTBmVGhlQ29tcG9uZW50".to_owned(),
        "YWJjOnNlY3JldC1LM3kwZlRoZUNvbXBvbmVudA==".to_owned(),
        "7365637265742d4b33793066546865436f6d706f6e656e74".to_owned(),
        "secret%2DK3y0fTheComponent".to_owned(),
    ] {
        assert!(secret_in(&text).is_some(), "{text}");
    }
    key.set_sensitive(true);
    headers.insert(name, key);
    assert_eq!(secret_in(&format!("{headers:?} secret-key hunter2")), None);
}

/// Short timeouts, because these tests wait for calls that are never answered.
fn settings() -> ConfigBuilder {
    Config::builder(KEY)
        .timeout(Duration::from_secs(1))
        .attempt_timeout(Duration::from_millis(200))
        .retry_attempts(2)
        .cache_ttl(Duration::ZERO)
}

fn patient() -> ConfigBuilder {
    let minute = Duration::from_secs(60);
    settings().timeout(minute).attempt_timeout(minute)
}

/// A user with private attributes, and one without, whose answers errors may quote.
fn users() -> [User; 2] {
    let user = || User::builder().user_id("u-1").custom("plan", "pro");
    let private = user()
        .private_attribute("pin", PRIVATE)
        .private_attribute("pins", [PRIVATE])
        .private_attribute("salary", PRIVATE_NUMBER);
    [private.build().expect("a user"), user().build().expect("a user")]
}

/// All kinds of bad answers. Many repeat what the server was sent: the key and `private`.
fn faults(private: &str) -> Vec<Fault> {
    let echo = format!("{KEY} {{\"k\": \"{KEY}{private}\"}} ").repeat(20);
    let status = |code| Fault::status(code).with_body(echo.clone());
    let mut faults: Vec<_> = [302, 400, 401, 403, 404, 408, 413, 429, 500, 503].map(status).into();
    faults.extend([
        Fault::body(echo.clone()),
        Fault::body(json!({ "name": KEY, "value": true }).to_string()),
        Fault::body(json!({ "value": KEY }).to_string()),
        Fault::body(json!({ "value": private, "name": private }).to_string()),
        Fault::body(json!({ "open": { "name": private, "value": true } }).to_string()),
        Fault::body(json!({ "open": { "name": KEY, "value": true } }).to_string()),
        Fault::body(format!("{{\"{KEY}\": 1, \"value\": {{}}, \"rule_id\": [\"{KEY}\"]}}")),
        Fault::body(format!("{}{KEY}", "x".repeat(115))),
        Fault::body(echo.clone()).content_type(KEY),
        Fault::body(echo.clone()).header("content-encoding", KEY),
        Fault::status(401),
        Fault::status(404).with_body(echo).header("content-type", KEY).header("cf-mitigated", KEY),
        Fault::status(503).retry_after(KEY),
        Fault::status(302).header("location", format!("http://{KEY}/")),
        Fault::garbage(),
        Fault::leave_out(["open"]),
        Fault::delay(Duration::from_millis(1)),
        Fault::reset(),
        Fault::reset_mid_body(),
        Fault::truncated(),
        Fault::close(),
        Fault::hang(),
    ]);
    faults
}

async fn ask_all(statsig: &Statsig, user: &User, shown: &mut Shown) {
    let (one, two, config) = tokio::join!(
        statsig.gate_evaluation(user, "open"),
        statsig.addr().send(CheckGates::new(user.clone(), ["open", "shut"])),
        statsig.ask(GetConfigs::new(user.clone(), ["homepage"]).without_exposure()),
    );
    shown.answer(&one);
    shown.answer(&two.unwrap_or(Err(Error::Closed)));
    shown.answer(&config);
}

async fn over_http(shown: &mut Shown) {
    let rules = Rules::new().gate("open", true).config("homepage", json!({"theme": "dark"}));
    let server = LocalStatsig::start(rules).expect("a free port");
    server.require_key(KEY);
    // Without the breaker, which would keep later requests from most of the faults.
    let config = settings().base_url(server.url()).circuit_breaker(false);
    let config = config.build().expect("a valid configuration");
    let statsig = Statsig::start_in_current_arbiter(config.clone()).expect("a running arbiter");
    shown.debug(&config);
    shown.debug(&statsig);

    for user in users() {
        ask_all(&statsig, &user, shown).await;
        let private = if format!("{user:?}").contains("private") { PRIVATE } else { "nothing" };
        for fault in faults(private) {
            server.inject(fault.times(6));
            ask_all(&statsig, &user, shown).await;
            server.clear_faults();
        }
        for failpoint in FAILPOINTS {
            for times in [1, 4] {
                // A new component each time, because a burst of restarts slows a component down.
                let statsig =
                    Statsig::start_in_current_arbiter(config.clone()).expect("a running arbiter");
                panic_at(failpoint, times);
                ask_all(&statsig, &user, shown).await;
                ask_all(&statsig, &user, shown).await;
                panic_at(failpoint, 0);
            }
        }
        // A key that the server does not know.
        server.require_key("another");
        ask_all(&statsig, &user, shown).await;
        server.require_key(KEY);
        shown.debug(&statsig.stats());
        shown.0 += &serde_json::to_string(&statsig.stats()).expect("JSON");
    }
    shown.debug(&server);
    shown.debug(&server.requests());

    // Requests pending during a shutdown, and requests after it.
    server.inject(Fault::hang().always());
    let [private, _] = users();
    let pending = join_all((0..3).map(|_| statsig.gate_evaluation(&private, "open")));
    let (pending, report, ()) = tokio::join!(
        pending,
        async {
            server.calls_reached(server.calls() + 1).await;
            statsig.shutdown(Duration::from_millis(10)).await
        },
        async { statsig.flush().await.unwrap_or_default() },
    );
    pending.iter().for_each(|answer| shown.answer(answer));
    shown.debug(&report);
    shown.answer(&statsig.gate_evaluation(&private, "open").await);
}

async fn behind_an_open_breaker(shown: &mut Shown) {
    let server = LocalStatsig::start(Rules::new()).expect("a free port");
    let config = settings().base_url(server.url()).retry_attempts(1);
    let config = config.build().expect("a valid configuration");
    let statsig = Statsig::start_in_current_arbiter(config).expect("a running arbiter");
    server.inject(Fault::status(503).with_body(KEY).retry_after(KEY).always());
    let [private, _] = users();
    for _ in 0..20 {
        shown.answer(&statsig.gate_evaluation(&private, "open").await);
    }
    shown.debug(&statsig.stats());
}

async fn over_https(shown: &mut Shown) {
    let authority = Authority::new("trusted");
    let good = Server::tls(authority.issue("localhost").config());
    let untrusted = Server::tls(Authority::new("other").issue("localhost").config());
    let (plain, mute, gone) = (Server::plain(), Server::mute(), Server::hanging_up());
    for server in [&good, &untrusted, &plain, &mute, &gone] {
        let is_good = std::ptr::eq(server, &good);
        let settings = if is_good { patient() } else { settings() };
        let settings =
            settings.base_url(server.url("localhost")).extra_root_certificates(authority.pem());
        let statsig =
            Statsig::start(settings.build().expect("a valid configuration")).expect("a thread");
        for user in users() {
            let open = statsig.check_gate(&user, GATE).await;
            assert_eq!(open.is_ok(), is_good, "{open:?}");
            shown.answer(&open);
            // The server does not know this gate, and refuses it.
            shown.answer(&statsig.check_gate(&user, "another").await);
        }
        shown.debug(&statsig.shutdown(Duration::from_secs(2)).await);
    }
}

/// Proxies that accept the credentials, proxies that refuse them, and misbehaving proxies.
async fn through_proxies(shown: &mut Shown) {
    let authority = Authority::new("trusted");
    let tls = Server::tls(authority.issue("statsig.test").config());
    let port = tls.url("-").rsplit(':').next().and_then(|port| port.parse().ok());
    let plain = Listening::server();
    let encoded = format!("Basic {}==", base64(format!("me:{PASSWORD}").as_bytes()));
    // Cut where the padding begins.
    let friends: &'static str = encoded.leak();
    for (url, to) in [
        (tls.url("statsig.test"), ([127, 0, 0, 1], port.expect("a port")).into()),
        ("http://statsig.test".to_owned(), plain.address()),
    ] {
        let echo = format!("HTTP/1.1 502 {PASSWORD}\r\nx: {PASSWORD}\r\n\r\n{PASSWORD}").leak();
        let body = format!("{PASSWORD} {friends}");
        let length = body.len();
        let refusing = |status| -> &'static str {
            let head = format!("HTTP/1.1 {status} Echo\r\ncontent-type: application/json\r\n");
            format!("{head}content-length: {length}\r\n\r\n{body}").leak()
        };
        for conduct in [
            Conduct::Says(refusing(400)),
            Conduct::Says(refusing(200)),
            Conduct::LeadsTo(to),
            Conduct::LeadsFriendsTo(to, friends),
            Conduct::LeadsFriendsTo(to, "Basic bm9ib2R5Og=="),
            Conduct::Says("HTTP/1.1 403 Forbidden\r\n\r\n"),
            Conduct::Says("SSH-2.0-OpenSSH\r\n"),
            Conduct::Closes(echo),
            Conduct::Closes(""),
            Conduct::Hangs,
        ] {
            let proxy = Listening::proxy(conduct);
            let leads = matches!(conduct, Conduct::LeadsTo(_));
            let settings = if leads { patient() } else { settings() };
            let settings = settings
                .base_url(&url)
                .allow_plain_http(true)
                .extra_root_certificates(authority.pem())
                .proxy(format!("http://me:{PASSWORD}@{}", proxy.address()));
            shown.debug(&settings);
            let config = settings.build().expect("a valid configuration");
            shown.debug(&config);
            shown.0 += &format!("{:?} {:?}", config.text("proxy"), config.proxy());
            let statsig = Statsig::start(config).expect("a thread");
            for user in users() {
                let open = statsig.check_gate(&user, GATE).await;
                assert!(open.is_ok() || !leads, "{open:?}");
                shown.answer(&open);
            }
            shown.debug(&statsig.stats());
            shown.debug(&statsig.shutdown(Duration::from_secs(2)).await);
        }
    }
}

/// What an app might print without any server.
fn at_rest(shown: &mut Shown) {
    shown.debug(&settings());
    for url in ["http://example.com", "https://a b", &format!("https://me:{KEY}@localhost"), "x"] {
        shown.answer(&settings().base_url(url).build());
    }
    for proxy in [
        format!("http://me:{PASSWORD}@proxy:3128"),
        format!("socks5://me:{PASSWORD}@proxy:1080"),
        format!("http://me:{PASSWORD}@proxy:0"),
        format!("http://me:{PASSWORD}%40proxy"),
        format!("me:{PASSWORD}@pro xy"),
        format!("http://me:{PASSWORD}@{PASSWORD}@proxy/path?query#fragment"),
    ] {
        shown.debug(&settings().proxy(proxy.clone()));
        shown.answer(&settings().proxy(proxy.clone()).build());
        shown.answer(&settings().set("proxy", &proxy).and_then(ConfigBuilder::build));
        for variable in ["STATSIG_PROXY", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"] {
            let config = Config::from_lookup(|name| match name {
                "STATSIG_API_KEY" => Some(KEY.to_owned()),
                name => (name == variable).then(|| proxy.clone()),
            });
            shown.answer(&config);
            // The problem with the setting is logged.
            drop(config.and_then(Statsig::start));
        }
    }
    for key in [format!("{KEY}\r\nx: y"), format!(" {KEY}"), format!("{KEY}\u{e9}")] {
        shown.answer(&Config::new(key.clone()));
        shown.answer(&Config::builder("k").set("api_key", &key).and_then(ConfigBuilder::build));
        let lookup = |name: &str| (name == "STATSIG_API_KEY").then(|| key.clone());
        shown.answer(&Config::from_lookup(lookup));
    }
    let private = || User::builder().user_id("u-1").private_attribute("pin", PRIVATE);
    shown.debug(&private());
    shown.debug(&Attribute::from(PRIVATE));
    shown.debug(&Attribute::from([PRIVATE]));
    shown.answer(&private().private_attribute("n", f64::NAN).build());
    let too_long = private().private_attribute("long", PRIVATE.repeat(5_000));
    shown.answer(&too_long.build());
    for user in users() {
        shown.debug(&user);
        shown.debug(&CheckGates::new(user.clone(), ["open"]).with_exposure());
        shown.debug(&GetConfigs::new(user, ["homepage"]));
    }
    for bad in
        [json!([PRIVATE]), json!({"a": PRIVATE}), json!({"a": [PRIVATE_NUMBER]}), json!(PRIVATE)]
    {
        let user = json!({"userID": "u-1", "privateAttributes": {"a": bad}});
        shown.answer(&User::from_json(user));
        shown.answer(&User::from_json(json!({"userID": "u-1", "privateAttributes": bad})));
    }
}

#[actix_rt::test]
async fn promise_7_faulty_run_reveals_no_secrets() {
    listen();
    let mut shown = Shown::default();

    at_rest(&mut shown);
    over_http(&mut shown).await;
    behind_an_open_breaker(&mut shown).await;
    over_https(&mut shown).await;
    through_proxies(&mut shown).await;
    let script = Script::answering();
    let scripted = script.start(settings());
    for user in users() {
        let answer = scripted.ask(CheckGates::new(user, ["open"])).await;
        // The script puts the user's `Debug` output into the rule.
        shown.answer(&answer);
    }
    shown.debug(&script.calls());

    // Copied, because a failure below is a panic, which is captured too.
    let heard = logged().clone();
    for part in
        ["[redacted]", "[withheld", "/v1/check_gate", "InvalidResponse", "CircuitOpen", "internal"]
    {
        assert!(shown.0.contains(part), "nothing of {part:?} was shown");
    }
    for part in [
        "/v1/check_gate",
        "use no proxy",
        "through the proxy",
        "/v1/get_config",
        "restarts",
        "a test made this panic",
        "flush",
    ] {
        assert!(heard.contains(part), "nothing of {part:?} was logged");
    }
    assert_eq!(secret_in(&shown.0), None);
    assert_eq!(secret_in(&heard), None);
    // Proves that both captures work.
    log::trace!("{KEY}");
    let heard = std::mem::take(&mut *logged());
    assert!(secret_in(&heard).is_some());
    tracing::trace!(key = ?KEY.as_bytes());
    let heard = std::mem::take(&mut *logged());
    assert!(secret_in(&heard).is_some());
}

#[actix_rt::test]
async fn promise_7_no_redirect_is_followed() {
    let server = LocalStatsig::start(Rules::sample()).unwrap();
    let elsewhere = LocalStatsig::start(Rules::sample()).unwrap();
    let config = patient().base_url(server.url()).retry_attempts(1);
    let statsig = Statsig::start_in_current_arbiter(config.build().unwrap()).unwrap();
    for (n, status) in [300, 301, 302, 303, 307, 308].into_iter().enumerate() {
        let location = format!("{}/v1/check_gate", elsewhere.url());
        server.inject(Fault::status(status).header("location", location));

        let error = statsig.check_gate(&support::user(n), "beta").await.unwrap_err();

        let is_it = matches!(error, Error::Intermediary { status: s, .. } if s == status);
        assert!(is_it, "{error:?}");
    }
    assert_eq!((elsewhere.connections(), server.calls()), (0, 6));
}

#[actix_rt::test]
async fn promise_7_neither_key_nor_name_nor_user_can_add_a_header() {
    let server = LocalStatsig::start(Rules::sample()).unwrap();
    for bad in ["\r\nx-evil: 1", "\n", "\r", "\0", "\u{7f}", "\u{e9}", " "] {
        for key in [format!("{KEY}{bad}"), format!("{bad}{KEY}")] {
            assert!(Config::new(key).is_err(), "{bad:?}");
        }
        assert!(Config::builder(KEY).base_url(format!("{}/{bad}", server.url())).build().is_err());
    }
    let config = patient().base_url(server.url());
    let statsig = Statsig::start_in_current_arbiter(config.build().unwrap()).unwrap();
    let injected = "beta\r\nx-evil: 1\r\n\r\n";

    let handle = statsig.check_gate(&support::user("u-1"), injected).await;
    let message = statsig.addr().send(GetConfigs::new(support::user("u-1"), [injected])).await;
    let user = User::builder().user_id(injected).custom(injected, injected).build().unwrap();
    let in_the_body = statsig.check_gate(&user, "beta").await;

    assert!(in_the_body.is_ok(), "{in_the_body:?}");
    assert!(matches!(handle, Err(Error::InvalidName { .. })), "{handle:?}");
    assert!(matches!(message, Ok(Err(Error::InvalidName { .. }))), "{message:?}");
    let requests = server.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].user["userID"], injected);
    assert_eq!(
        (requests[0].header("x-evil"), requests[0].header("statsig-api-key")),
        (None, Some(KEY))
    );
}

#[test]
fn promise_7_plain_http_to_another_machine_needs_to_be_allowed() {
    for url in ["http://statsig.internal", "http://10.0.0.1:80", "http://localhost.example.com"] {
        let config = || Config::builder(KEY).base_url(url);
        let error = config().build().unwrap_err().to_string();
        assert!(error.contains("allow_plain_http"), "{error}");
        assert!(config().allow_plain_http(true).build().is_ok());
    }
}

//! `statsig-relay`, the program itself: its HTTP API, its options, and how it leaves.
#![cfg(feature = "relay")]

use std::{
    collections::{HashMap, HashSet},
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use actix_rt::time::{sleep, timeout};
use actix_web::{App, HttpResponse, HttpServer, dev::ServerHandle, web};
use awc::{Client, ClientResponse, Connector, http::StatusCode};
use futures_util::{StreamExt, future::join_all, stream::FuturesUnordered};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, oneshot};

/// What no test may take longer than.
const LIMIT: Duration = Duration::from_secs(120);

const KEY: &str = "secret-hunter2";

#[actix_rt::test]
async fn the_documented_bodies_get_the_documented_answers() {
    let upstream = Upstream::start(Mood::Answer);
    let relay = Relay::start(&upstream, &[]).await;

    let single = json!({
        "gateName": "new_user_onboarding",
        "user": {"userID": "user-123", "email": "user@example.com"}
    });
    let user = r#"{"email":"user@example.com","userID":"user-123"}"#;
    let gate = json!({
        "name": "new_user_onboarding", "value": true, "rule_id": user, "group_name": "gate"
    });
    assert_eq!(relay.post("/v1/check_gate", &single).await, (StatusCode::OK, gate));

    let multiple = json!({
        "gateNames": ["feature_a", "feature_b", "feature_a"],
        "user": {"userID": "user-123", "custom": {"tier": "premium"}}
    });
    let user = r#"{"custom":{"tier":"premium"},"userID":"user-123"}"#;
    let gate = |name| json!({"name": name, "value": true, "rule_id": user, "group_name": "gate"});
    let gates = json!({"feature_a": gate("feature_a"), "feature_b": gate("feature_b")});
    assert_eq!(relay.post("/v1/check_gate", &multiple).await, (StatusCode::OK, gates));

    let config = json!({"configName": "homepage_config", "user": {"userID": "user-123"}});
    let user = r#"{"userID":"user-123"}"#;
    let answer = json!({
        "name": "homepage_config", "value": {"for": user}, "group": user, "rule_id": user,
        "group_name": "config"
    });
    assert_eq!(relay.post("/v1/get_config", &config).await, (StatusCode::OK, answer));

    let list_of_one = json!({"gateNames": ["only"], "user": {"userID": "user-123"}});
    let (_, answer) = relay.post("/v1/check_gate", &list_of_one).await;
    assert_eq!(answer["only"]["name"], "only");
}

#[actix_rt::test]
async fn a_body_is_json_whatever_its_content_type_and_a_client_may_send_more_than_is_read() {
    let upstream = Upstream::start(Mood::Answer);
    let relay = Relay::start(&upstream, &[]).await;
    let body = r#"{
        "gateName": "beta", "gateNames": null, "more": [],
        "user": {"userID": "u", "email": null, "plan": "pro"},
        "statsigMetadata": {"sdkType": "php", "exposureLoggingDisabled": null}
    }"#;

    for content_type in ["application/x-www-form-urlencoded", "text/plain; charset=latin1"] {
        let request = relay.client.post(relay.url("/v1/check_gate")).content_type(content_type);
        let request = request.insert_header(("statsig-api-key", "client-key"));
        let (status, answer) = read(request.send_body(body).await.unwrap()).await;
        assert_eq!(
            (status, &answer["rule_id"]),
            (StatusCode::OK, &json!(r#"{"plan":"pro","userID":"u"}"#))
        );
    }
}

#[actix_rt::test]
async fn bad_input_is_refused_with_what_is_wrong_and_where() {
    let upstream = Upstream::start(Mood::Answer);
    let relay = Relay::start(&upstream, &[]).await;
    let gate = "/v1/check_gate";
    for (path, body, kind, message) in [
        (gate, "{\n\"gateName\": nope}", "invalid_json", "line 2 column 14"),
        (gate, "", "invalid_json", "line 1 column 0"),
        (gate, "[]", "invalid_request", "must be an object"),
        (gate, r#"{"user":{"userID":"u"}}"#, "invalid_request", "gateName or gateNames"),
        (
            gate,
            r#"{"gateName":"aa","gateNames":["aa"],"user":{"userID":"u"}}"#,
            "invalid_request",
            "not both",
        ),
        (
            gate,
            r#"{"gateName":7,"user":{"userID":"u"}}"#,
            "invalid_request",
            "gateName must be a string",
        ),
        (
            gate,
            r#"{"gateName":"a","user":{"userID":"u"}}"#,
            "invalid_name",
            "gateName: name \"a\" must have 2",
        ),
        (
            gate,
            r#"{"gateNames":["aa","b/b"],"user":{"userID":"u"}}"#,
            "invalid_name",
            "gateNames: name \"b/b\"",
        ),
        (
            gate,
            r#"{"gateNames":[],"user":{"userID":"u"}}"#,
            "invalid_request",
            "gateNames must be a list",
        ),
        (
            gate,
            r#"{"gateNames":["aa",null],"user":{"userID":"u"}}"#,
            "invalid_request",
            "gateNames must be a list",
        ),
        (gate, r#"{"gateName":"aa"}"#, "invalid_request", "user must be given"),
        (gate, r#"{"gateName":"aa","user":"u"}"#, "invalid_user", "`user` must be an object"),
        (
            gate,
            r#"{"gateName":"aa","user":{"userID":"u","country":"NLD"}}"#,
            "invalid_user",
            "`country` must be two letters",
        ),
        (
            gate,
            r#"{"gateName":"aa","user":{"userID":"u","custom":{"a":{}}}}"#,
            "invalid_user",
            "`custom.a`",
        ),
        (
            gate,
            r#"{"gateName":"aa","user":{"userID":"u"},"statsigMetadata":1}"#,
            "invalid_request",
            "statsigMetadata",
        ),
        (
            "/v1/get_config",
            r#"{"user":{"userID":"u"}}"#,
            "invalid_request",
            "configName must be given",
        ),
        (
            "/v1/get_config",
            r#"{"configName":"","user":{"userID":"u"}}"#,
            "invalid_name",
            "configName: name \"\"",
        ),
    ] {
        let response = relay.client.post(relay.url(path)).send_body(body).await.unwrap();
        let (status, answer) = read(response).await;
        assert_eq!(
            (status, &answer["error"]["kind"]),
            (StatusCode::BAD_REQUEST, &json!(kind)),
            "{body}"
        );
        let said = answer["error"]["message"].as_str().unwrap();
        assert!(said.contains(message), "{body}: {said}");
    }
    let many: Vec<_> = (0..101).map(|i| format!("gate-{i}")).collect();
    let (status, _) = relay.post(gate, &json!({"gateNames": many, "user": {"userID": "u"}})).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(upstream.calls(), 0);
}

#[actix_rt::test]
async fn what_is_not_served_is_said_in_json() {
    let upstream = Upstream::start(Mood::Answer);
    let relay = Relay::start(&upstream, &[]).await;

    let wrong_method = relay.client.get(relay.url("/v1/check_gate")).send().await.unwrap();
    assert_eq!(wrong_method.headers().get("allow").unwrap(), "POST");
    let (status, answer) = read(wrong_method).await;
    assert_eq!((status.as_u16(), &answer["error"]["kind"]), (405, &json!("wrong_method")));

    let (status, answer) = relay.post("/v1/log_event", &json!({})).await;
    assert_eq!((status.as_u16(), &answer["error"]["kind"]), (404, &json!("not_found")));

    let (status, answer) = relay.post("/v1/check_gate", &json!("x".repeat(1024 * 1024))).await;
    assert_eq!((status.as_u16(), &answer["error"]["kind"]), (413, &json!("too_large")));

    assert_eq!(relay.get("/healthz").await.0, StatusCode::OK);
    let head = relay.client.head(relay.url("/healthz")).send().await.unwrap();
    assert_eq!(head.status(), StatusCode::OK);
}

#[actix_rt::test]
async fn two_hundred_checks_for_one_user_are_a_handful_of_calls() {
    let upstream = Upstream::start(Mood::Hold);
    let relay = Relay::start(&upstream, &[]).await;

    let checks = (0..200).map(|i| relay.post("/v1/check_gate", &gate("u", i % 5)));
    let checks = join_all(checks.collect::<Vec<_>>());
    let release = async {
        relay.has_received(200).await;
        upstream.release();
    };
    let (answers, ()) = tokio::join!(checks, release);

    for (i, (status, answer)) in answers.into_iter().enumerate() {
        assert_eq!((status, &answer["name"]), (StatusCode::OK, &json!(format!("gate-{}", i % 5))));
    }
    let (_, stats) = relay.get("/stats").await;
    assert_eq!((&stats["requests"], &stats["answered"]), (&json!(200), &json!(200)));
    assert!((1..=5).contains(&stats["calls"].as_u64().unwrap()), "{stats}");
    assert_eq!(stats["calls"], upstream.calls());
}

#[actix_rt::test]
async fn ten_thousand_requests_of_users_who_differ_in_one_field_each_get_their_own_answers() {
    const CONNECTIONS: usize = 500;
    const EACH: usize = 20;
    let upstream = Upstream::start(Mood::AnswerAfter(Duration::from_millis(3)));
    let slow_machine = ["--timeout", "60s", "--attempt-timeout", "30s"];
    let relay = Relay::start(&upstream, &slow_machine).await;
    let users = users_who_differ_in_one_field(1000);

    let ask = async |connection: usize| {
        for request in connection * EACH..(connection + 1) * EACH {
            // Neighbours in time are users who differ in the same field.
            let user = &users[request % users.len()];
            let own = user.to_string();
            let name = format!("name-{}", request / users.len());
            let (status, answers, kind) = match request % 3 {
                0 => {
                    let body = json!({"configName": name, "user": user});
                    let (status, answer) = relay.post("/v1/get_config", &body).await;
                    assert_eq!(answer["value"]["for"], own);
                    (status, vec![(name, answer)], "config")
                }
                1 => {
                    let body = json!({"gateName": name, "user": user});
                    let (status, answer) = relay.post("/v1/check_gate", &body).await;
                    (status, vec![(name, answer)], "gate")
                }
                _ => {
                    let names = [name, "shared".to_owned()];
                    let body = json!({"gateNames": names, "user": user});
                    let (status, answer) = relay.post("/v1/check_gate", &body).await;
                    let answer = |name: String| (name.clone(), answer[&name].clone());
                    (status, names.map(answer).to_vec(), "gate")
                }
            };
            assert_eq!(status, StatusCode::OK, "{answers:?}");
            for (name, answer) in answers {
                let got = (&answer["name"], &answer["rule_id"], &answer["group_name"]);
                assert_eq!(got, (&json!(name), &json!(own), &json!(kind)));
            }
        }
    };
    let mut asking: FuturesUnordered<_> = (0..CONNECTIONS).map(ask).collect();
    while limited(asking.next()).await.is_some() {}

    assert_eq!(upstream.refused(), Vec::<String>::new());
    let (_, stats) = relay.get("/stats").await;
    assert_eq!((&stats["requests"], &stats["answered"]), (&json!(10_000), &json!(10_000)));
}

#[actix_rt::test]
async fn sigterm_while_calls_are_in_flight_all_are_answered_and_the_exit_code_is_0() {
    let upstream = Upstream::start(Mood::Hold);
    let mut relay =
        Relay::start(&upstream, &["--timeout", "60s", "--attempt-timeout", "60s"]).await;
    let _never_used = TcpStream::connect(&relay.address).unwrap();
    let _kept_alive = relay.kept_alive();

    let users: Vec<_> = (0..50).map(|i| format!("user-{i}")).collect();
    let checks = users.iter().map(|user| relay.post("/v1/check_gate", &gate(user, 0)));
    let checks = join_all(checks.collect::<Vec<_>>());
    let leave = async {
        relay.has_received(50).await;
        relay.signal("TERM");
        relay.refuses_connections().await;
        upstream.release();
    };
    let (answers, ()) = tokio::join!(checks, leave);

    assert!(answers.iter().all(|(status, _)| *status == StatusCode::OK), "{answers:?}");
    assert_eq!(relay.ended().await.code, Some(0));
}

#[actix_rt::test]
async fn sigterm_flushes_what_is_buffered_and_ctrl_c_does_the_same() {
    for signal in ["TERM", "INT"] {
        let upstream = Upstream::start(Mood::Answer);
        let slow = ["--flush-interval", "60s", "--timeout", "600s"];
        let mut relay = Relay::start(&upstream, &slow).await;

        let checks = (0..50).map(|i| relay.post("/v1/check_gate", &gate("u", i)));
        let checks = join_all(checks.collect::<Vec<_>>());
        let leave = async {
            relay.has_received(50).await;
            assert_eq!(upstream.calls(), 0);
            relay.signal(signal);
        };
        let (answers, ()) = limited(async { tokio::join!(checks, leave) }).await;

        assert!(answers.iter().all(|(status, _)| *status == StatusCode::OK), "{answers:?}");
        assert_eq!(relay.ended().await.code, Some(0));
    }
}

#[actix_rt::test]
async fn an_idle_relay_leaves_at_once_though_connections_are_open() {
    let upstream = Upstream::start(Mood::Answer);
    let mut relay = Relay::start(&upstream, &["--timeout", "600s"]).await;
    let _never_used = TcpStream::connect(&relay.address).unwrap();
    let _kept_alive = relay.kept_alive();

    relay.signal("TERM");

    // The server would wait for open connections for the whole timeout, ten minutes.
    assert_eq!(relay.ended().await.code, Some(0));
}

#[actix_rt::test]
async fn a_fault_upstream_is_a_bad_gateway_and_a_hanging_upstream_a_gateway_timeout() {
    for (mood, status, kind) in [
        (Mood::Refuse(503), 502, "unavailable"),
        (Mood::Refuse(401), 502, "unauthorized"),
        (Mood::Hold, 504, "timeout"),
    ] {
        let upstream = Upstream::start(mood);
        let options = ["--timeout", "300ms", "--attempt-timeout", "10s"];
        let relay = Relay::start(&upstream, &options).await;
        let (got, answer) = relay.post("/v1/check_gate", &gate("u", 0)).await;
        assert_eq!((got.as_u16(), &answer["error"]["kind"]), (status, &json!(kind)), "{answer}");
        let (_, stats) = relay.get("/stats").await;
        assert_eq!(stats["errors"], json!({kind: 1}));
    }
}

#[actix_rt::test]
async fn overload_is_429_with_a_time_to_come_back() {
    let upstream = Upstream::start(Mood::Hold);
    let relay = Relay::start(&upstream, &["--max-pending", "1", "--timeout", "60s"]).await;

    let admitted = async {
        let (status, _) = relay.post("/v1/check_gate", &gate("u", 0)).await;
        assert_eq!(status, StatusCode::OK);
    };
    let refused = async {
        relay.has_received(1).await;
        let request = relay.client.post(relay.url("/v1/check_gate"));
        let response = request.send_json(&gate("u", 1)).await.unwrap();
        assert_eq!(response.headers().get("retry-after").unwrap(), "1");
        let (status, answer) = read(response).await;
        assert_eq!((status.as_u16(), &answer["error"]["kind"]), (429, &json!("overloaded")));
        upstream.release();
    };
    tokio::join!(admitted, refused);
}

#[actix_rt::test]
async fn a_client_chooses_whether_exposures_are_logged_and_else_the_operator_does() {
    for (options, default) in [(&[][..], true), (&["--exposure-logging", "off"], false)] {
        let upstream = Upstream::start(Mood::Answer);
        let relay = Relay::start(&upstream, options).await;
        for (metadata, logged) in [
            (json!({}), default),
            (json!({"exposureLoggingDisabled": true}), false),
            (json!({"exposureLoggingDisabled": false}), true),
        ] {
            for (path, field) in [("/v1/check_gate", "gateName"), ("/v1/get_config", "configName")]
            {
                let body =
                    json!({field: "aa", "user": {"userID": "u"}, "statsigMetadata": metadata});
                assert_eq!(relay.post(path, &body).await.0, StatusCode::OK);
                assert_eq!(upstream.last_logged_exposures(), logged, "{options:?} {body}");
            }
        }
    }
}

#[actix_rt::test]
async fn the_key_is_told_to_nobody_but_the_upstream() {
    let upstream = Upstream::start(Mood::Answer);
    let trace = [("RUST_LOG", "trace")];
    let mut relay =
        Relay::start_with(&upstream.options(&[]), &[("STATSIG_API_KEY", KEY), trace[0]]).await;

    let request = relay.client.post(relay.url("/v1/check_gate"));
    let request = request.insert_header(("statsig-api-key", KEY));
    let body =
        json!({"gateName": "aa", "user": {"userID": "u", "privateAttributes": {"a": "hunter3"}}});
    let (status, answer) = read(request.send_json(&body).await.unwrap()).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    relay.signal("TERM");
    let ended = relay.ended().await;

    assert!(ended.stderr.contains("TRACE"), "{}", ended.stderr);
    let told = format!("{}{}", ended.stdout, ended.stderr);
    for secret in ["hunter2", "hunter3"] {
        let line = told.lines().find(|line| line.contains(secret));
        assert_eq!(line, None);
    }
}

#[actix_rt::test]
async fn what_it_cannot_start_with_is_one_line_that_names_it_and_exit_code_2() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let key = ("STATSIG_API_KEY", KEY);
    for (options, variables, name) in [
        (&["--batch-size", "101"][..], &[key][..], "--batch-size"),
        (&["--timeout", "soon"], &[key], "--timeout"),
        (&["--nonsense"], &[key], "--nonsense"),
        (&["--api-key", "secret"], &[], "--api-key"),
        (&[], &[key, ("STATSIG_MAX_PENDING", "many")], "STATSIG_MAX_PENDING"),
        (&["--listen", &taken], &[key], "--listen"),
        (&["--listen", "nowhere"], &[key], "--listen"),
        (&["--rules", "rules.json"], &[key], "--rules"),
        (&["--rules", "/nonexistent.json"], &[], "--rules"),
        (&["--upstream", "http://127.0.0.1:1"], &[], "STATSIG_API_KEY"),
        (&[], &[("STATSIG_API_KEY", "")], "STATSIG_API_KEY"),
        (&[], &[key, ("RUST_LOG", "a=b=c")], "RUST_LOG"),
    ] {
        let ended = Relay::spawn(options, variables).ended().await;
        assert_eq!(ended.code, Some(2), "{options:?} {}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "{options:?} {}", ended.stderr);
        assert!(ended.stderr.contains(name), "{options:?} {}", ended.stderr);
        assert!(!ended.stdout.contains("listening"), "{options:?} {}", ended.stdout);
    }
}

/// The program, which ends with this at the latest.
struct Relay {
    child: Child,
    address: String,
    client: Client,
    stdout: oneshot::Receiver<String>,
    stderr: oneshot::Receiver<String>,
    heard: Option<oneshot::Receiver<String>>,
}

struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Relay {
    async fn start(upstream: &Upstream, options: &[&str]) -> Self {
        Self::start_with(&upstream.options(options), &[("STATSIG_API_KEY", KEY)]).await
    }

    async fn start_with(options: &[String], variables: &[(&str, &str)]) -> Self {
        let options: Vec<_> = options.iter().map(String::as_str).collect();
        let options = [&["--listen", "127.0.0.1:0"], &options[..]].concat();
        let mut relay = Self::spawn(&options, variables);
        let heard = relay.heard.take().unwrap();
        relay.address = limited(heard).await.expect("the relay says where it listens");
        relay
    }

    fn spawn(options: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_statsig-relay"));
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("STATSIG_") || name == "RUST_LOG" {
                command.env_remove(&*name);
            }
        }
        let command = command.args(options).envs(variables.iter().copied());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (tell, heard) = oneshot::channel();
        let stdout = read_to_end(child.stdout.take().unwrap(), Some(tell));
        let stderr = read_to_end(child.stderr.take().unwrap(), None);
        let connector = Connector::new().limit(0).timeout(LIMIT);
        let client = Client::builder().connector(connector).disable_timeout().finish();
        Self { child, address: String::new(), client, stdout, stderr, heard: Some(heard) }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn post(&self, path: &str, body: &Value) -> impl Future<Output = (StatusCode, Value)> + use<> {
        let request = self.client.post(self.url(path)).send_json(body);
        async { read(limited(request).await.expect("a response")).await }
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        let response = limited(self.client.get(self.url(path)).send()).await;
        read(response.expect("a response")).await
    }

    async fn has_received(&self, requests: u64) {
        limited(async { while self.get("/stats").await.1["requests"] != requests {} }).await;
    }

    async fn refuses_connections(&self) {
        let refused = async {
            while TcpStream::connect(&self.address).is_ok() {
                actix_rt::task::yield_now().await;
            }
        };
        limited(refused).await;
    }

    /// A connection that has been used and is kept open.
    fn kept_alive(&self) -> TcpStream {
        let mut connection = TcpStream::connect(&self.address).unwrap();
        connection.write_all(b"GET /healthz HTTP/1.1\r\nhost: relay\r\n\r\n").unwrap();
        let mut start = [0; 12];
        connection.read_exact(&mut start).unwrap();
        assert_eq!(&start, b"HTTP/1.1 200");
        connection
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([&format!("-{signal}"), &pid]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for the end: both outputs are closed by then.
    async fn ended(&mut self) -> Ended {
        let stdout = limited(&mut self.stdout).await.unwrap();
        let stderr = limited(&mut self.stderr).await.unwrap();
        Ended { code: self.child.wait().unwrap().code(), stdout, stderr }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads on a thread, and tells the address as soon as it has been read.
fn read_to_end(
    output: impl Read + Send + 'static,
    mut tell: Option<oneshot::Sender<String>>,
) -> oneshot::Receiver<String> {
    let (whole, reader) = oneshot::channel();
    thread::spawn(move || {
        let mut text = String::new();
        for line in BufReader::new(output).lines() {
            let line = line.expect("UTF-8");
            let address = line.strip_prefix("listening on http://");
            if let (Some(address), Some(tell)) = (address, tell.take_if(|_| address.is_some())) {
                let _ = tell.send(address.to_owned());
            }
            text += &line;
            text += "\n";
        }
        let _ = whole.send(text);
    });
    reader
}

async fn read<S>(mut response: ClientResponse<S>) -> (StatusCode, Value)
where
    S: futures_util::Stream<Item = Result<web::Bytes, awc::error::PayloadError>> + Unpin,
{
    let body = limited(response.body()).await.expect("a body");
    let json = serde_json::from_slice(&body);
    (response.status(), json.unwrap_or_else(|_| panic!("not JSON: {body:?}")))
}

async fn limited<T>(work: impl Future<Output = T>) -> T {
    timeout(LIMIT, work).await.expect("nothing hangs")
}

fn gate(user: &str, gate: usize) -> Value {
    json!({"gateName": format!("gate-{gate}"), "user": {"userID": user}})
}

/// Each differs from the base in one field of the API document's `StatsigUser`; neighbours differ
/// in the same one.
fn users_who_differ_in_one_field(count: usize) -> Vec<Value> {
    let field = |field: &'static str| move |i: usize| (field, json!(format!("{field}-{i}")));
    let letters = |i: usize| [b'A' + (i / 26) as u8, b'A' + (i % 26) as u8];
    let country = move |i| ("country", json!(String::from_utf8(letters(i).to_vec()).unwrap()));
    let tier = |i: usize| {
        let tier = ["production", "staging", "development"][i % 3];
        ("statsigEnvironment", json!({"tier": tier, "region": i / 3}))
    };
    let fields: Vec<Box<dyn Fn(usize) -> (&'static str, Value)>> = vec![
        Box::new(field("userID")),
        Box::new(field("email")),
        Box::new(field("ip")),
        Box::new(field("userAgent")),
        Box::new(country),
        Box::new(field("locale")),
        Box::new(field("appVersion")),
        Box::new(|i| ("custom", json!({"plan": i}))),
        Box::new(|i| ("custom", json!({"plan": i.to_string()}))),
        Box::new(|i| ("custom", json!({"plan": [i.to_string()]}))),
        Box::new(|i| ("custom", json!({"plan": i % 2 == 0, "age": i / 2}))),
        Box::new(|i| ("privateAttributes", json!({"plan": i}))),
        Box::new(|i| ("customIDs", json!({"plan": i.to_string()}))),
        Box::new(tier),
    ];
    let each = count.div_ceil(fields.len());
    let users: Vec<_> = (0..count)
        .map(|i| {
            let mut user = json!({"userID": "u"});
            let (field, value) = fields[i / each](i % each);
            user[field] = value;
            user
        })
        .collect();
    assert_eq!(users.iter().map(Value::to_string).collect::<HashSet<_>>().len(), count);
    users
}

#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Answer,
    AnswerAfter(Duration),
    /// Answers when it is released.
    Hold,
    Refuse(u16),
}

/// A server that speaks the API, and whose answers repeat the user they are about: an answer that
/// reaches somebody else shows.
struct Upstream {
    url: String,
    seen: Arc<Seen>,
    server: ServerHandle,
}

struct Seen {
    mood: Mood,
    calls: Mutex<Vec<Value>>,
    refused: Mutex<Vec<String>>,
    /// Closed when the calls that wait are released.
    gate: Semaphore,
    is_key_right: AtomicBool,
}

impl Upstream {
    fn start(mood: Mood) -> Self {
        let seen = Arc::new(Seen {
            mood,
            calls: Mutex::default(),
            refused: Mutex::default(),
            gate: Semaphore::new(0),
            is_key_right: AtomicBool::new(true),
        });
        let shared = web::Data::from(Arc::clone(&seen));
        let app = move || App::new().app_data(shared.clone()).default_service(web::to(answer));
        let server = HttpServer::new(app).workers(1).disable_signals().shutdown_timeout(0);
        let server = server.bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", server.addrs()[0]);
        let server = server.run();
        let handle = server.handle();
        actix_rt::spawn(server);
        Self { url, seen, server: handle }
    }

    fn options(&self, more: &[&str]) -> Vec<String> {
        let own = ["--upstream", &self.url];
        own.iter().chain(more).map(ToString::to_string).collect()
    }

    fn calls(&self) -> usize {
        self.seen.calls.lock().unwrap().len()
    }

    fn last_logged_exposures(&self) -> bool {
        let calls = self.seen.calls.lock().unwrap();
        calls.last().unwrap()["statsigMetadata"]["exposureLoggingDisabled"] != true
    }

    /// Why calls were refused, if any broke the API's rules.
    fn refused(&self) -> Vec<String> {
        assert!(self.seen.is_key_right.load(SeqCst));
        self.seen.refused.lock().unwrap().clone()
    }

    fn release(&self) {
        self.seen.gate.close();
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        drop(self.server.stop(false));
    }
}

async fn answer(
    request: actix_web::HttpRequest,
    seen: web::Data<Seen>,
    body: web::Bytes,
) -> HttpResponse {
    let key = request.headers().get("statsig-api-key").and_then(|key| key.to_str().ok());
    seen.is_key_right.fetch_and(key == Some(KEY), SeqCst);
    let body: Value = serde_json::from_slice(&body).expect("JSON");
    seen.calls.lock().unwrap().push(body.clone());
    match seen.mood {
        Mood::Answer => {}
        Mood::AnswerAfter(latency) => sleep(latency).await,
        Mood::Hold => drop(seen.gate.acquire().await),
        Mood::Refuse(status) => {
            return HttpResponse::build(StatusCode::from_u16(status).unwrap()).finish();
        }
    }
    match evaluate(request.path(), &body) {
        Ok(answer) => HttpResponse::Ok().json(answer),
        Err(rule) => {
            seen.refused.lock().unwrap().push(format!("{rule}: {body}"));
            HttpResponse::BadRequest().finish()
        }
    }
}

fn evaluate(path: &str, body: &Value) -> Result<Value, &'static str> {
    let user = body["user"].to_string();
    let gate =
        |name: &Value| json!({"name": name, "value": true, "rule_id": user, "group_name": "gate"});
    match (path, &body["gateName"], &body["gateNames"], &body["configName"]) {
        ("/v1/check_gate", name @ Value::String(_), Value::Null, _) => Ok(gate(name)),
        ("/v1/check_gate", Value::Null, Value::Array(names), _) => {
            let text = |name: &Value| name.as_str().unwrap_or_default().to_owned();
            let gates: HashMap<_, _> = names.iter().map(|name| (text(name), gate(name))).collect();
            let right = (1..=100).contains(&names.len()) && gates.len() == names.len();
            if right { Ok(json!(gates)) } else { Err("1 to 100 distinct names") }
        }
        ("/v1/get_config", _, _, name @ Value::String(_)) => Ok(json!({
            "name": name, "value": {"for": user}, "group": user, "rule_id": user,
            "group_name": "config"
        })),
        _ => Err("an operation with its name"),
    }
}

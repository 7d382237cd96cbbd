//! The server that users test their own apps with: what it answers, refuses and records, and its
//! faults.
#![cfg(feature = "test-util")]
// Helpers outside a `#[test]` do not count as tests for clippy.
#![allow(clippy::unwrap_used)]

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    time::Duration,
};

use actix_statsig::test_util::{Fault, LocalStatsig, Rule, Rules};
use serde_json::{Value, json};

const GATE: &str = "/v1/check_gate";
const CONFIG: &str = "/v1/get_config";
/// Longer than any of these tests takes; only a failure reaches this limit.
const LONG: Duration = Duration::from_secs(30);

fn server() -> LocalStatsig {
    let rules = Rules::new()
        .gate("open", true)
        .gate("shut", false)
        .gate("dutch", Rule::new(true).when("country", "NL").named("r-1", "The Dutch"))
        .config("homepage", json!({"theme": "dark"}));
    LocalStatsig::start(rules).unwrap()
}

/// A connection on which the test writes HTTP by hand, to see the exact bytes.
struct Client(TcpStream);

#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn error(&self) -> String {
        self.json()["error"].as_str().unwrap().to_owned()
    }
}

impl Client {
    fn new(server: &LocalStatsig) -> Self {
        let stream = TcpStream::connect(server.address()).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        Self(stream)
    }

    fn send(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) {
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: h\r\n{headers}content-length: {length}\r\n\r\n"
        );
        self.0.write_all(&[head.as_bytes(), body].concat()).unwrap();
    }

    fn ask(&mut self, path: &str, body: &Value) {
        let headers = "statsig-api-key: secret-key\r\ncontent-type: application/json\r\n";
        self.send("POST", path, headers, body.to_string().as_bytes());
    }

    /// Reads one answer, up to the length that it declares.
    fn answer(&mut self) -> io::Result<Answer> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.byte()?);
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        let length = head.split("content-length: ").nth(1).unwrap().lines().next().unwrap();
        let mut body = Vec::new();
        while body.len() < length.parse::<usize>().unwrap() {
            body.push(self.byte()?);
        }
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Ok(Answer { status, head, body })
    }

    fn byte(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        self.0.read_exact(&mut byte)?;
        Ok(byte[0])
    }

    fn post(&mut self, path: &str, body: &Value) -> io::Result<Answer> {
        self.ask(path, body);
        self.answer()
    }
}

fn post(server: &LocalStatsig, path: &str, body: &Value) -> Answer {
    Client::new(server).post(path, body).unwrap()
}

fn check(name: &str) -> Value {
    json!({"gateName": name, "user": {"userID": "u-1"}})
}

/// Blocks until no connection is open.
fn all_closed(server: &LocalStatsig) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(LONG, server.all_closed()).await.unwrap() });
}

#[test]
fn gate_checks_and_configs_share_one_connection() {
    // Given a server with rules and one connection to it
    let server = server();
    let mut client = Client::new(&server);
    let user = json!({"userID": "u-1", "country": "NL"});

    // When requests of each form are made
    let one = client.post(GATE, &json!({"gateName": "dutch", "user": user})).unwrap();
    let many = client.post(GATE, &json!({"gateNames": ["open", "none"], "user": user})).unwrap();
    let config = client.post(CONFIG, &json!({"configName": "homepage", "user": user})).unwrap();

    // Then each answer has the documented shape
    assert_eq!(
        one.json(),
        json!({"name": "dutch", "value": true, "rule_id": "r-1", "group_name": "The Dutch"})
    );
    assert_eq!(
        many.json(),
        json!({
            "open": {"name": "open", "value": true, "rule_id": "local", "group_name": null},
            "none": {"name": "none", "value": false, "rule_id": null, "group_name": null},
        })
    );
    assert_eq!(
        config.json(),
        json!({
            "name": "homepage", "value": {"theme": "dark"}, "group": "local", "rule_id": "local",
            "group_name": null,
        })
    );
    assert!(config.head.contains("content-type: application/json"), "{}", config.head);
    assert_eq!((server.calls(), server.refused(), server.connections()), (3, 0, 1));
}

#[test]
fn new_rules_count_from_the_next_request_on() {
    let server = server();
    assert_eq!(post(&server, GATE, &check("shut")).json()["value"], false);
    server.set_rules(Rules::new().gate("shut", true));
    assert_eq!(post(&server, GATE, &check("shut")).json()["value"], true);
}

#[test]
fn invalid_request_is_refused_recorded_and_counted() {
    let server = server();
    let key = "statsig-api-key: k\r\n";
    let body = check("open").to_string();
    let text = format!("{key}content-type: text/plain\r\n");
    let cases = [
        ("GET", GATE, key, &*body, 405, "POST"),
        ("POST", "/v1/get_layer", key, &*body, 404, "operation"),
        ("POST", "/else", key, &*body, 404, "operation"),
        ("POST", GATE, "", &*body, 401, "statsig-api-key is required"),
        ("POST", GATE, "statsig-api-key: \r\n", &*body, 401, "statsig-api-key is required"),
        ("POST", GATE, &*text, &*body, 415, "application/json"),
        ("POST", GATE, key, "{", 400, "not JSON"),
        ("POST", GATE, key, r#"{"gateName": "open"}"#, 400, "user is required"),
    ];
    for (n, (method, path, headers, body, status, words)) in cases.into_iter().enumerate() {
        let mut client = Client::new(&server);
        client.send(method, path, headers, body.as_bytes());
        let answer = client.answer().unwrap();
        assert_eq!(answer.status, status, "{method} {path} {headers}{body}");
        assert!(answer.error().contains(words), "{}", answer.error());
        assert_eq!(answer.head.contains("allow: post"), status == 405, "{}", answer.head);
        assert_eq!(server.refused(), n + 1);
        let recorded = server.requests().pop().unwrap();
        assert_eq!((&*recorded.path, recorded.status), (path, Some(status)));
        assert_eq!(recorded.refusal, Some(answer.error()));
        assert!(!recorded.exposure);
    }
    // `/else` is not part of the API, so it does not count as a call.
    assert_eq!(server.calls(), 7);
}

#[test]
fn body_beyond_the_limit_is_refused_unread() {
    let server = server();
    let mut client = Client::new(&server);
    let head = "POST /v1/check_gate HTTP/1.1\r\nhost: h\r\ncontent-length: 5000000\r\n\r\n";
    client.0.write_all(head.as_bytes()).unwrap();
    assert_eq!(client.answer().unwrap().status, 413);
    assert_eq!((server.calls(), server.refused()), (1, 1));
}

#[test]
fn no_content_type_and_one_with_a_charset_are_taken() {
    let server = server();
    for headers in ["", "content-type: Application/JSON; charset=utf-8\r\n"] {
        let mut client = Client::new(&server);
        let headers = format!("Statsig-API-Key: k\r\n{headers}");
        client.send("POST", GATE, &headers, check("open").to_string().as_bytes());
        assert_eq!(client.answer().unwrap().status, 200, "{headers}");
    }
}

#[test]
fn required_key_refuses_every_other() {
    let server = server();
    server.require_key("another-key");
    let refused = post(&server, GATE, &check("open"));
    assert_eq!(refused.status, 401);
    assert!(!refused.error().contains("secret-key") && !refused.error().contains("another-key"));
    server.require_key("secret-key");
    assert_eq!(post(&server, GATE, &check("open")).status, 200);
    assert_eq!(server.refused(), 1);
}

#[test]
fn requests_are_recorded_in_order_with_what_they_asked() {
    // Given a check with exposures and a config without
    let server = server();
    let user = json!({"userID": "u-1", "privateAttributes": {"a": "hush"}});
    let quiet = json!({"exposureLoggingDisabled": true});
    let gates = json!({"gateNames": ["shut", "open"], "user": user});
    let config = json!({"configName": "homepage", "user": user, "statsigMetadata": quiet});

    // When both requests are made
    post(&server, GATE, &gates);
    post(&server, CONFIG, &config);

    // Then both are recorded in full, and `Debug` shows neither the key nor a private attribute
    let [first, second] = <[_; 2]>::try_from(server.requests()).unwrap();
    assert_eq!((&*first.path, &first.body, first.exposure), (GATE, &gates, true));
    assert_eq!((&*second.path, &second.body, second.exposure), (CONFIG, &config, false));
    assert_eq!(first.names, ["shut", "open"]);
    assert_eq!(second.names, ["homepage"]);
    assert_eq!((&first.user, first.status), (&user, Some(200)));
    assert_eq!(first.header("Content-Type"), Some("application/json"));
    assert!(first.has_key("secret-key") && !first.has_key("another-key"));
    let shown = format!("{first:?} {server:?}");
    assert!(!shown.contains("secret-key") && !shown.contains("hush"), "{shown}");

    // And the record can be cleared, or switched off
    server.clear();
    assert_eq!((server.requests().len(), server.calls()), (0, 0));
    server.keep_requests(0);
    post(&server, GATE, &gates);
    assert_eq!((server.requests().len(), server.calls()), (0, 1));
}

#[test]
fn synchronous_test_waits_for_calls_without_sleeping() {
    let server = server();
    let mut client = Client::new(&server);
    server.inject(Fault::hang());
    client.ask(GATE, &check("open"));
    // A call counts once it is read, even if it is never answered.
    assert!(server.wait_for_calls(1, LONG));
    assert_eq!(server.requests()[0].status, None);
    assert!(!server.wait_for_calls(2, Duration::ZERO));
}

#[test]
fn each_fault_is_seen_by_the_client_as_what_it_is() {
    let server = server();
    let failed = |fault: Fault| {
        server.inject(fault);
        let mut client = Client::new(&server);
        client.ask(GATE, &check("open"));
        // Whatever the fault, the server answers the next request.
        let outcome = client.answer();
        assert_eq!(post(&server, GATE, &check("open")).status, 200);
        outcome
    };
    let kind = |outcome: io::Result<Answer>| outcome.unwrap_err().kind();

    assert_eq!(kind(failed(Fault::reset())), ErrorKind::ConnectionReset);
    assert_eq!(kind(failed(Fault::reset_mid_body())), ErrorKind::ConnectionReset);
    assert_eq!(kind(failed(Fault::truncated())), ErrorKind::UnexpectedEof);
    assert_eq!(kind(failed(Fault::close())), ErrorKind::UnexpectedEof);

    let busy = failed(Fault::status(429).retry_after("2")).unwrap();
    assert_eq!(busy.status, 429);
    assert!(busy.head.contains("retry-after: 2\r\n"), "{}", busy.head);
    let garbage = failed(Fault::garbage()).unwrap();
    assert_eq!(garbage.status, 200);
    assert!(serde_json::from_slice::<Value>(&garbage.body).is_err());
    let body = failed(Fault::body("[1]").content_type("text/html")).unwrap();
    assert_eq!((body.status, &*body.body), (200, &b"[1]"[..]));
    assert!(body.head.contains("content-type: text/html"), "{}", body.head);
    let late = failed(Fault::delay(Duration::from_millis(1))).unwrap();
    assert_eq!(late.json()["value"], true);
    assert_eq!(server.refused(), 0);
}

#[test]
fn names_are_left_out_of_an_answer_and_of_no_other() {
    let server = server();
    let both = json!({"gateNames": ["open", "shut"], "user": {"userID": "u-1"}});
    server.inject(Fault::leave_out(["shut"]).for_name("shut"));
    assert_eq!(post(&server, GATE, &check("open")).status, 200);
    let first = post(&server, GATE, &both).json();
    let second = post(&server, GATE, &both).json();
    assert_eq!(first.as_object().unwrap().keys().collect::<Vec<_>>(), ["open"]);
    assert_eq!(second.as_object().unwrap().len(), 2);
}

#[test]
fn fault_replaces_a_refusal_that_still_counts() {
    let server = server();
    server.inject(Fault::status(503).for_name("no/name"));
    assert_eq!(post(&server, GATE, &check("no/name")).status, 503);
    let recorded = server.requests().pop().unwrap();
    assert_eq!((server.refused(), recorded.status), (1, Some(503)));
    assert!(recorded.refusal.unwrap().contains("gateName"));
}

#[test]
fn faults_can_be_cleared() {
    let server = server();
    server.inject(Fault::status(503).always());
    assert_eq!(post(&server, GATE, &check("open")).status, 503);
    assert_eq!(post(&server, GATE, &check("open")).status, 503);
    server.clear_faults();
    assert_eq!(post(&server, GATE, &check("open")).status, 200);
}

#[test]
fn client_leaving_a_hanging_answer_leaves_no_connection() {
    for fault in [Fault::hang(), Fault::stall_body()] {
        // Given a request that gets no answer, or only its beginning
        let server = server();
        server.inject(fault.clone());
        let mut client = Client::new(&server);
        client.ask(GATE, &check("open"));
        assert!(server.wait_for_calls(1, LONG));
        assert_eq!(server.open_connections(), 1, "{fault:?}");

        // When the client leaves, then the server closes the connection
        drop(client);
        all_closed(&server);
    }
}

#[test]
fn stalled_body_begins_and_stays_open() {
    let server = server();
    server.inject(Fault::stall_body());
    let mut client = Client::new(&server);
    client.ask(GATE, &check("open"));
    let mut seen = Vec::new();
    while !seen.ends_with(b"beg") {
        seen.push(client.byte().unwrap());
    }
    // Only stopping the server ends the answer, and cuts it short.
    server.stop();
    assert!(client.byte().is_err());
}

#[test]
fn stop_closes_connections_and_port_and_keeps_the_record() {
    // Given a server with a request in flight
    let server = server();
    server.inject(Fault::hang());
    let mut client = Client::new(&server);
    client.ask(GATE, &check("open"));
    assert!(server.wait_for_calls(1, LONG));

    // When it is stopped, twice
    server.stop();
    server.stop();

    // Then no connection is open, new connections are refused, and the record is still there
    assert!(client.answer().is_err());
    assert_eq!(server.open_connections(), 0);
    assert_eq!(
        TcpStream::connect(server.address()).unwrap_err().kind(),
        ErrorKind::ConnectionRefused
    );
    assert_eq!(server.requests().len(), 1);

    // And another server can start at the same address
    let address = server.address();
    drop(client);
    drop(server);
    let again = LocalStatsig::start_on(address, Rules::sample()).unwrap();
    assert_eq!(post(&again, GATE, &check("new_checkout")).json()["value"], true);
}

#[test]
fn client_leaving_mid_request_is_not_recorded() {
    let server = server();
    let mut client = Client::new(&server);
    let part = "POST /v1/check_gate HTTP/1.1\r\nhost: h\r\ncontent-length: 100\r\n\r\n{";
    client.0.write_all(part.as_bytes()).unwrap();
    client.0.shutdown(Shutdown::Both).unwrap();
    assert_eq!(post(&server, GATE, &check("open")).status, 200);
    all_closed(&server);
    assert_eq!((server.calls(), server.refused()), (1, 0));
}

#[test]
fn taken_address_is_an_error() {
    let server = server();
    let error = LocalStatsig::start_on(server.address(), Rules::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
}

#[actix_rt::test]
async fn server_started_on_an_actix_thread_serves_it() {
    fn is_send_and_sync(_: &(impl Send + Sync)) {}
    let server = server();
    is_send_and_sync(&server);
    let url = format!("{}{GATE}", server.url());
    let request = awc::Client::default().post(url).insert_header(("statsig-api-key", "k"));
    let mut response = request.send_json(&check("open")).await.unwrap();
    assert_eq!(response.json::<Value>().await.unwrap()["value"], true);
    server.calls_reached(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn server_starts_and_drops_inside_a_tokio_runtime() {
    let server = server();
    let answer = tokio::task::spawn_blocking(move || post(&server, GATE, &check("open")));
    assert_eq!(answer.await.unwrap().status, 200);
    drop(LocalStatsig::start(Rules::new()).unwrap());
}

//! `LocalStatsig` by itself, asked by a bare HTTP client.
#![cfg(feature = "test-util")]

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    time::Duration,
};

use actix_statsig::test_util::{Fault, LocalStatsig, Rules};
use awc::{Client, error::SendRequestError, http::Method};
use serde_json::{Value, json};

fn server() -> LocalStatsig {
    LocalStatsig::start(Rules::new().gate("open", true)).expect("a free port")
}

fn good() -> Value {
    json!({"gateName": "open", "user": {"userID": "u-1"}})
}

/// Keeps no connection and is patient.
fn client() -> Client {
    let connector = awc::Connector::new().conn_keep_alive(Duration::ZERO);
    Client::builder().connector(connector).disable_timeout().disable_redirects().finish()
}

/// Status and JSON of the answer to one request.
async fn post(server: &LocalStatsig, key: &str, body: &Value) -> (u16, Value) {
    let request = client().post(format!("{}/v1/check_gate", server.url()));
    let request = request.insert_header(("statsig-api-key", key));
    let mut response = request.send_json(body).await.expect("an answer");
    let json = response.json().await.expect("JSON");
    (response.status().as_u16(), json)
}

#[actix_rt::test]
async fn what_the_api_document_refuses_is_refused_with_its_status() {
    let server = server();
    server.require_key("right");
    let check_gate = || format!("{}/v1/check_gate", server.url());

    let no_key = client().post(check_gate()).send_json(&good()).await.unwrap();
    let nowhere = client().post(format!("{}/v1/nothing", server.url())).send().await.unwrap();
    let got = client().request(Method::GET, check_gate()).send().await.unwrap();
    let form = client().post(check_gate()).insert_header(("statsig-api-key", "right"));
    let form = form.send_form(&[("gateName", "open")]).await.unwrap();
    let long = client().post(check_gate()).insert_header(("statsig-api-key", "right"));
    let long = long.send_body(vec![b' '; 5 << 20]).await.unwrap();

    assert_eq!(post(&server, "wrong", &good()).await.0, 401);
    let statuses = [&no_key, &nowhere, &got, &form, &long].map(|answer| answer.status().as_u16());
    assert_eq!(statuses, [401, 404, 405, 415, 413]);
    assert_eq!(got.headers().get("allow").unwrap(), "POST");
    let (status, refusal) = post(&server, "right", &json!({"gateName": "open"})).await;
    assert_eq!((status, &refusal["error"]), (400, &json!("user must be an object")));
    let (status, gate) = post(&server, "right", &good()).await;
    assert_eq!((status, &gate["value"]), (200, &json!(true)));
}

#[actix_rt::test]
async fn requests_are_counted_and_recorded_until_they_are_forgotten() {
    let server = server();
    let body = json!({
        "gateNames": ["open", "shut", "open"], "user": {"userID": "u-1", "country": "NL"},
        "statsigMetadata": {"exposureLoggingDisabled": true},
    });

    post(&server, "some-key", &good()).await;
    post(&server, "some-key", &body).await;
    post(&server, "some-key", &json!({"gateName": "a/b", "user": {"userID": "u-1"}})).await;
    server.calls_reached(3).await;

    assert_eq!((server.calls(), server.refused()), (3, 1));
    let [one, many, refused] = &server.requests()[..] else { panic!("{:?}", server.requests()) };
    assert_eq!((&*one.path, &one.names[..]), ("/v1/check_gate", &["open".to_owned()][..]));
    assert!(one.exposure && !many.exposure && !refused.exposure);
    assert_eq!(many.names, ["open", "shut", "open"]);
    assert_eq!((&many.user["country"], &many.body), (&json!("NL"), &body));
    assert_eq!(one.header("statsig-api-key"), Some("some-key"));
    assert_eq!(one.header("content-type"), Some("application/json"));
    assert!(refused.names.is_empty());
    assert!(refused.refusal.as_ref().is_some_and(|why| why.contains("a/b")), "{refused:?}");

    server.clear();
    assert_eq!((server.calls(), server.refused(), server.requests().len()), (0, 0, 0));
}

#[actix_rt::test]
async fn an_injected_answer_is_sent_as_it_was_made() {
    let server = server();
    let send = || client().post(format!("{}/v1/check_gate", server.url())).send_json(&good());

    server.inject(Fault::status(429).retry_after("7").header("x-more", "yes").with_body("later"));
    let mut busy = send().await.unwrap();
    server.inject(Fault::body([0xff]).content_type("text/plain"));
    let mut odd = send().await.unwrap();
    server.inject(Fault::leave_out(["open"]));
    let body = json!({"gateNames": ["open", "shut"], "user": {"userID": "u-1"}});
    let (_, left) = post(&server, "any", &body).await;
    server.inject(Fault::delay(Duration::from_millis(1)));
    let (delayed, _) = post(&server, "any", &good()).await;

    assert_eq!((busy.status().as_u16(), &busy.body().await.unwrap()[..]), (429, &b"later"[..]));
    assert_eq!(busy.headers().get("retry-after").unwrap(), "7");
    assert_eq!(busy.headers().get("x-more").unwrap(), "yes");
    assert_eq!((odd.status().as_u16(), &odd.body().await.unwrap()[..]), (200, &[0xff][..]));
    assert_eq!(odd.headers().get("content-type").unwrap(), "text/plain");
    assert!(left.get("open").is_none() && left.get("shut").is_some(), "{left}");
    assert_eq!(delayed, 200);
}

/// How a connection ends after one request: what came of an answer, and whether it was reset.
fn ending(server: &LocalStatsig, fault: Fault) -> (String, bool) {
    server.inject(fault);
    let mut stream = send_raw(server);
    let mut answer = Vec::new();
    let end = stream.read_to_end(&mut answer);
    let is_reset = end.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset);
    (String::from_utf8(answer).expect("text"), is_reset)
}

fn send_raw(server: &LocalStatsig) -> TcpStream {
    let mut stream = TcpStream::connect(server.address()).expect("a connection");
    let body = good().to_string();
    let length = body.len();
    let head = "POST /v1/check_gate HTTP/1.1\r\nhost: a\r\nstatsig-api-key: k\r\n";
    let request =
        format!("{head}content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).expect("a request that is sent");
    stream
}

#[test]
fn a_reset_a_close_and_a_body_cut_short_are_told_apart() {
    let server = server();
    assert_eq!(ending(&server, Fault::reset()), (String::new(), true));
    assert_eq!(ending(&server, Fault::close()), (String::new(), false));
    let (truncated, is_reset) = ending(&server, Fault::truncated());
    assert!(truncated.ends_with("{\"name\": \"beg") && !is_reset, "{truncated:?}");
    let (_, is_reset) = ending(&server, Fault::reset_mid_body());
    assert!(is_reset);
}

#[actix_rt::test]
async fn a_request_that_hangs_does_so_until_the_server_is_dropped() {
    let server = server();
    server.inject(Fault::hang());
    let url = format!("{}/v1/check_gate", server.url());
    let hangs = actix_rt::spawn(async move {
        let request = client().post(url).insert_header(("statsig-api-key", "k"));
        request.send_json(&good()).await.map(|response| response.status())
    });
    server.calls_reached(1).await;
    // The server goes on with others meanwhile.
    assert_eq!(post(&server, "any", &good()).await.0, 200);
    assert!(!hangs.is_finished());

    drop(server);

    let error = hangs.await.unwrap().unwrap_err();
    assert!(!matches!(error, SendRequestError::Timeout), "{error}");
}

#[test]
fn a_server_that_is_dropped_leaves_neither_connection_nor_listener_nor_thread() {
    let server = server();
    let address = server.address();
    let mut open = send_raw(&server);
    let mut byte = [0];
    assert_eq!(open.read(&mut byte).unwrap(), 1);

    // Waits for its thread.
    drop(server);

    let end = open.read_to_end(&mut Vec::new());
    assert!(end.is_ok() || end.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset));
    let refused = TcpStream::connect(address).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}

//! Answers that the API does not describe, over real sockets. Each becomes an error that names the
//! call's path, says what is wrong, and quotes a short part of the answer without secrets.
#![cfg(feature = "test-util")]

use std::{
    io::{ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    thread,
    time::Duration,
};

use actix_statsig::{
    ConfigBuilder, Error, Statsig, User,
    test_util::{Fault, LocalStatsig, Rules},
};
use serde_json::json;

use crate::support::{config, user};

const KEY: &str = "secret-key";

/// The value of a user's private attribute in these tests.
const PRIVATE: &str = "hunter2";

fn rules() -> Rules {
    Rules::new().gate("open", true).gate("shut", false).config("homepage", json!({"theme": "dark"}))
}

fn patient() -> ConfigBuilder {
    config().timeout(Duration::from_secs(60)).attempt_timeout(Duration::from_secs(30))
}

fn start(url: String) -> Statsig {
    Statsig::start_in_current_arbiter(
        patient().base_url(url).build().expect("a valid configuration"),
    )
    .expect("a running arbiter")
}

/// The kind of request, which determines the parser of the answer.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Asked {
    One,
    Two,
    Config,
}
use Asked::{Config, One, Two};

async fn ask(statsig: &Statsig, asked: Asked, user: &User) -> Result<(), Error> {
    match asked {
        One => statsig.gate_evaluation(user, "open").await.map(drop),
        Two => statsig.gate_evaluations(user, ["open", "shut"]).await.map(drop),
        Config => statsig.get_config(user, "homepage").await.map(drop),
    }
}

fn deep(levels: usize) -> String {
    format!("{}{}", "[".repeat(levels), "]".repeat(levels))
}

/// Invalid bodies, with the request for each and a part of the error's text.
fn refused() -> Vec<(Asked, Vec<u8>, &'static str)> {
    let text = |asked, body: &str, says| (asked, body.as_bytes().to_vec(), says);
    let nested = deep(100_000);
    let nested_objects = format!("{}1{}", r#"{"k":"#.repeat(100_000), "}".repeat(100_000));
    let mut cases = vec![
        // Not JSON, or JSON followed by something else
        text(One, "", "EOF while parsing"),
        text(Two, " ", "EOF while parsing"),
        text(Config, "", "EOF while parsing"),
        text(One, "html", "expected value"),
        text(One, "\u{feff}\u{feff}{\"value\": true}", ""),
        text(Two, "\u{feff}{}", "left out \"open\""),
        text(One, r#"{"value": true} {}"#, "trailing characters"),
        text(Two, r#"{"open": {"value": true}, "shut": {"value": true}}]"#, "trailing characters"),
        text(Config, "{\"value\": {}}\0", "trailing characters"),
        text(One, r#"{"value": true"#, "EOF while parsing"),
        text(One, r#"{"value": true,}"#, "trailing comma"),
        text(Two, r#"{'open': 1}"#, "key must be a string"),
        // Another shape
        text(One, "null", "expected an object with one evaluation"),
        text(One, "[]", "expected an object with one evaluation"),
        text(One, r#"["open", true, null, null]"#, "expected an object with one evaluation"),
        text(One, r#"{"open": {"name": "open", "value": true}}"#, "missing field `value`"),
        text(Two, "[]", "expected an object of gates"),
        text(Two, "7", "expected an object of gates"),
        text(
            Two,
            r#"{"name": "open", "value": true, "rule_id": null}"#,
            "found the answer for one gate",
        ),
        text(Two, r#"{"open": true, "shut": false}"#, "expected an object with one evaluation"),
        text(
            Two,
            r#"{"open": ["open", true, null, null]}"#,
            "expected an object with one evaluation",
        ),
        text(Two, r#"{"open": null}"#, "expected an object with one evaluation"),
        text(Config, r#"["homepage", {}, null, null]"#, "expected an object with one evaluation"),
        text(Config, r#"{"homepage": {"value": {}}}"#, "missing field `value`"),
        // Another type
        text(One, r#"{"value": "true"}"#, "expected a boolean"),
        text(One, r#"{"value": 1}"#, "expected a boolean"),
        text(One, r#"{"value": null}"#, "expected a boolean"),
        text(One, r#"{"name": 7, "value": true}"#, "expected a string"),
        text(One, r#"{"value": true, "rule_id": 7}"#, "expected a string"),
        text(Two, r#"{"open": {"value": true, "group_name": {}}}"#, "expected a string"),
        text(Config, r#"{"value": []}"#, "expected a map"),
        text(Config, r#"{"value": null}"#, "expected a map"),
        text(Config, r#"{"value": "{}"}"#, "expected a map"),
        // Another name
        text(
            One,
            r#"{"name": "shut", "value": true}"#,
            "expected the name \"open\", found \"shut\"",
        ),
        text(Two, r#"{"open": {"name": "shut", "value": true}}"#, "expected the name \"open\""),
        text(Config, r#"{"name": "Homepage", "value": {}}"#, "expected the name \"homepage\""),
        text(Two, r#"{"open": {"value": true}}"#, "left out \"shut\""),
        text(Two, r#"{"Open": {"value": true}}"#, "left out \"open\""),
        text(Two, "{}", "left out \"open\""),
        // Duplicate fields
        text(One, r#"{"value": true, "value": false}"#, "duplicate field `value`"),
        text(One, r#"{"value": true, "valu\u0065": true}"#, "duplicate field `value`"),
        text(
            Two,
            r#"{"open": {"name": "open", "name": "open", "value": true}}"#,
            "duplicate field",
        ),
        text(Config, r#"{"value": {}, "value": {}}"#, "duplicate field `value`"),
        // Invalid numbers and characters
        text(Config, r#"{"value": {"k": NaN}}"#, "expected value"),
        text(Config, r#"{"value": {"k": 01}}"#, "invalid number"),
        text(One, r#"{"name": "\ud800", "value": true}"#, "found \"\u{fffd}\""),
        text(Config, r#"{"value": {"k": "\ud80"}}"#, "invalid escape"),
        text(One, "{\"name\": \"op\nen\", \"value\": true}", "control character"),
        (One, b"{\"name\": \"op\xffen\", \"value\": true}".to_vec(), "invalid utf-8"),
        (Two, b"{\"op\xe9n\": {\"value\": true}}".to_vec(), "invalid utf-8"),
        (Config, b"{\"value\": {\"k\": \"\xc3\x28\"}}".to_vec(), "invalid utf-8"),
        (One, b"{\"value\": true, \"skipped\": \"\xed\xa0\x80\"}".to_vec(), "invalid utf-8"),
        (One, [b"\xff\xfe{\0}\0".to_vec()].concat(), "expected value"),
        // Too long
        (Two, vec![b' '; 3 << 20], "longer than 2 MiB"),
    ];
    for (asked, before, after) in [
        (One, "", ""),
        (Two, "", ""),
        (Config, "", ""),
        (One, r#"{"value":"#, "}"),
        (One, r#"{"value": true, "rule_id":"#, "}"),
        (Two, r#"{"open":"#, "}"),
        (Two, r#"{"open": {"value":"#, "}}"),
        (Config, r#"{"value":"#, "}"),
    ] {
        for nested in [&nested, &nested_objects] {
            cases.push((asked, format!("{before}{nested}{after}").into_bytes(), ""));
        }
    }
    for nested in [&nested, &nested_objects] {
        let body = format!(r#"{{"value": {{"k": {nested}}}}}"#).into_bytes();
        cases.push((Config, body, "recursion limit exceeded"));
    }
    cases
}

#[actix_rt::test]
async fn each_bad_body_is_an_error_that_says_what_is_wrong_with_it() {
    let server = LocalStatsig::start(rules()).unwrap();
    let statsig = start(server.url());
    for (n, (asked, body, says)) in refused().into_iter().enumerate() {
        let shown = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
        server.clear();
        server.inject(Fault::body(body).always());

        let error = ask(&statsig, asked, &user(n)).await.unwrap_err();
        server.clear_faults();

        let text = error.to_string();
        assert!(text.contains(says), "{asked:?} {shown}: {text}");
        assert!(text.starts_with(path(asked)), "{asked:?} {shown}: {text}");
        assert_plain(&error);
        match error {
            Error::InvalidResponse { .. } => assert!(!says.contains("left out"), "{text}"),
            Error::MissingName { .. } => {
                assert!(says.is_empty() || says.contains("left out"), "{text}")
            }
            error => panic!("{asked:?} {shown}: {error:?}"),
        }
        // If names differ or are missing, the connection may be off by one, so the call is retried
        // once.
        let may_be_anothers = shown.contains(r#""name": ""#) || says.contains("left out");
        let most = if may_be_anothers { 2 } else { 1 };
        assert!(server.calls() <= most, "a retry would not help: {shown}");
        // The next request succeeds, on this connection or another one.
        assert!(statsig.check_gate(&user(n), "open").await.unwrap());
    }
}

#[actix_rt::test]
async fn unknown_and_null_fields_are_tolerated() {
    let server = LocalStatsig::start(rules()).unwrap();
    let statsig = start(server.url());
    let deep = deep(100_000);
    for (n, (asked, body)) in [
        (One, r#"{"value": true}"#.to_owned()),
        (One, r#" {"name": null, "value": true, "rule_id": null, "group_name": null} "#.to_owned()),
        (One, r#"{"value": true, "new": 1e999, "newer": "\ud800", "new": {}}"#.to_owned()),
        (One, format!(r#"{{"value": true, "new": {deep}}}"#)),
        (Two, r#"{"name": 1, "shut": {"value": true}, "open": {"value": true}}"#.to_owned()),
        (
            Two,
            format!(r#"{{"new": {deep}, "open": {{"value": true}}, "shut": {{"value": true}}}}"#),
        ),
        (
            Two,
            format!(r#"{{"open": {{"value": true, "new": {deep}}}, "shut": {{"value": true}}}}"#),
        ),
        (Config, r#"{"name": null, "value": {}, "group": 7}"#.to_owned()),
        (Config, r#"{"value": {"k": 1, "k": [{"l": 1, "l": 2}]}}"#.to_owned()),
        (
            Config,
            r#"{"value": {"k": 1e999, "\ud800": "\udc00"}, "group_name": "\ud800"}"#.to_owned(),
        ),
        (Config, format!(r#"{{"new": {deep}, "value": {{}}}}"#)),
    ]
    .into_iter()
    .enumerate()
    {
        let shown: String = body.chars().take(80).collect();
        server.inject(Fault::body(body));
        let answer = ask(&statsig, asked, &user(n)).await;
        assert!(answer.is_ok(), "{asked:?} {shown}: {answer:?}");
    }
}

#[actix_rt::test]
async fn config_keeps_the_servers_exact_numbers() {
    let server = LocalStatsig::start(rules()).unwrap();
    let statsig = start(server.url());
    // A fast but inexact parser rounds the last number to its neighbour.
    let numbers =
        "[18446744073709551615,-9223372036854775808,-0.0,0.1,5e-324,6.2e-42,51.24817837550540]";
    server.inject(Fault::body(format!(r#"{{"value": {{"n": {numbers}}}}}"#)));

    let config = statsig.get_config(&user("u-1"), "homepage").await.unwrap();

    let exact = [0.1, 5e-324, 6.2e-42, 51.248_178_375_505_4_f64];
    let read: Vec<serde_json::Number> = config.get("n").unwrap();
    assert_eq!((read[0].as_u64(), read[1].as_i64()), (Some(u64::MAX), Some(i64::MIN)));
    assert!(read[2].as_f64().is_some_and(f64::is_sign_negative));
    for (read, exact) in read[3..].iter().zip(exact) {
        assert_eq!(read.as_f64().map(f64::to_bits), Some(exact.to_bits()));
    }
}

#[actix_rt::test]
async fn body_that_cannot_be_unpacked_is_an_error_that_says_so() {
    let server = LocalStatsig::start(rules()).unwrap();
    let statsig = start(server.url());
    let corrupt = Fault::body(b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xff\xff\xff");
    for (n, (fault, says)) in [
        (corrupt.clone(), "the body's gzip data is corrupt"),
        (corrupt.header("content-encoding", "gzip"), "the body's gzip data is corrupt"),
        (Fault::body(b"\x1f\x8b\x08\0"), "the body's gzip data is corrupt"),
        (
            Fault::body(b"\x8b\x03").header("content-encoding", "br"),
            "found another content encoding",
        ),
        (Fault::body("{}").header("content-encoding", "deflate"), "found another content encoding"),
    ]
    .into_iter()
    .enumerate()
    {
        server.inject(fault);
        let error = ask(&statsig, One, &user(n)).await.unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("/v1/check_gate") && text.contains(says), "{text}");
        assert_eq!(error.kind().as_str(), "invalid_response");
        assert!(statsig.check_gate(&user(n), "open").await.unwrap());
    }
}

#[actix_rt::test]
async fn refusals_are_quoted_safely_too() {
    let server = LocalStatsig::start(rules()).unwrap();
    let statsig = start(server.url());
    let private = User::builder().user_id("u-1").private_attribute("pin", PRIVATE).build().unwrap();
    let echo = format!("{KEY}\r\n\u{202e}\u{1b}[31m{}", "\u{1f980}".repeat(10_000));
    for who in [user("u-2"), private] {
        let is_private = format!("{who:?}").contains("private");
        let echo = if is_private { format!("{PRIVATE} {KEY}") } else { echo.clone() };
        for fault in [Fault::status(400), Fault::status(409), Fault::status(422)] {
            server.inject(fault.with_body(echo.clone()));
            let error = ask(&statsig, One, &who).await.unwrap_err();
            assert_plain(&error);
            let Error::Refused { excerpt, .. } = &error else { panic!("{error:?}") };
            let expected = if is_private { "[withheld" } else { "[redacted]    [31m\u{1f980}" };
            assert!(excerpt.starts_with(expected), "{excerpt:?}");
        }
    }
}

#[actix_rt::test]
async fn answer_about_private_attributes_is_not_quoted() {
    let server = LocalStatsig::start(rules()).unwrap();
    let statsig = start(server.url());
    let who = User::builder().user_id("u-1").private_attribute("pin", PRIVATE).build().unwrap();
    for (body, says) in [
        (format!("{{\n{PRIVATE}"), "the body is not JSON at line 2 column 1"),
        (
            format!(r#"{{"value": "{PRIVATE}"}}"#),
            "the JSON has another shape than expected at line 1 column 19",
        ),
        (format!(r#"{{"{PRIVATE}""#), "the JSON ends too early at line 1 column 10"),
    ] {
        server.inject(Fault::body(body));
        let error = ask(&statsig, One, &who).await.unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
        assert_plain(&error);
    }
}

/// Promise 4: of 64 MiB, the client reads no more than the limit allows, with or without a
/// `content-length`.
#[actix_rt::test]
async fn promise_4_of_a_huge_body_no_more_is_read_than_allowed() {
    for (status, announced) in
        [("200 OK", true), ("200 OK", false), ("400 Bad", true), ("400 Bad", false)]
    {
        let (url, flood) = flood(status, announced);
        let statsig = start(url);

        let error = ask(&statsig, One, &user("u-1")).await.unwrap_err();

        let text = error.to_string();
        assert!(text.starts_with("/v1/check_gate"), "{text}");
        assert_eq!(text.contains("longer than 2 MiB"), status == "200 OK", "{text}");
        assert_plain(&error);
        let sent = flood.join().unwrap();
        // 2 MiB, plus the contents of the socket buffers on both sides.
        assert!(sent < HUGE / 2, "{sent} bytes were sent, {status}, announced: {announced}");
    }
}

const HUGE: usize = 64 << 20;

/// Answers one request with 64 MiB. The thread returns the number of bytes that it could send.
fn flood(status: &'static str, announced: bool) -> (String, thread::JoinHandle<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let serve = move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        read_request(&mut stream);
        let length = match announced {
            true => format!("content-length: {HUGE}"),
            false => "transfer-encoding: chunked".to_owned(),
        };
        let head =
            format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{length}\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("a client that listens");
        let chunk = vec![b' '; 64 << 10];
        let mut sent = 0;
        while sent < HUGE {
            let size = if announced { String::new() } else { format!("{:x}\r\n", chunk.len()) };
            let end: &[u8] = if announced { b"" } else { b"\r\n" };
            match stream.write_all(&[size.as_bytes(), &chunk, end].concat()) {
                Ok(()) => sent += chunk.len(),
                Err(error) => {
                    let kinds = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset];
                    assert!(kinds.contains(&error.kind()), "{error}");
                    break;
                }
            }
        }
        sent
    };
    (url, thread::spawn(serve))
}

/// Reads a request up to the end of its short body.
fn read_request(stream: &mut TcpStream) {
    let mut read = Vec::new();
    while !read.ends_with(b"}}") {
        let mut buffer = [0; 4096];
        let length = stream.read(&mut buffer).expect("a request");
        assert_ne!(length, 0, "the request was cut short");
        read.extend_from_slice(&buffer[..length]);
    }
}

/// The status alone decides: a refused key is not tried again because the body never arrives.
#[actix_rt::test]
async fn refusal_without_its_body_is_still_a_refusal() {
    for (status, kind) in [("401 Unauthorized", "unauthorized"), ("400 Bad Request", "refused")] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serve = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            read_request(&mut stream);
            let media = "content-type: application/json";
            let head = format!("HTTP/1.1 {status}\r\n{media}\r\ncontent-length: 100\r\n\r\n{{");
            stream.write_all(head.as_bytes()).unwrap();
            // Waits until the client leaves.
            let _ = stream.read(&mut [0]);
        });
        let statsig = start(url);

        let error = ask(&statsig, One, &user("u-1")).await.unwrap_err();

        assert_eq!(error.kind().as_str(), kind, "{error}");
        if let Error::Refused { excerpt, .. } = &error {
            assert_eq!(excerpt, "{");
        }
        serve.join().unwrap();
    }
}

fn path(asked: Asked) -> &'static str {
    if asked == Config { "/v1/get_config" } else { "/v1/check_gate" }
}

/// Asserts that the error is short, on one line, and free of secrets and of characters that could
/// mislead a reader.
fn assert_plain(error: &Error) {
    if let Error::InvalidResponse { reason, excerpt, .. } = error {
        for part in [reason, excerpt] {
            assert!(part.chars().count() <= 200, "{part}");
            assert!(
                !part.contains(|c: char| c.is_control() || "\u{202e}\u{feff}".contains(c)),
                "{part:?}"
            );
        }
    }
    let shown = format!("{error} {error:?}");
    assert!(shown.chars().count() < 2_000 && !shown.contains(char::is_control), "{shown:?}");
    assert!(!shown.contains(KEY) && !shown.contains(PRIVATE), "{shown}");
}

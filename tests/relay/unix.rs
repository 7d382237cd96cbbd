//! The relay on a Unix socket.

use std::{
    fs,
    io::{Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    time::Duration,
};

use crate::{
    program::{KEY, Relay},
    support::upstream::{Mood, Upstream},
};

pub(crate) fn ask(path: &str, header: &str) -> String {
    let mut connection = UnixStream::connect(path).unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let body = r#"{"gateName": "beta", "user": {"userID": "u"}}"#;
    let length = body.len();
    let head = format!(
        "POST /v1/check_gate HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-length: {length}\r\n{header}\r\n"
    );
    connection.write_all((head + body).as_bytes()).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer
}

async fn listening(upstream: &Upstream, path: &str, options: &[&str], keys: &str) -> Relay {
    let listen = format!("unix:{path}");
    let options = [&["--upstream", &upstream.url, "--listen", &listen], options].concat();
    let keys = (!keys.is_empty()).then_some(("STATSIG_RELAY_KEYS", keys));
    let variables: Vec<_> = [("STATSIG_API_KEY", KEY)].into_iter().chain(keys).collect();
    let relay = Relay::listening(&options, &variables).await;
    assert_eq!(relay.address, listen);
    relay
}

/// A short path, because a socket's path has a maximum length.
pub(crate) fn path(name: &str) -> String {
    std::env::temp_dir()
        .join(format!("statsig-{}-{name}", std::process::id()))
        .to_str()
        .unwrap()
        .to_owned()
}

#[actix_rt::test]
async fn unix_socket_caller_needs_no_key() {
    let upstream = Upstream::start(Mood::Answer);
    let path = path("relay.sock");
    let mut relay = listening(&upstream, &path, &[], "").await;

    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(ask(&path, "").starts_with("HTTP/1.1 200"));
    assert!(ask(&path, "x-forwarded-for: 192.0.2.7\r\n").starts_with("HTTP/1.1 401"));

    relay.signal("TERM");
    assert_eq!(relay.ended().await.code, Some(0));
    assert!(!fs::exists(&path).unwrap());
}

#[actix_rt::test]
async fn unix_socket_caller_needs_a_key_if_untrusted() {
    let upstream = Upstream::start(Mood::Answer);
    let path = path("distrusted.sock");
    let options = ["--trust-loopback", "off", "--socket-mode", "0660"];
    let _relay = listening(&upstream, &path, &options, "caller-one").await;

    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    assert!(ask(&path, "").starts_with("HTTP/1.1 401"));
    assert!(ask(&path, "statsig-api-key: caller-one\r\n").starts_with("HTTP/1.1 200"));
    fs::remove_file(&path).unwrap();
}

#[actix_rt::test]
async fn relay_takes_a_dead_ones_socket_and_not_a_live_ones() {
    let upstream = Upstream::start(Mood::Answer);
    let path = path("taken.sock");
    let mut first = listening(&upstream, &path, &[], "").await;

    let listen = format!("unix:{path}");
    let refused = Relay::spawn(&["--listen", &listen], &[("STATSIG_API_KEY", KEY)]).ended().await;
    assert_eq!(refused.code, Some(2));
    let said = refused.stderr;
    assert!(said.contains("--listen") && said.contains("another process listens"), "{said}");
    assert!(ask(&path, "").starts_with("HTTP/1.1 200"));

    first.signal("KILL");
    first.ended().await;
    assert!(fs::exists(&path).unwrap());
    let mut second = listening(&upstream, &path, &[], "").await;
    assert!(ask(&path, "").starts_with("HTTP/1.1 200"));
    second.signal("TERM");
    assert_eq!(second.ended().await.code, Some(0));
}

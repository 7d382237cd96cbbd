//! How much memory the relay's process takes.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    thread,
};

use futures_util::{StreamExt, future::join_all};
use serde_json::json;

use crate::{
    gzip,
    program::{KEY, Relay, limited},
    support::upstream::{Mood, Upstream},
};

/// Requests a config value of this many bytes for each user, some at once. Returns the peak in MiB.
async fn peak(users: usize, bytes: usize, is_shared: bool, options: &[&str]) -> usize {
    let upstream = Upstream::start(Mood::Long { bytes, is_shared });
    let patient = ["--cache-ttl", "600s", "--timeout", "60s", "--attempt-timeout", "60s"];
    let options = [&["--upstream", &upstream.url], &patient[..], options].concat();
    let relay = Relay::start_with(&options, &[("STATSIG_API_KEY", KEY)]).await;
    let asked = futures_util::stream::iter(0..users).map(|n| {
        let user = json!({"userID": format!("u-{n}")});
        let body = json!({"configName": "homepage", "user": user});
        let request = relay.client.post(relay.url("/v1/get_config")).send_json(&body);
        async { limited(limited(request).await.expect("a response").body()).await.expect("a body") }
    });
    let mut answers = asked.buffer_unordered(8);
    while let Some(answer) = answers.next().await {
        assert!(answer.len() > bytes, "{answer:?}");
    }
    relay.peak_memory()
}

/// Before the values were kept as text, the peak was 529 MiB.
#[actix_rt::test]
async fn promise_4_large_configs_keep_the_relay_under_128_mib() {
    let shared = peak(600, 57_000, true, &[]).await;
    let own = peak(600, 57_000, false, &[]).await;
    println!("{shared} MiB with one value for all, {own} MiB with a value for each user");
    assert!(shared < 64, "{shared} MiB with one value for all");
    assert!(own < 128, "{own} MiB with a value for each user");
}

#[actix_rt::test]
async fn promise_4_relay_memory_stays_within_cache_bytes() {
    // 60 MiB of values.
    let peak = peak(3_000, 20_000, false, &["--cache-bytes", "4MiB"]).await;
    assert!(peak < 48, "{peak} MiB");
}

/// The upstream sends nearly the longest body that is accepted, and then stalls.
#[actix_rt::test]
async fn promise_4_endless_bodies_take_bounded_memory() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let length = 2_000_000;
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
                let body = vec![b' '; length - 1];
                let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
                // Waits until the client leaves.
                let _ = stream.read_to_end(&mut Vec::new());
            });
        }
    });
    let options = ["--upstream", &url, "--timeout", "3s", "--attempt-timeout", "3s"];
    let relay = Relay::start_with(&options, &[("STATSIG_API_KEY", KEY)]).await;

    let asked = (0..64).map(|n| {
        let body = json!({"configName": "homepage", "user": {"userID": format!("u-{n}")}});
        relay.post("/v1/get_config", &body)
    });
    for (status, _) in join_all(asked).await {
        assert!(status.is_server_error(), "{status}");
    }

    let peak = relay.peak_memory();
    assert!(peak < 64, "{peak} MiB");
}

/// A few KB decompress to 1 MB, which must be freed before the call.
#[actix_rt::test]
async fn promise_4_unpacked_bodies_are_freed_before_the_call() {
    let upstream = Upstream::start(Mood::Hold);
    let relay = Relay::start(&upstream, &["--timeout", "60s", "--attempt-timeout", "60s"]).await;
    let spaces = " ".repeat(1_000_000);
    for (path, field) in [("/v1/check_gate", "gateName"), ("/v1/get_config", "configName")] {
        for n in 0..100 {
            let body =
                format!(r#"{{{spaces}"{field}":"name","user":{{"userID":"u-{path}-{n}"}}}}"#);
            let request =
                relay.client.post(relay.url(path)).insert_header(("content-encoding", "gzip"));
            actix_rt::spawn(request.send_body(gzip(body.as_bytes())));
        }
    }
    relay.has_received(200).await;
    let peak = relay.peak_memory();
    upstream.release();
    assert!(peak < 64, "{peak} MiB");
}

/// The peak was 110 MiB when connections kept their buffers.
#[actix_rt::test]
async fn promise_4_connections_that_had_a_long_body_keep_little_of_it() {
    let upstream = Upstream::start(Mood::Answer);
    let relay = Relay::start(&upstream, &[]).await;
    let body =
        format!("{}{}", " ".repeat(900_000), json!({"gateName": "beta", "user": {"userID": "u"}}));
    let request = format!(
        "POST /v1/check_gate HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut kept = Vec::new();
    for _ in 0..400 {
        let mut connection = TcpStream::connect(&relay.address).unwrap();
        connection.write_all(request.as_bytes()).unwrap();
        let mut start = [0; 12];
        connection.read_exact(&mut start).unwrap();
        assert_eq!(&start, b"HTTP/1.1 200");
        kept.push(connection);
    }
    let peak = relay.peak_memory();
    assert!(peak < 64, "{peak} MiB");
}

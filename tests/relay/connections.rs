//! What clients may do with their connections, and for how long.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    thread,
    time::Duration,
};

use actix_rt::task::yield_now;
use serde_json::{Value, json};

use crate::{
    program::{KEY, Relay, limited, read},
    support::upstream::{Mood, Upstream},
};

/// Longer than any answer or any close takes.
const LIMIT: Duration = Duration::from_secs(60);

const HEALTH: &str = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// Short for clients and long for everything else, but long enough for a busy machine.
const SHORT: [&str; 4] = ["--client-timeout", "2s", "--timeout", "600s"];

fn connect(relay: &Relay) -> TcpStream {
    let connection = TcpStream::connect(&relay.address).unwrap();
    connection.set_read_timeout(Some(LIMIT)).unwrap();
    connection.set_write_timeout(Some(LIMIT)).unwrap();
    connection
}

fn send(mut connection: &TcpStream, text: &str) {
    connection.write_all(text.as_bytes()).unwrap();
}

/// Reads one answer. All answers in these tests have a length.
fn answer(mut connection: &TcpStream) -> String {
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.unwrap_or("0").parse::<usize>().unwrap() {
                return text;
            }
        }
        let mut byte = [0];
        assert_eq!(connection.read(&mut byte).unwrap(), 1, "it ended after {text:?}");
        read.push(byte[0]);
    }
}

/// Reads until the relay closes the connection.
fn rest(mut connection: &TcpStream) -> String {
    let mut read = Vec::new();
    match connection.read_to_end(&mut read) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    String::from_utf8(read).unwrap()
}

/// Sends a byte every 20 ms until the connection fails.
fn drip(connection: &TcpStream, byte: u8) -> thread::JoinHandle<()> {
    let mut connection = connection.try_clone().unwrap();
    thread::spawn(move || {
        while connection.write_all(&[byte]).is_ok() {
            thread::sleep(Duration::from_millis(20));
        }
    })
}

/// Waits until a well-behaved client gets an answer.
async fn serves(relay: &Relay) {
    limited(async {
        loop {
            let request = relay.client.post(relay.url("/v1/check_gate")).send_json(&gate());
            if request.await.is_ok_and(|response| response.status() == 200) {
                break;
            }
        }
    })
    .await;
}

fn post(path: &str, body: &str) -> String {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n{body}")
}

fn gate() -> Value {
    json!({"gateName": "beta", "user": {"userID": "u"}})
}

#[actix_rt::test]
async fn slow_heads_hold_no_connection_first_or_later() {
    let upstream = Upstream::start(Mood::Answer);
    let few = ["--workers", "1", "--max-connections", "4"];
    let relay = Relay::start(&upstream, &[&SHORT[..], &few].concat()).await;
    let connections: Vec<_> = (0..4).map(|_| connect(&relay)).collect();
    for used in &connections[2..] {
        send(used, HEALTH);
        assert!(answer(used).starts_with("HTTP/1.1 200"));
    }
    let drips: Vec<_> = connections.iter().map(|slow| drip(slow, b'G')).collect();

    serves(&relay).await;

    for slow in &connections {
        let said = rest(slow);
        assert!(said.starts_with("HTTP/1.1 408"), "{said:?}");
        assert!(said.contains("connection: close"), "{said:?}");
    }
    drips.into_iter().for_each(|drip| drip.join().unwrap());
}

#[actix_rt::test]
async fn connection_that_says_nothing_is_closed_without_an_answer() {
    let upstream = Upstream::start(Mood::Answer);
    let relay = Relay::start(&upstream, &[&SHORT[..], &["--keep-alive", "300ms"]].concat()).await;
    let (unused, used) = (connect(&relay), connect(&relay));
    send(&used, HEALTH);
    assert!(answer(&used).starts_with("HTTP/1.1 200"));
    // A client could take a 408 for the answer to its next request.
    assert_eq!((rest(&unused), rest(&used)), (String::new(), String::new()));
}

#[actix_rt::test]
async fn slow_body_gets_408_and_ends_the_connection() {
    let upstream = Upstream::start(Mood::Answer);
    let relay = Relay::start(&upstream, &SHORT).await;
    let slow = connect(&relay);
    send(&slow, "POST /v1/check_gate HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9999\r\n\r\n");
    let drip = drip(&slow, b' ');
    let said = answer(&slow);
    assert!(said.starts_with("HTTP/1.1 408") && said.contains("too_slow"), "{said}");
    assert!(said.contains("connection: close\r\n"), "{said}");
    assert_eq!(rest(&slow), "");
    drip.join().unwrap();
}

#[actix_rt::test]
async fn body_that_nobody_reads_holds_no_connection() {
    let upstream = Upstream::start(Mood::Answer);
    let relay = Relay::start(&upstream, &SHORT).await;
    for framing in ["content-length: 9999", "transfer-encoding: chunked"] {
        let slow = connect(&relay);
        send(
            &slow,
            &format!("POST /nowhere HTTP/1.1\r\nhost: localhost\r\n{framing}\r\n\r\nffff\r\n"),
        );
        let said = answer(&slow);
        assert!(said.starts_with("HTTP/1.1 404"), "{said}");
        assert!(said.contains("connection: close\r\n"), "{said}");
        let drip = drip(&slow, b' ');
        assert_eq!(rest(&slow), "");
        drip.join().unwrap();
    }
}

#[actix_rt::test]
async fn flood_that_nobody_reads_holds_no_connection() {
    let upstream = Upstream::start(Mood::Answer);
    let relay = Relay::start(&upstream, &SHORT).await;
    let mut flood = connect(&relay);
    send(&flood, "POST /nowhere HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n");
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    limited(async {
        while flood.write_all(chunk.as_bytes()).is_ok() {
            // Gives the limit a chance to act.
            yield_now().await;
        }
    })
    .await;
}

/// Sends so many requests, without reading any answer, that the relay cannot write its answers.
fn ask_and_read_nothing(relay: &Relay) -> TcpStream {
    let connection = connect(relay);
    let page = "GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
    connection.set_nonblocking(true).unwrap();
    // Most requests stay in buffers once the relay has stopped reading.
    let asked = (&connection).write(page.repeat(2000).as_bytes()).unwrap();
    assert!(asked > 500 * page.len(), "{asked}");
    connection
}

#[actix_rt::test]
async fn client_that_reads_nothing_holds_no_connection() {
    let upstream = Upstream::start(Mood::Answer);
    let one = ["--max-connections", "1"];
    let relay = Relay::start(&upstream, &[&SHORT[..], &one].concat()).await;
    let _unread = ask_and_read_nothing(&relay);
    serves(&relay).await;
}

#[actix_rt::test]
async fn sigterm_waits_for_no_stalled_client() {
    let upstream = Upstream::start(Mood::Answer);
    let long = ["--client-timeout", "600s", "--timeout", "600s"];
    let mut relay = Relay::start(&upstream, &long).await;
    let _unread = ask_and_read_nothing(&relay);
    let half_a_head = connect(&relay);
    send(&half_a_head, "GET /healthz");
    let half_a_body = connect(&relay);
    send(
        &half_a_body,
        "POST /v1/check_gate HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n{",
    );
    let stranger = connect(&relay);
    send(&stranger, &format!("{HEALTH}{HEALTH}"));
    assert!(answer(&stranger).starts_with("HTTP/1.1 200"));

    relay.signal("TERM");

    // The limit would be ten minutes.
    assert_eq!(relay.ended().await.code, Some(0));
    let said = rest(&half_a_body);
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 503"), "{said}");
}

#[actix_rt::test]
async fn only_callers_with_access_keep_connections() {
    let upstream = Upstream::start(Mood::Answer);
    let options = ["--upstream", &upstream.url, "--trust-loopback", "off"];
    let variables = [("STATSIG_API_KEY", KEY), ("STATSIG_RELAY_KEYS", "caller-one")];
    let relay = Relay::start_with(&options, &variables).await;
    let body = gate().to_string();
    for (request, status) in [
        (HEALTH.to_owned(), "200"),
        (HEALTH.replace("healthz", "readyz"), "200"),
        (HEALTH.replace("healthz", ""), "200"),
        (HEALTH.replace("healthz", "stats"), "401"),
        (post("/v1/check_gate", &body), "401"),
        (post("/v1/check_gate", &" ".repeat(500_000)), "401"),
    ] {
        let stranger = connect(&relay);
        send(&stranger, &request);
        let said = answer(&stranger);
        assert!(said.starts_with(&format!("HTTP/1.1 {status}")), "{said}");
        assert!(said.contains("connection: close\r\n"), "{said}");
        assert_eq!(rest(&stranger), "");
    }
    let caller = connect(&relay);
    for request in [HEALTH, &post("/v1/check_gate", &body), HEALTH] {
        send(&caller, &request.replace("\r\nhost", "\r\nstatsig-api-key: caller-one\r\nhost"));
        let said = answer(&caller);
        assert!(said.starts_with("HTTP/1.1 200") && !said.contains("connection:"), "{said}");
    }
}

#[actix_rt::test]
async fn h2c_offer_is_answered_in_http_1_and_kept_alive() {
    let upstream = Upstream::start(Mood::Answer);
    let relay = Relay::start(&upstream, &[]).await;
    // The offer that Java's HttpClient sends.
    let java = post("/v1/check_gate", &gate().to_string()).replace(
        "\r\nhost",
        "\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\n\
         Upgrade: h2c\r\nhost",
    );
    let connection = connect(&relay);
    // Enough requests for some to find the server's buffer nearly full.
    for _ in 0..100 {
        send(&connection, &java);
        let said = answer(&connection);
        assert!(said.starts_with("HTTP/1.1 200") && !said.contains("connection:"), "{said}");
    }

    // Other offers may not be safe to remove, so the relay closes the connection and says so.
    let other = connect(&relay);
    send(&other, &java.replace("h2c", "other"));
    let said = answer(&other);
    assert!(said.starts_with("HTTP/1.1 200") && said.contains("connection: close\r\n"), "{said}");
    assert_eq!(rest(&other), "");
}

#[actix_rt::test]
async fn max_connections_counts_over_all_workers() {
    let upstream = Upstream::start(Mood::Answer);
    let relay = Relay::start(&upstream, &["--workers", "2", "--max-connections", "3"]).await;
    // Opened one by one, so that the fourth connection is the one that waits.
    let mut open = Vec::new();
    for _ in 0..3 {
        let connection = connect(&relay);
        send(&connection, HEALTH);
        assert!(answer(&connection).starts_with("HTTP/1.1 200"));
        open.push(connection);
    }
    let mut fourth = connect(&relay);
    send(&fourth, HEALTH);
    // The relay still answers open connections.
    for _ in 0..10 {
        send(&open[0], HEALTH);
        assert!(answer(&open[0]).starts_with("HTTP/1.1 200"));
    }
    fourth.set_nonblocking(true).unwrap();
    assert_eq!(fourth.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);

    fourth.set_nonblocking(false).unwrap();
    open.pop();
    assert!(answer(&fourth).starts_with("HTTP/1.1 200"));
}

#[actix_rt::test]
async fn caller_who_closes_before_the_flush_costs_no_call() {
    let upstream = Upstream::start(Mood::Answer);
    let slow = ["--flush-interval", "60s", "--timeout", "600s"];
    let mut relay = Relay::start(&upstream, &slow).await;
    let caller = connect(&relay);
    send(&caller, &post("/v1/check_gate", &gate().to_string()));
    relay.has_received(1).await;

    caller.shutdown(Shutdown::Write).unwrap();

    // The relay has closed the connection.
    assert_eq!(rest(&caller), "");
    relay.signal("TERM");
    assert_eq!(relay.ended().await.code, Some(0));
    assert_eq!(upstream.calls(), 0);
}

#[actix_rt::test]
async fn half_closed_client_gets_what_needs_no_call() {
    let upstream = Upstream::start(Mood::Answer);
    let relay = Relay::start(&upstream, &[]).await;
    let client = connect(&relay);
    send(&client, HEALTH);
    client.shutdown(Shutdown::Write).unwrap();
    assert!(rest(&client).starts_with("HTTP/1.1 200"));
}

#[actix_rt::test]
async fn promise_4_requests_that_are_read_share_a_budget_of_bytes() {
    let upstream = Upstream::start(Mood::Answer);
    let options = ["--max-incoming", "100000", "--client-timeout", "600s"];
    let relay = Relay::start(&upstream, &options).await;
    let padded = |length| format!("{}{}", " ".repeat(length), gate());
    let large = post("/v1/check_gate", &padded(100_000));
    let (first, last) = large.split_at(95_000);
    let large_beside = async || {
        let request = relay.client.post(relay.url("/v1/check_gate")).send_body(padded(60_000));
        limited(request).await.unwrap()
    };

    // Of two large requests at once, either may fail to fit, or both. The loop repeats until one
    // was read and the other did not fit beside it.
    let refused = limited(async {
        loop {
            let holder = connect(&relay);
            send(&holder, first);
            let beside = large_beside().await;
            // Ordinary requests do not need the budget.
            assert_eq!(relay.post("/v1/check_gate", &gate()).await.0, 200);
            let mut start = [0; 12];
            let finished = (&holder).write_all(last.as_bytes());
            let answered = finished.and_then(|()| (&holder).read_exact(&mut start));
            if beside.status() != 200 && answered.is_ok() && &start == b"HTTP/1.1 200" {
                break beside;
            }
        }
    });
    let refused = refused.await;
    assert_eq!(refused.headers().get("retry-after").unwrap(), "1");
    assert_eq!(refused.headers().get("connection").unwrap(), "close");
    let (status, answered) = read(refused).await;
    assert_eq!((status.as_u16(), &answered["error"]["kind"]), (503, &json!("no_room")));
    limited(async { while large_beside().await.status() != 200 {} }).await;
}

#[actix_rt::test]
async fn promise_4_unread_answers_share_a_budget_of_bytes() {
    let upstream = Upstream::start(Mood::Long { bytes: 1_900_000, is_shared: true });
    let options = ["--max-incoming", "100000", "--client-timeout", "600s", "--timeout", "600s"];
    let relay = Relay::start(&upstream, &options).await;
    let config = json!({"configName": "homepage", "user": {"userID": "u"}});
    // More than the machine's buffers hold.
    let unread = connect(&relay);
    send(&unread, &post("/v1/get_config", &config.to_string()).repeat(10));

    let refused = limited(async {
        loop {
            let request = relay.client.post(relay.url("/v1/get_config")).send_json(&config);
            let mut response = limited(request).await.unwrap();
            if response.status() != 200 {
                break response;
            }
            limited(response.body().limit(4_000_000)).await.unwrap();
        }
    });
    let refused = refused.await;
    assert_eq!(refused.headers().get("retry-after").unwrap(), "1");
    let (status, answered) = read(refused).await;
    assert_eq!((status.as_u16(), &answered["error"]["kind"]), (503, &json!("no_room")));
    // Ordinary requests do not need the budget.
    assert_eq!(relay.get("/healthz").await.0, 200);

    drop(unread);
    limited(async {
        loop {
            let request = relay.client.post(relay.url("/v1/get_config")).send_json(&config);
            if limited(request).await.unwrap().status() == 200 {
                break;
            }
        }
    })
    .await;
}

#[actix_rt::test]
async fn head_that_does_not_fit_is_refused() {
    let upstream = Upstream::start(Mood::Answer);
    let relay = Relay::start(&upstream, &["--max-incoming", "1"]).await;
    let client = connect(&relay);
    send(
        &client,
        &format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\nx: {}", "x".repeat(20_000)),
    );
    let said = rest(&client);
    assert!(said.starts_with("HTTP/1.1 503") && said.contains("retry-after: 1\r\n"), "{said}");
}

#[actix_rt::test]
async fn absolute_target_is_judged_like_host() {
    let upstream = Upstream::start(Mood::Answer);
    let relay = Relay::start(&upstream, &[]).await;
    for (target, status) in [
        ("http://localhost/stats", "200"),
        ("http://rebound.example/stats", "401"),
        ("http://localhost@rebound.example/stats", "401"),
    ] {
        let client = connect(&relay);
        send(&client, &HEALTH.replace("/healthz", target));
        let said = answer(&client);
        assert!(said.starts_with(&format!("HTTP/1.1 {status}")), "{target} {said}");
    }
}

/// The server library would keep the buffer of a long head.
#[actix_rt::test]
async fn promise_4_long_head_ends_its_connection() {
    let upstream = Upstream::start(Mood::Answer);
    let relay = Relay::start(&upstream, &[]).await;
    for (length, is_closed) in [(10_000, false), (60_000, true)] {
        let connection = connect(&relay);
        let padding = format!("x-padding: {}\r\n\r\n", "x".repeat(length));
        send(&connection, &HEALTH.replace("\r\n\r\n", &format!("\r\n{padding}")));
        let answer = answer(&connection);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert_eq!(answer.contains("connection: close"), is_closed, "{length}: {answer}");
    }
}

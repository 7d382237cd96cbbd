//! Who may use the relay: any caller on this machine, and callers elsewhere with a listed key.

use std::net::{SocketAddr, UdpSocket};

use awc::http::StatusCode;
use serde_json::{Value, json};

use crate::{
    program::{KEY, Relay, limited, read},
    support::upstream::{Mood, Upstream},
};

/// This machine's address in its network. A connection to it does not come from loopback.
///
/// Without a network there is no such address. Then only the relay's unit tests cover callers from
/// elsewhere, with made-up addresses.
#[allow(clippy::print_stderr, reason = "a skipped check should be visible")]
fn elsewhere(relay: &Relay) -> Option<SocketAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    // Connecting a UDP socket sends nothing.
    let found = socket.connect("198.51.100.1:9").and_then(|()| socket.local_addr());
    let address = found.ok().filter(|address| !address.ip().is_loopback());
    if address.is_none() {
        eprintln!("skipped: this machine has only loopback addresses");
    }
    address.map(|address| SocketAddr::new(address.ip(), relay.port()))
}

async fn get(
    relay: &Relay,
    at: SocketAddr,
    path: &str,
    header: Option<(&str, &str)>,
) -> (StatusCode, Value) {
    let request = relay.client.get(format!("http://{at}{path}"));
    let request = header.into_iter().fold(request, |request, header| request.insert_header(header));
    read(limited(request.send()).await.unwrap()).await
}

async fn open_to_the_network(upstream: &Upstream, options: &[&str], keys: Option<&str>) -> Relay {
    let options = [&["--listen", "0.0.0.0:0", "--upstream", &upstream.url], options].concat();
    let keys = keys.map(|keys| ("STATSIG_RELAY_KEYS", keys));
    let variables: Vec<_> = [("STATSIG_API_KEY", KEY)].into_iter().chain(keys).collect();
    Relay::listening(&options, &variables).await
}

#[actix_rt::test]
async fn remote_caller_needs_a_listed_key() {
    let file = format!("{}/callers.txt", env!("CARGO_TARGET_TMPDIR"));
    std::fs::write(&file, "# the shop's backend\ncaller-three\n").unwrap();
    let upstream = Upstream::start(Mood::Answer);
    let keys = Some("caller-one,caller-two");
    let relay = open_to_the_network(&upstream, &["--keys-file", &file], keys).await;

    let here = SocketAddr::new("127.0.0.1".parse().unwrap(), relay.port());
    assert_eq!(get(&relay, here, "/stats", None).await.0, StatusCode::OK);

    let Some(elsewhere) = elsewhere(&relay) else { return };
    for path in ["/healthz", "/readyz"] {
        assert_eq!(get(&relay, elsewhere, path, None).await.0, StatusCode::OK, "{path}");
    }
    for (header, value) in [
        ("statsig-api-key", "caller-one"),
        ("statsig-api-key", "caller-three"),
        ("authorization", "Bearer caller-two"),
    ] {
        let (status, _) = get(&relay, elsewhere, "/stats", Some((header, value))).await;
        assert_eq!(status, StatusCode::OK, "{header}: {value}");
    }
    let gate = json!({"gateName": "beta", "user": {"userID": "u-7"}});
    let mut refusals = Vec::new();
    for (header, value) in [
        ("statsig-api-key", "caller-on"),
        ("statsig-api-key", "caller-four"),
        ("authorization", "Basic caller-one"),
        ("x-forwarded-for", "127.0.0.1"),
    ] {
        let request = relay.client.post(format!("http://{elsewhere}/v1/check_gate"));
        let request = request.insert_header((header, value)).insert_header(("x-request-id", "r-1"));
        let response = limited(request.send_json(&gate)).await.unwrap();
        assert_eq!(response.headers().get("www-authenticate").unwrap(), "Bearer");
        let (status, answer) = read(response).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{header}: {value}");
        refusals.push(answer);
    }
    // All refusals are the same.
    assert_eq!(refusals[0]["error"]["kind"], "unknown_caller");
    assert!(refusals.iter().all(|refusal| *refusal == refusals[0]), "{refusals:?}");
    assert_eq!(upstream.calls(), 0);
    for path in ["/watch", "/stats", "/metrics", "/nowhere"] {
        let (status, _) = get(&relay, elsewhere, path, None).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{path}");
    }
}

#[actix_rt::test]
async fn anyone_may_ask_where_the_relay_is_told_so() {
    let upstream = Upstream::start(Mood::Answer);
    let relay = open_to_the_network(&upstream, &["--allow-anyone"], None).await;

    if let Some(elsewhere) = elsewhere(&relay) {
        assert_eq!(get(&relay, elsewhere, "/stats", None).await.0, StatusCode::OK);
    }
}

#[actix_rt::test]
async fn public_address_without_access_rules_is_refused() {
    for listen in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        for (options, variables, by) in [
            (&["--listen", listen][..], &[][..], "--listen"),
            (&[], &[("STATSIG_RELAY_LISTEN", listen)], "STATSIG_RELAY_LISTEN"),
        ] {
            let variables = [&[("STATSIG_API_KEY", KEY)], variables].concat();
            let ended = Relay::spawn(options, &variables).ended().await;
            assert_eq!(
                (ended.code, ended.stderr.lines().count()),
                (Some(2), 1),
                "{}",
                ended.stderr
            );
            for name in [by, "STATSIG_RELAY_KEYS", "--keys-file", "--allow-anyone"] {
                assert!(ended.stderr.contains(name), "{name}: {}", ended.stderr);
            }
            assert_eq!(ended.stdout, "");
        }
    }
}

#[actix_rt::test]
async fn keyless_relay_on_a_public_address_needs_a_rules_file() {
    for listen in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let anyone = ("STATSIG_RELAY_ALLOW_ANYONE", "true");
        let variables = [("STATSIG_RELAY_LISTEN", listen), anyone];
        let ended = Relay::spawn(&[], &variables).ended().await;
        assert_eq!((ended.code, ended.stderr.lines().count()), (Some(2), 1), "{}", ended.stderr);
        for name in ["STATSIG_RELAY_LISTEN", "STATSIG_API_KEY", "--api-key-file", "--rules"] {
            assert!(ended.stderr.contains(name), "{name}: {}", ended.stderr);
        }
        assert_eq!(ended.stdout, "");
    }

    let rules = format!("{}/rules-for-the-network.json", env!("CARGO_TARGET_TMPDIR"));
    std::fs::write(&rules, r#"{"gates": {"mine": true}}"#).unwrap();
    let options = ["--listen", "0.0.0.0:0", "--allow-anyone", "--rules", &rules];
    let relay = Relay::listening(&options, &[]).await;
    let here = SocketAddr::new("127.0.0.1".parse().unwrap(), relay.port());
    assert_eq!(get(&relay, here, "/healthz", None).await.0, StatusCode::OK);
}

#[actix_rt::test]
async fn loopback_caller_needs_a_key_if_untrusted() {
    let upstream = Upstream::start(Mood::Answer);
    let options = ["--upstream", &upstream.url, "--trust-loopback", "off"];
    let variables = [("STATSIG_API_KEY", KEY), ("STATSIG_RELAY_KEYS", "caller-one")];
    let relay = Relay::start_with(&options, &variables).await;
    let here = relay.address.parse().unwrap();

    assert_eq!(get(&relay, here, "/healthz", None).await.0, StatusCode::OK);
    let (status, answer) = get(&relay, here, "/stats", None).await;
    assert_eq!((status.as_u16(), &answer["error"]["kind"]), (401, &json!("unknown_caller")));
    let key = Some(("statsig-api-key", "caller-one"));
    assert_eq!(get(&relay, here, "/stats", key).await.0, StatusCode::OK);
}

//! A name with a dead address, tested in a process with its own network.
// Helpers outside a `#[test]` do not count as tests for clippy.
#![allow(clippy::unwrap_used)]

use std::{
    env, fs,
    process::{Command, Output},
    time::Duration,
};

use actix_statsig::test_util::{LocalStatsig, Rules};
use futures_util::future::join_all;

use crate::{
    ask, config, start,
    support::{http_proxy::Listening, own_process::path_of, tls_server::GATE},
};

const IS_INSIDE: &str = "IN_A_NETWORK_OF_ITS_OWN";

/// One name with three addresses. Packets to the first one, which sorts first because it is IPv6,
/// go nowhere.
const HOSTS: &str = "127.0.0.1 localhost\n2001:db8::1 statsig.test\n\
    10.99.0.254 statsig.test\n10.99.0.253 statsig.test\n";

const NETWORK: &str = "set -e; mount --bind \"$HOSTS\" /etc/hosts; ip link set lo up; \
    ip link add v0 type veth peer name v1; \
    ip addr add 10.99.0.254/24 dev v0; ip addr add 10.99.0.253/24 dev v0; \
    ip -6 addr add 2001:db8::254/64 dev v0 nodad; ip link set v0 up; ip link set v1 up; \
    ip neigh add 2001:db8::1 lladdr 02:00:00:00:00:01 dev v0 nud permanent; ";

/// Runs a script in a network of its own: as root, or where the kernel lets any user act as root.
fn inside(script: &str) -> Result<Output, String> {
    let hosts = format!("{}/hosts", env!("CARGO_TARGET_TMPDIR"));
    fs::write(&hosts, HOSTS).map_err(|error| error.to_string())?;
    let mut reason = String::new();
    for user in [&[][..], &["--user", "--map-root-user"]] {
        let run = |script: &str| {
            let mut unshare = Command::new("unshare");
            unshare.args(user).args(["--net", "--mount", "sh", "-c", script]);
            unshare.env("HOSTS", &hosts).output().map_err(|error| error.to_string())
        };
        match run(NETWORK) {
            Ok(ready) if ready.status.success() => return run(&format!("{NETWORK}{script}")),
            Ok(ready) => reason = String::from_utf8_lossy(&ready.stderr).trim().to_owned(),
            Err(error) => reason = error,
        }
    }
    Err(reason)
}

#[test]
fn dead_first_address_of_several_does_not_matter() {
    let check = || actix_rt::System::new().block_on(checks_are_answered());
    if env::var_os(IS_INSIDE).is_some() {
        return check();
    }
    let this = env::current_exe().unwrap();
    let test = path_of(&check);
    let again = format!("{IS_INSIDE}=1 {} --exact {test} --nocapture", this.display());
    match inside(&again) {
        Ok(ran) => {
            let said = String::from_utf8_lossy(&ran.stdout);
            let why = String::from_utf8_lossy(&ran.stderr);
            assert!(ran.status.success() && said.contains("1 passed"), "{said}\n{why}");
        }
        Err(reason) => println!("skipped: no network of its own to test in ({reason})"),
    }
}

async fn checks_are_answered() {
    let rules = Rules::new().gate(GATE, true);
    let server = LocalStatsig::start(rules).unwrap();
    let to = server.url().strip_prefix("http://").unwrap().parse().unwrap();
    let forwarder = |at: &str| Listening::forwarder(at, to);
    let first = forwarder("10.99.0.254:8080");
    let second = forwarder("10.99.0.253:8080");
    let config = config().base_url("http://statsig.test:8080").allow_plain_http(true);
    // Less than the kernel takes to give up the dead address, and plenty for the others.
    let statsig = start(config.attempt_timeout(Duration::from_secs(20)));

    for id in 0..10 {
        assert!(ask(&statsig, format!("one {id}")).await.unwrap());
    }
    let together = join_all((0..20).map(|id| ask(&statsig, format!("all {id}")))).await;
    assert!(together.into_iter().all(|open| open.unwrap()));

    // The address that worked so far fails, and works again when the other one fails.
    drop(first);
    for id in 0..10 {
        assert!(ask(&statsig, format!("without first {id}")).await.unwrap());
    }
    drop(second);
    let _first = loop {
        // The port becomes free when the forwarder's thread ends.
        match std::net::TcpListener::bind("10.99.0.254:8080") {
            Ok(free) => {
                drop(free);
                break forwarder("10.99.0.254:8080");
            }
            Err(_) => tokio::task::yield_now().await,
        }
    };
    for id in 0..10 {
        assert!(ask(&statsig, format!("without second {id}")).await.unwrap());
    }
}

//! How the program reaches Statsig.

use std::{
    fs,
    process::{Command, Output},
};

use crate::support::{
    http_proxy::{Conduct, Listening},
    tls_server::{Authority, GATE, Server},
};

const URL: &str = "http://me:hunter2@";

/// Runs one check with the program.
fn check(options: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_statsig-relay"))
        .args(["check", GATE, "--user", r#"{"userID": "u-1"}"#, "--retry-attempts", "1"])
        .args(options)
        .env_clear()
        .env("STATSIG_API_KEY", "secret-key")
        .envs(variables.iter().copied())
        .output()
        .expect("the program runs")
}

fn told(output: &Output) -> String {
    let told = [&output.stdout[..], &output.stderr].concat();
    let told = String::from_utf8_lossy(&told).into_owned();
    for secret in ["hunter2", "bWU6aHVudGVyMg"] {
        assert!(!told.contains(secret), "{told}");
    }
    told
}

#[test]
fn promise_7_relay_proxy_setting_reveals_no_credentials() {
    let authority = Authority::new("test");
    let server = Server::tls(authority.issue("statsig.test").config());
    let port = server.url("-").rsplit(':').next().unwrap().parse().unwrap();
    let here = ([127, 0, 0, 1], port).into();
    let proxy = Listening::proxy(Conduct::LeadsFriendsTo(here, "Basic bWU6aHVudGVyMg=="));
    let with_credentials = format!("{URL}{}", proxy.address());
    let pem = format!("{}/ways-out.pem", env!("CARGO_TARGET_TMPDIR"));
    fs::write(&pem, authority.pem()).unwrap();
    let upstream = server.url("statsig.test");
    let to_it = ["--upstream", &upstream, "--extra-root-certificates", &pem, "--log", "trace"];
    let patient = ["--timeout", "60s", "--attempt-timeout", "59s"];
    let options = [&to_it[..], &patient].concat();

    for (more, variable) in [
        (&["--proxy", &with_credentials][..], None),
        (&[], Some(("STATSIG_PROXY", &*with_credentials))),
        (&[], Some(("HTTPS_PROXY", &with_credentials))),
        (&["--proxy", "env"], Some(("all_proxy", &with_credentials))),
    ] {
        let ran = check(&[&options[..], more].concat(), variable.as_slice());
        let told = told(&ran);
        assert!(ran.status.success(), "{more:?} {variable:?} {told}");
        let address = proxy.address().to_string();
        assert!(told.contains(&format!("through the proxy {address}")), "{told}");
    }
    assert_eq!(proxy.lines().len(), 4);

    // With `--proxy none`, the program resolves the name itself, which fails.
    let none = ("HTTPS_PROXY", &*with_credentials);
    let ran = check(&[&options[..], &["--proxy", "none"]].concat(), &[none]);
    assert!(!ran.status.success() && told(&ran).contains("could not be resolved"));
    assert_eq!(proxy.lines().len(), 4);
}

#[test]
fn relay_refuses_or_warns_of_an_unsupported_proxy() {
    let socks = "socks5://me:hunter2@proxy.internal:1080";
    for (options, variables, name) in [
        (&["--proxy", socks][..], &[][..], "--proxy"),
        (&[], &[("STATSIG_PROXY", socks)], "STATSIG_PROXY"),
    ] {
        let ran = check(options, variables);
        let said = told(&ran);
        assert_eq!(ran.status.code(), Some(2), "{said}");
        let wanted =
            format!("{name} cannot be \"[redacted]@proxy.internal:1080\": must begin with http://");
        assert!(said.contains(&wanted) && said.lines().count() == 1, "{said}");
    }

    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let upstream = format!("http://{nobody}");
    let environment = [("HTTP_PROXY", socks)];
    // Loopback needs no proxy, so the relay logs no warning.
    let ran = check(&["--upstream", &upstream, "--log", "info"], &environment);
    assert!(!told(&ran).contains("HTTP_PROXY"), "{}", told(&ran));
    let upstream = format!("http://{}.invalid", "a".repeat(64));
    let options = ["--upstream", &upstream, "--allow-plain-http", "on", "--log", "warn"];
    let ran = check(&options, &environment);
    let warning = "calls use no proxy: HTTP_PROXY cannot be \"[redacted]@proxy.internal:1080\"";
    assert!(told(&ran).contains(warning), "{}", told(&ran));

    let help = Command::new(env!("CARGO_BIN_EXE_statsig-relay"))
        .arg("--help")
        .env("STATSIG_PROXY", socks)
        .output()
        .unwrap();
    assert!(told(&help).contains("--proxy "), "{}", told(&help));
}

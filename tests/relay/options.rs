//! Options: flags, their environment variables, and the help.

use awc::http::StatusCode;

use crate::program::{KEY, Relay, command};

/// The one line that the relay prints when it refuses these options.
async fn refusal(options: &[&str], variables: &[(&str, &str)]) -> String {
    let ended = Relay::spawn(options, variables).ended().await;
    assert_eq!((ended.code, ended.stderr.lines().count()), (Some(2), 1), "{}", ended.stderr);
    let line = ended.stderr.strip_prefix("statsig-relay: ").unwrap();
    line.trim_end().to_owned()
}

#[actix_rt::test]
async fn promise_7_help_shows_no_value_of_a_variable() {
    let variables = [
        ("STATSIG_API_KEY", "secret-hunter2"),
        ("STATSIG_RELAY_KEYS", "caller-hunter3"),
        ("STATSIG_PROXY", "http://me:hunter4@proxy.internal:3128"),
        ("STATSIG_BASE_URL", "https://hunter5.internal"),
        ("STATSIG_RELAY_KEYS_FILE", "/run/hunter6"),
        ("STATSIG_RELAY_API_KEY_FILE", "/run/hunter7"),
        ("STATSIG_RELAY_LISTEN", "hunter8:1"),
        ("RUST_LOG", "hunter9"),
    ];
    for line in [&["--help"][..], &["-h"], &["check", "--help"], &["config", "-h"], &["--version"]]
    {
        let output = command(line, &variables).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty());
        let help = String::from_utf8(output.stdout).unwrap();
        assert!(!help.contains("hunter"), "{help}");
    }
}

#[actix_rt::test]
async fn flag_wins_over_variable_over_default() {
    let key = ("STATSIG_API_KEY", KEY);
    // Each variable is invalid, and is read only if its flag is missing.
    for (flag, variable, refused) in [
        (
            ["--batch-size", "9"],
            ("STATSIG_BATCH_SIZE", "0"),
            "STATSIG_BATCH_SIZE cannot be 0: must be from 1 to 100",
        ),
        (
            ["--workers", "1"],
            ("STATSIG_RELAY_WORKERS", "0"),
            "STATSIG_RELAY_WORKERS cannot be \"0\": must be from 1 to 512",
        ),
        (
            ["--log-format", "json"],
            ("STATSIG_RELAY_LOG_FORMAT", "xml"),
            "STATSIG_RELAY_LOG_FORMAT cannot be \"xml\": must be text or json",
        ),
    ] {
        assert_eq!(refusal(&[], &[key, variable]).await, refused);
        let relay = Relay::start_with(&flag, &[key, variable]).await;
        assert_eq!(relay.get("/healthz").await.0, StatusCode::OK);
    }
}

#[actix_rt::test]
async fn switch_may_stand_alone_or_have_a_value() {
    let key = ("STATSIG_API_KEY", KEY);
    let public = ["--listen", "0.0.0.0:0"];
    let refused = refusal(&public, &[key, ("STATSIG_RELAY_ALLOW_ANYONE", "perhaps")]).await;
    let rule = "STATSIG_RELAY_ALLOW_ANYONE cannot be \"perhaps\": must be true or false";
    assert_eq!(refused, rule);
    let no = [&public[..], &["--allow-anyone=no"]].concat();
    for (options, variables) in
        [(&public[..], &[key][..]), (&no, &[key, ("STATSIG_RELAY_ALLOW_ANYONE", "on")])]
    {
        let refused = refusal(options, variables).await;
        assert!(refused.starts_with("--listen cannot be"), "{refused}");
    }
    let alone = [&public[..], &["--allow-anyone"]].concat();
    Relay::listening(&alone, &[key]).await;
    Relay::listening(&public, &[key, ("STATSIG_RELAY_ALLOW_ANYONE", "on")]).await;
}

#[actix_rt::test]
async fn refusal_is_one_line_naming_the_flag_or_variable() {
    for (options, variables, message) in [
        (&["--batch-size", "0"][..], &[][..], "--batch-size cannot be 0: must be from 1 to 100"),
        (&["--batch-size", "-1"], &[], "--batch-size cannot be \"-1\": must be a whole number"),
        (
            &[],
            &[("STATSIG_BATCH_SIZE", "ten")],
            "STATSIG_BATCH_SIZE cannot be \"ten\": must be a whole number",
        ),
        (
            &["--upstream", "ftp://a"],
            &[],
            "--upstream cannot be \"ftp://a\": must begin with https:// or http://",
        ),
        (
            &["--timeout", "4ms"],
            &[],
            "--timeout does not fit: --flush-interval is 5ms, and must be less than --timeout, 4ms",
        ),
        (
            &[],
            &[("STATSIG_TIMEOUT", "4ms")],
            "STATSIG_TIMEOUT does not fit: --flush-interval is 5ms, and must be less than \
             STATSIG_TIMEOUT, 4ms",
        ),
        (
            &[],
            &[("STATSIG_FLUSH_INTERVAL", "3s")],
            "STATSIG_FLUSH_INTERVAL cannot be 3s: must be less than --timeout, 3s",
        ),
        (
            &["--timeout", "1s"],
            &[("STATSIG_FLUSH_INTERVAL", "3s")],
            "STATSIG_FLUSH_INTERVAL cannot be 3s: must be less than --timeout, 1s",
        ),
        (
            &["--transports", "9"],
            &[("STATSIG_MAX_IN_FLIGHT", "8")],
            "--transports cannot be 9: must be at most STATSIG_MAX_IN_FLIGHT, 8",
        ),
        (&["--api-key=hunter2"], &[], "unexpected argument '--api-key' found"),
    ] {
        let variables = [&[("STATSIG_API_KEY", KEY)], variables].concat();
        assert_eq!(refusal(options, &variables).await, message);
    }
}

#[actix_rt::test]
async fn empty_rust_log_is_ignored() {
    for (filter, is_logged) in [("", true), ("warn", true), ("error", false)] {
        let variables = [("RUST_LOG", filter), ("STATSIG_FLUSH_INTERVAL_MS", "5")];
        let mut relay = Relay::start_with(&[], &variables).await;
        relay.signal("TERM");
        let log = relay.ended().await.stderr;
        assert_eq!(log.contains("STATSIG_FLUSH_INTERVAL_MS is set"), is_logged, "{filter} {log}");
    }
}

#[actix_rt::test]
async fn command_ignores_variables_of_options_for_serving() {
    let variables = [("STATSIG_RELAY_WORKERS", "0"), ("STATSIG_RELAY_LISTEN", "nowhere")];
    let check = ["check", "new_checkout", "--user", r#"{"userID": "u-1"}"#];
    let output = command(&check, &variables).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

//! The commands for the shell: their output and exit codes.

use std::{
    io::Write,
    process::{Output, Stdio},
};

use actix_statsig::test_util::{Fault, LocalStatsig, Rule, Rules};
use serde_json::{Value, json};

use crate::program::{KEY, command};

const JANE: &str = r#"{"userID": "jane", "country": "NL"}"#;

fn statsig() -> LocalStatsig {
    let rules = Rules::new()
        .gate("new_checkout", Rule::new(true).when("country", "NL"))
        .gate("beta", false)
        .config("homepage", json!({"theme": "dark", "columns": 3}));
    let server = LocalStatsig::start(rules).unwrap();
    server.require_key(KEY);
    server
}

/// Runs the program with these arguments, and with a key for this server.
fn ask(server: &LocalStatsig, line: &[&str]) -> (i32, String, String) {
    let url = server.url();
    let variables = [("STATSIG_API_KEY", KEY), ("STATSIG_BASE_URL", &url)];
    said(command(line, &variables).output().unwrap())
}

fn said(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn answer(code: i32, stdout: &str) -> (i32, String, String) {
    (code, stdout.to_owned(), String::new())
}

#[test]
fn gate_command_answers_in_words_and_by_exit_code() {
    let server = statsig();

    assert_eq!(ask(&server, &["check", "new_checkout", "--user", JANE]), answer(0, "open\n"));
    assert_eq!(ask(&server, &["check", "beta", "--user", JANE]), answer(1, "closed\n"));
    let both = ["check", "new_checkout", "beta", "--user", JANE];
    assert_eq!(ask(&server, &both), answer(1, "new_checkout open\nbeta closed\n"));
    // Both gates are checked in one call.
    assert_eq!(server.requests().last().unwrap().names, ["new_checkout", "beta"]);

    let (code, stdout, _) = ask(&server, &["check", "new_checkout", "--json", "--user", JANE]);
    let gates: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, &gates["new_checkout"]["value"]), (0, &json!(true)));
}

#[test]
fn config_command_prints_json() {
    let server = statsig();

    let (code, stdout, _) = ask(&server, &["config", "homepage", "--user", JANE]);
    let value: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, value), (0, json!({"theme": "dark", "columns": 3})));
    let (_, stdout, _) = ask(&server, &["config", "homepage", "--json", "--user", JANE]);
    let config: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&config["name"], &config["value"]["columns"]), (&json!("homepage"), &json!(3)));
}

#[test]
fn commands_log_exposures_unless_told_otherwise() {
    let server = statsig();
    ask(&server, &["check", "beta", "--user", JANE]);
    ask(&server, &["check", "beta", "--user", JANE, "--exposure-logging", "off"]);

    let logged: Vec<_> = server.requests().iter().map(|call| call.exposure).collect();
    assert_eq!(logged, [true, false]);
}

#[test]
fn commands_read_user_from_stdin_and_key_from_a_file() {
    let server = statsig();
    let file = format!("{}/key.txt", env!("CARGO_TARGET_TMPDIR"));
    std::fs::write(&file, format!("{KEY}\n")).unwrap();
    let url = server.url();
    let line =
        ["check", "new_checkout", "--user", "-", "--api-key-file", &file, "--upstream", &url];

    let mut asking = command(&line, &[]);
    let asking = asking.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut asking = asking.spawn().unwrap();
    asking.stdin.take().unwrap().write_all(JANE.as_bytes()).unwrap();

    assert_eq!(said(asking.wait_with_output().unwrap()), answer(0, "open\n"));
}

#[test]
fn without_a_key_a_stand_in_answers_and_stderr_says_so() {
    let file = format!("{}/asked-rules.json", env!("CARGO_TARGET_TMPDIR"));
    std::fs::write(&file, r#"{"gates": {"mine": true}}"#).unwrap();
    for (line, wanted, origin) in [
        (&["check", "mine", "--user", JANE][..], (1, "closed\n"), "sample rules"),
        (&["check", "mine", "--user", JANE, "--rules", &file], (0, "open\n"), &*file),
    ] {
        let (code, stdout, stderr) = said(command(line, &[]).output().unwrap());
        assert_eq!((code, &*stdout), wanted);
        assert!(
            stderr.contains("a stand-in for Statsig answers") && stderr.contains(origin),
            "{stderr}"
        );
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
}

#[test]
fn command_failure_is_one_line_and_an_exit_code() {
    let server = statsig();
    let private = r#"{"userID": "u", "privateAttributes": "hunter3"}"#;
    let bad_root = format!("{}/asked-bad-root.pem", env!("CARGO_TARGET_TMPDIR"));
    let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    std::fs::write(&bad_root, pem).unwrap();
    let root = "--extra-root-certificates";
    for (line, name) in [
        (&["check", "beta", "--user", JANE, root, &bad_root][..], root),
        (&["check", "b", "--user", JANE], "name \"b\""),
        (&["check", "beta", "--user", "jane"], "--user is not JSON"),
        (&["check", "beta", "--user", r#"{"country": "NL"}"#], "--user: "),
        (&["check", "beta", "--user", private], "--user: "),
        (&["check", "beta", "--user", r#"{"user_id": "u"}"#], "must be spelt `userID`"),
        (&["check", "beta"], "--user <JSON>"),
        (&["check", "--user", JANE], "<GATE>"),
        (&["config", "homepage", "beta", "--user", JANE], "'beta'"),
        (&["check", "beta", "--user", JANE, "--timeout", "soon"], "--timeout"),
        (&["check", "beta", "--user", JANE, "--rules", "rules.json"], "--rules"),
    ] {
        let (code, stdout, stderr) = ask(&server, line);
        assert_eq!((code, &*stdout, stderr.lines().count()), (2, "", 1), "{line:?} {stderr}");
        assert!(stderr.contains(name), "{line:?} {stderr}");
    }
    assert_eq!(server.calls(), 0);

    server.require_key("another key");
    let (code, _, stderr) = ask(&server, &["check", "beta", "--user", JANE]);
    assert_eq!((code, stderr.lines().count()), (2, 1), "{stderr}");
    assert!(stderr.contains("STATSIG_API_KEY") && !stderr.contains(KEY), "{stderr}");

    server.inject(Fault::status(503).always());
    let (code, stdout, stderr) = ask(&server, &["check", "beta", "--user", JANE]);
    assert_eq!((code, &*stdout, stderr.lines().count()), (3, "", 1), "{stderr}");
}

#[test]
fn user_of_a_command_is_taken_as_it_comes() {
    let server = statsig();
    for user in [
        r#"{"userID": 100000000000000000001, "custom": {"n": 1e400}, "country": null}"#,
        r#"{"userID": "\ud800", "custom": {"list": [1, null]}}"#,
    ] {
        assert_eq!(ask(&server, &["check", "beta", "--user", user]), answer(1, "closed\n"));
    }
    assert_eq!(server.requests()[0].user["userID"], "100000000000000000001");
    assert_eq!(server.requests()[1].user["userID"], "\u{fffd}");

    let staging = ["check", "beta", "--user", JANE, "--environment", "staging"];
    assert_eq!(ask(&server, &staging), answer(1, "closed\n"));
    assert_eq!(server.requests()[2].user["statsigEnvironment"]["tier"], "staging");
}

#[test]
fn unwritable_output_fails_the_command() {
    let server = statsig();
    for line in [["check", "new_checkout", "--user", JANE], ["config", "homepage", "--user", JANE]]
    {
        let full = std::fs::File::create("/dev/full").unwrap();
        let url = server.url();
        let variables = [("STATSIG_API_KEY", KEY), ("STATSIG_BASE_URL", &url)];
        let output = command(&line, &variables).stdout(full).stderr(Stdio::piped()).output();
        let (code, _, stderr) = said(output.unwrap());
        assert_eq!((code, stderr.lines().count()), (2, 1), "{line:?} {stderr}");
        assert!(stderr.contains("stdout: No space left"), "{line:?} {stderr}");
    }
}

#[test]
fn documentation_names_only_existing_options() {
    let help = |line: &[&str]| said(command(line, &[]).output().unwrap()).1;
    let help = [help(&["--help"]), help(&["check", "--help"])].concat();
    let docs = format!("{}/docs", env!("CARGO_MANIFEST_DIR"));
    for (file, least) in
        [("relay.md", 15), ("relay/statsig-relay.service", 5), ("relay/Containerfile", 3)]
    {
        let text = std::fs::read_to_string(format!("{docs}/{file}")).unwrap();
        // Other programs have their own options.
        let others = ["cargo ", "curl ", "podman ", "systemctl ", "install ", "COPY "];
        let lines = text.lines().filter(|line| !others.iter().any(|other| line.contains(other)));
        let words = lines.flat_map(|line| {
            line.split(|c: char| !(c.is_ascii_alphanumeric() || "-_".contains(c)))
        });
        let is_option = |word: &&str| word.starts_with("--") || word.starts_with("STATSIG_");
        let options: Vec<_> =
            words.filter(is_option).filter(|word| !word.ends_with(['_', '-'])).collect();
        assert!(options.len() >= least, "{file} {options:?}");
        for option in options {
            let ends = [" ", "=", "\n", "]", "[", ".", ":"].map(|end| format!("{option}{end}"));
            assert!(ends.iter().any(|option| help.contains(option)), "{file}: {option}");
        }
    }
}

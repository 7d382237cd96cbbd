//! `Config::from_env` reads the environment of the process, which a test can set only for another.
#![cfg(unix)]

use std::{env, ffi::OsStr, os::unix::ffi::OsStrExt, process::Command};

use actix_statsig::Config;

/// Returns what `Config::from_env` returns and logs in a process with this variable and a key.
fn read(variable: &str, value: &OsStr) -> String {
    let child = Command::new(env::current_exe().expect("this program"))
        .args(["--exact", "child_reads_its_environment", "--nocapture"])
        .env_clear()
        .env(IS_CHILD, "1")
        .env("STATSIG_API_KEY", "secret-key")
        .env(variable, value)
        .output()
        .expect("this program runs");
    String::from_utf8(child.stdout).expect("text")
}

const IS_CHILD: &str = "IS_CHILD_OF_THE_TEST";

/// Runs in a process of its own.
#[test]
fn child_reads_its_environment() {
    if env::var_os(IS_CHILD).is_some() {
        tracing_subscriber::fmt().with_ansi(false).init();
        println!("{:?}", Config::from_env().map_err(|error| error.to_string()));
    }
}

#[test]
fn a_variable_that_is_not_text_is_refused_and_not_passed_over() {
    let fine = read("STATSIG_TIMEOUT", OsStr::new("2s"));
    assert!(fine.contains("timeout: 2s"), "{fine}");

    for setting in ["timeout", "exposure_logging", "extra_root_certificates", "api_key"] {
        let variable = format!("STATSIG_{}", setting.to_ascii_uppercase());
        let said = read(&variable, OsStr::from_bytes(b"\xff"));
        assert!(said.contains(&format!("Err(\"setting `{setting}` cannot be")), "{said}");
    }
}

#[test]
fn unknown_variable_is_one_warning_without_its_value() {
    let shown = read("STATSIG_TIMOUT", OsStr::new("hunter2"));

    let (warnings, rest): (Vec<_>, Vec<_>) =
        shown.lines().partition(|line| line.contains("STATSIG_TIMOUT"));
    let [warning] = warnings[..] else { panic!("{shown}") };
    assert!(warning.contains(" WARN "), "{warning}");
    let hint = "there is no such setting; did you mean STATSIG_TIMEOUT?";
    assert!(warning.ends_with(hint), "{warning}");
    assert!(rest.iter().any(|line| line.contains("timeout: 3s")), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");

    assert!(!read("STATSIG_RELAY_LISTEN", OsStr::new("127.0.0.1:1")).contains("WARN"));
}

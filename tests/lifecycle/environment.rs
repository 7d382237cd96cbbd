//! `Config::from_env` reads the environment of its process. A process with threads must not change
//! its environment, so each test starts processes with the environments to read.
#![cfg(unix)]
#![expect(clippy::print_stdout, reason = "processes print what they read")]

use std::{env, ffi::OsStr, os::unix::ffi::OsStrExt, process::Command};

use actix_statsig::Config;

use crate::support::own_process::again;

/// Set in the processes that print what they read.
const IS_CHILD: &str = "IS_CHILD_OF_THE_TEST";

/// Prints what `Config::from_env` returns and logs.
fn print_what_is_read() {
    tracing_subscriber::fmt().with_ansi(false).init();
    println!("{:?}", Config::from_env().map_err(|error| error.to_string()));
}

/// Runs a process with an API key and this variable, and returns its output.
fn read(mut again: Command, variable: &str, value: &OsStr) -> String {
    let child = again
        .env_clear()
        .env(IS_CHILD, "1")
        .env("STATSIG_API_KEY", "secret-key")
        .env(variable, value)
        .output()
        .expect("this program runs");
    String::from_utf8(child.stdout).expect("text")
}

#[test]
fn variable_that_is_not_text_is_refused() {
    let child = || print_what_is_read();
    if env::var_os(IS_CHILD).is_some() {
        return child();
    }
    let fine = read(again(&child), "STATSIG_TIMEOUT", OsStr::new("2s"));
    assert!(fine.contains("timeout: 2s"), "{fine}");

    for setting in ["timeout", "exposure_logging", "extra_root_certificates", "api_key"] {
        let variable = format!("STATSIG_{}", setting.to_ascii_uppercase());
        let said = read(again(&child), &variable, OsStr::from_bytes(b"\xff"));
        assert!(said.contains(&format!("Err(\"setting `{setting}` cannot be")), "{said}");
    }
}

#[test]
fn unknown_variable_is_one_warning_without_its_value() {
    let child = || print_what_is_read();
    if env::var_os(IS_CHILD).is_some() {
        return child();
    }
    let shown = read(again(&child), "STATSIG_TIMOUT", OsStr::new("hunter2"));

    let (warnings, rest): (Vec<_>, Vec<_>) =
        shown.lines().partition(|line| line.contains("STATSIG_TIMOUT"));
    let [warning] = warnings[..] else { panic!("{shown}") };
    assert!(warning.contains(" WARN "), "{warning}");
    let hint = "there is no such setting; did you mean STATSIG_TIMEOUT?";
    assert!(warning.ends_with(hint), "{warning}");
    assert!(rest.iter().any(|line| line.contains("timeout: 3s")), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");

    assert!(
        !read(again(&child), "STATSIG_RELAY_LISTEN", OsStr::new("127.0.0.1:1")).contains("WARN")
    );
}

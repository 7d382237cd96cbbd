//! `Config::from_env` reads the environment of the process, which a test can set only for another.
#![cfg(unix)]

use std::{env, ffi::OsStr, os::unix::ffi::OsStrExt, process::Command};

use actix_statsig::Config;

/// What `Config::from_env` says in a process with this variable and a key.
fn read(variable: &str, value: &OsStr) -> String {
    let child = Command::new(env::current_exe().expect("this program"))
        .args([
            "--exact",
            "environment::a_variable_that_is_not_text_is_refused_and_not_passed_over",
            "--nocapture",
        ])
        .env_clear()
        .env(IS_CHILD, "1")
        .env("STATSIG_API_KEY", "secret-key")
        .env(variable, value)
        .output()
        .expect("this program runs");
    String::from_utf8(child.stdout).expect("text")
}

const IS_CHILD: &str = "TELL_WHAT_IS_READ";

#[test]
fn a_variable_that_is_not_text_is_refused_and_not_passed_over() {
    if env::var_os(IS_CHILD).is_some() {
        return println!("{:?}", Config::from_env().map_err(|error| error.to_string()));
    }
    let fine = read("STATSIG_TIMEOUT", OsStr::new("2s"));
    assert!(fine.contains("timeout: 2s"), "{fine}");

    for setting in ["timeout", "exposure_logging", "extra_root_certificates", "api_key"] {
        let variable = format!("STATSIG_{}", setting.to_ascii_uppercase());
        let said = read(&variable, OsStr::from_bytes(b"\xff"));
        assert!(said.contains(&format!("Err(\"setting `{setting}` cannot be")), "{said}");
    }
}

//! `Config::from_env` reads the environment of its process. A process that has threads must not
//! change its own environment, so the test starts processes with the environments to read.
#![cfg(unix)]

use std::{env, ffi::OsStr, os::unix::ffi::OsStrExt, process::Command};

use actix_statsig::Config;

use crate::support::own_process::again;

/// Returns what `Config::from_env` says in a process with this variable and a key.
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

/// Set in the processes that read their environment.
const IS_CHILD: &str = "TELL_WHAT_IS_READ";

#[test]
fn a_variable_that_is_not_text_is_refused_and_not_passed_over() {
    let tell = || println!("{:?}", Config::from_env().map_err(|error| error.to_string()));
    if env::var_os(IS_CHILD).is_some() {
        return tell();
    }
    let fine = read(again(&tell), "STATSIG_TIMEOUT", OsStr::new("2s"));
    assert!(fine.contains("timeout: 2s"), "{fine}");

    for setting in ["timeout", "exposure_logging", "extra_root_certificates", "api_key"] {
        let variable = format!("STATSIG_{}", setting.to_ascii_uppercase());
        let said = read(again(&tell), &variable, OsStr::from_bytes(b"\xff"));
        assert!(said.contains(&format!("Err(\"setting `{setting}` cannot be")), "{said}");
    }
}

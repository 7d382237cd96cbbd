//! Runs tests in a process of their own, because the state that they set or count belongs to the
//! whole process.

use std::{any, env, process::Command};

/// Set in the process that a test has started for itself.
const IS_OWN: &str = "TEST_IN_ITS_OWN_PROCESS";

/// Runs a test in a process of its own.
pub fn in_own_process<F: FnOnce()>(test: F) {
    if env::var_os(IS_OWN).is_some() {
        return test();
    }
    passes(again(&test).env(IS_OWN, "1"));
}

/// The command that runs the one test in which `closure` is written.
pub fn again<F>(closure: &F) -> Command {
    let mut command = Command::new(env::current_exe().expect("this program has a path"));
    command.args(["--exact", path_of(closure), "--nocapture", "--test-threads=1"]);
    command
}

/// The test harness's name for the test in which `closure` is written.
pub fn path_of<F>(_closure: &F) -> &'static str {
    // `program::module::test::{{closure}}`.
    let (_, path) = any::type_name::<F>().split_once("::").expect("a closure has a path");
    path.split("::{{closure}}").next().expect("a split has a first part")
}

/// Runs the command and asserts that its one test passes.
pub fn passes(command: &mut Command) {
    let run = command.output().expect("this program starts again");
    let stdout = String::from_utf8_lossy(&run.stdout);
    let stderr = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success() && stdout.contains("1 passed"), "{stdout}\n{stderr}");
}

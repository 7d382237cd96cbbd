//! Time that has passed, and CPU time that this process has used.

use std::time::{Duration, Instant};

use cpu_time::ProcessTime;

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
pub fn now() -> Instant {
    Instant::now()
}

/// In user space and in the kernel, of all threads.
pub fn cpu() -> Duration {
    ProcessTime::now().as_duration()
}

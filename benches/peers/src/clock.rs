//! The clock, and the CPU time of this process.

use std::time::{Duration, Instant};

use cpu_time::ProcessTime;

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
pub fn now() -> Instant {
    Instant::now()
}

/// The CPU time of all threads, in user space and in the kernel.
pub fn cpu() -> Duration {
    ProcessTime::now().as_duration()
}

//! The only place that reads a clock. Decisions get `now` passed in; the shells read it here, from
//! tokio, so that a paused runtime runs the whole component in virtual time.

use std::time::{Duration, Instant, SystemTime};

/// Reads the monotonic clock. In a paused runtime it is virtual.
#[allow(clippy::disallowed_methods)]
pub(crate) fn now() -> Instant {
    actix_rt::time::Instant::now().into_std()
}

/// Reads the wall clock, for a `Retry-After` with a date.
#[allow(clippy::disallowed_methods)]
pub(crate) fn wall() -> SystemTime {
    SystemTime::now()
}

/// Returns how long the machine has been suspended since a fixed moment. The result is constant on
/// systems that do not report this time, or whose monotonic clock goes on while suspended.
pub(crate) fn slept() -> Duration {
    let slept = system_slept();
    #[cfg(feature = "test-util")]
    let slept = slept + pretended::slept();
    slept
}

#[cfg(any(target_os = "android", target_os = "linux"))]
fn system_slept() -> Duration {
    use nix::time::{ClockId, clock_gettime};
    let read = |clock| clock_gettime(clock).map(Duration::from).unwrap_or_default();
    // Read in this order: if the thread is paused between the two reads, the result is too small,
    // and the next call corrects it. A result that is too large would never be corrected.
    let since_boot = read(ClockId::CLOCK_BOOTTIME);
    since_boot.saturating_sub(read(ClockId::CLOCK_MONOTONIC))
}

#[cfg(not(any(target_os = "android", target_os = "linux")))]
fn system_slept() -> Duration {
    Duration::ZERO
}

#[cfg(feature = "test-util")]
pub(crate) mod pretended {
    use std::{
        sync::atomic::{AtomicU64, Ordering::Relaxed},
        time::Duration,
    };

    static SLEPT: AtomicU64 = AtomicU64::new(0);

    /// Pretends that the machine was suspended for this long, for all components of this process. Not
    /// part of the stable interface.
    pub fn suspend_machine(duration: Duration) {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        SLEPT.fetch_add(millis, Relaxed);
    }

    pub(super) fn slept() -> Duration {
        Duration::from_millis(SLEPT.load(Relaxed))
    }
}

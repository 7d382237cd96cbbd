//! The only place that reads a clock. Decisions get `now` passed in; the actor shells read it here,
//! from tokio, so that a paused runtime drives the whole component in virtual time.

use std::time::{Duration, Instant, SystemTime};

/// The monotonic clock, virtual where the current runtime's is.
#[allow(clippy::disallowed_methods)]
pub(crate) fn now() -> Instant {
    actix_rt::time::Instant::now().into_std()
}

/// The wall clock, for a `Retry-After` that names a date.
#[allow(clippy::disallowed_methods)]
pub(crate) fn wall() -> SystemTime {
    SystemTime::now()
}

/// How long the machine has been suspended, since it was started or since some other fixed moment.
/// Where the system does not say, or its monotonic clock goes on meanwhile, it is always the same.
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
    // In this order: a thread that is held up between the two reads less than it was, which the next
    // reading mends. More would never be taken back.
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

    /// Has the machine have been suspended for so long, for all components of this process. Not part of
    /// the stable interface.
    pub fn suspend_machine(duration: Duration) {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        SLEPT.fetch_add(millis, Relaxed);
    }

    pub(super) fn slept() -> Duration {
        Duration::from_millis(SLEPT.load(Relaxed))
    }
}

//! Points where a test can make the component's own code panic. Without the feature `test-util`
//! they do nothing.

#[cfg(feature = "test-util")]
pub use on::{FAILPOINTS, panic_at};

/// Panics if a test has armed this failpoint.
#[inline]
pub(crate) fn failpoint(name: &'static str) {
    #[cfg(feature = "test-util")]
    on::reach(name);
    #[cfg(not(feature = "test-util"))]
    let _ = name;
}

#[cfg(feature = "test-util")]
mod on {
    use std::{cell::RefCell, collections::HashMap};

    /// The failpoints that [`panic_at`] accepts.
    ///
    /// In the `BatchActor`: its handlers of requests, of `Flush` and of `Shutdown`, its timer, and its
    /// completion of a call. In the `TransportActor`: its handlers of a call and of an attempt's end,
    /// and the task that makes an attempt.
    pub const FAILPOINTS: [&str; 8] = [
        "batch.request",
        "batch.flush",
        "batch.shutdown",
        "batch.timer",
        "batch.completion",
        "transport.call",
        "transport.attempted",
        "attempt",
    ];

    thread_local! {
        static ARMED: RefCell<HashMap<&'static str, u32>> = RefCell::default();
    }

    /// Makes the component on *this* thread panic at a failpoint, the next `times` times. Start the
    /// component with
    /// [`Statsig::start_in_current_arbiter`](crate::Statsig::start_in_current_arbiter).
    ///
    /// # Panics
    /// Panics if [`FAILPOINTS`] does not have the failpoint.
    pub fn panic_at(failpoint: &str, times: u32) {
        let known = FAILPOINTS.into_iter().find(|known| *known == failpoint);
        let known = known.unwrap_or_else(|| panic!("no failpoint {failpoint:?}: {FAILPOINTS:?}"));
        ARMED.with_borrow_mut(|armed| armed.insert(known, times));
    }

    pub(super) fn reach(name: &'static str) {
        let panics = ARMED.with_borrow_mut(|armed| match armed.get_mut(name) {
            Some(times) if *times > 0 => {
                *times -= 1;
                true
            }
            _ => false,
        });
        assert!(!panics, "a test made this panic at {name:?}");
    }
}

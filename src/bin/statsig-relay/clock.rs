//! The clock of what times the relay's connections.

use std::time::Instant;

#[expect(clippy::disallowed_methods, reason = "the one place of the relay's connections")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

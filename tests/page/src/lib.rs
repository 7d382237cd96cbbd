//! Tests `statsig-relay`'s page in headless Chromium: the real program, its page in a real browser,
//! and a [`LocalStatsig`](actix_statsig::test_util::LocalStatsig) that can fail.
//!
//! ```sh
//! .ci/page
//! ```
//!
//! installs Chromium where it is missing, builds the relay and runs the tests. `STATSIG_RELAY_BIN`
//! names the relay to test, and `CHROMIUM` the browser to use.
//!
//! The tests speak the browser's JSON protocol by hand. Crates with types for the protocol pin one
//! version of it and drop messages of newer browsers, so a test would miss a violation.

mod chromium;
mod page;
mod relay;

pub use page::Page;
pub use relay::{KEY, Relay};

//! Watches `statsig-relay`'s page in headless Chromium: the program itself, its page in a real
//! browser, and a [`LocalStatsig`](actix_statsig::test_util::LocalStatsig) that can fail.
//!
//! ```sh
//! .ci/page
//! ```
//!
//! installs Chromium where it is missing, builds the relay and runs the tests. `STATSIG_RELAY_BIN`
//! says which relay is tested, `CHROMIUM` which browser it is watched with.
//!
//! The browser is spoken to in JSON, by hand: crates that bring types for its protocol pin a
//! version of it, and drop what a newer browser says. A violation that nobody hears of is no test.

mod chromium;
mod page;
mod relay;

pub use page::Page;
pub use relay::{KEY, Relay};

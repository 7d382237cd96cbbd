//! Helpers for an app's tests: a local Statsig server in the same process.
//!
//! [`LocalStatsig`] serves Statsig's HTTP API from [`Rules`]. It refuses what the API document refuses,
//! records requests, and fails on demand as servers and networks do.
//!
//! ```
//! use actix_statsig::{Config, Statsig, User};
//! use actix_statsig::test_util::{Fault, LocalStatsig, Rule, Rules};
//! use serde_json::json;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let rules = Rules::new()
//!     .gate("new_checkout", Rule::new(true).when("country", "NL"))
//!     .config("homepage", json!({"theme": "dark"}));
//! let server = LocalStatsig::start(rules)?;
//! let statsig = Statsig::start(Config::builder("any-key").base_url(server.url()).build()?)?;
//!
//! # actix_rt::System::new().block_on(async move {
//! let dutch = User::builder().user_id("u-1").country("NL").build()?;
//! assert!(statsig.check_gate(&dutch, "new_checkout").await?);
//! assert!(!statsig.check_gate(&User::new("u-2")?, "new_checkout").await?);
//!
//! // Statsig is down:
//! server.inject(Fault::status(503).for_path("/v1/get_config").always());
//! assert!(statsig.get_config(&dutch, "homepage").await.is_err());
//!
//! // No request broke a rule of the API:
//! assert_eq!(server.refused(), 0);
//! assert_eq!(server.requests()[0].names, ["new_checkout"]);
//! # Ok(())
//! # })
//! # }
//! ```

mod api;
mod attribute;
mod body;
mod fault;
mod local_statsig;
mod parsers;
mod pure_buffer;
mod record;
mod rules;
mod rules_file;
mod server;
mod unique;

pub use self::fault::Fault;
pub use self::local_statsig::LocalStatsig;
pub use self::parsers::{answer_request, frame_answer, parse_answer};
pub use self::pure_buffer::PureBuffer;
pub use self::record::RecordedRequest;
pub use self::rules::{Rule, Rules};
pub use self::rules_file::RulesError;

pub use crate::rt::{
    clock::pretended::suspend_machine,
    failpoint::{FAILPOINTS, panic_at},
};

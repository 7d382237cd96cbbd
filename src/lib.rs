//! Placeholder

mod admission;
mod batch;
mod clock;
mod config;
mod error;
mod evaluation;
mod failpoint;
mod messages;
mod shared;
mod stats;
mod statsig;
mod transport;
mod user;

#[cfg(feature = "test-util")]
pub mod test_util;

pub use batch::BatchActor;
pub use config::{Config, ConfigBuilder};
pub use error::{ConnectFault, Error};
pub use evaluation::{ConfigEvaluation, Evaluation, GateEvaluation};
pub use messages::{
    Asking, Call, CallKind, CallRequest, CheckGates, Flush, GetConfigs, Outcome, Shutdown,
    ShutdownReport,
};
pub use stats::Stats;
pub use statsig::Statsig;
pub use user::{Attribute, Tier, User, UserBuilder};

//! The messages from the transport's own tasks. `Call` comes from the `BatchActor`.

use actix::Message;

use super::job::{AttemptResult, Job};
use crate::{
    model::error::Error,
    transport::retry::{breaker::Probe, shared_health::AttemptInfo},
};

/// An attempt has ended.
#[derive(Debug)]
pub(super) struct AttemptCompleted {
    pub(super) job: Job,
    pub(super) result: AttemptResult,
    pub(super) info: AttemptInfo,
    /// The number of API key changes before the attempt started.
    pub(super) key_changes: u64,
}

impl Message for AttemptCompleted {
    type Result = ();
}

/// A call's backoff is over.
#[derive(Debug)]
pub(super) struct BackoffElapsed(pub(super) Job);

impl Message for BackoffElapsed {
    type Result = ();
}

/// A probe has ended. The outcome is `None` if the probe panicked.
#[derive(Debug)]
pub(super) struct ProbeCompleted {
    pub(super) probe: Probe,
    pub(super) outcome: Option<Result<(), Error>>,
}

impl Message for ProbeCompleted {
    type Result = ();
}

/// Some transport's probe has ended, or the breaker has closed.
#[derive(Debug)]
pub(super) struct BreakerUpdated;

impl Message for BreakerUpdated {
    type Result = ();
}

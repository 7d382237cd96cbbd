//! What one request has asked, and for whom.

use std::{rc::Rc, sync::Arc};

use actix::Handler;
use futures_util::FutureExt;

use super::{
    answers::{Answers, Outcome},
    config::FlagsConfig,
};
use crate::{
    batch::BatchActor,
    handle::Statsig,
    message::{BatchRequest, CheckGates, GetConfigs},
    model::{
        call_kind::CallKind,
        error::Error,
        evaluation::{ConfigEvaluation, GateEvaluation},
        user::User,
    },
};

/// Lives as long as its request, or a [`Flags`](super::Flags) of it.
pub(super) struct Snapshot {
    config: FlagsConfig,
    pub(super) user: User,
    gates: Answers<GateEvaluation>,
    configs: Answers<ConfigEvaluation>,
}

impl Snapshot {
    pub(super) fn new(config: FlagsConfig, user: User) -> Self {
        let user = config.statsig().in_environment(user);
        // A call has any number of gates, but one config.
        Self { config, user, gates: Answers::new(usize::MAX), configs: Answers::new(1) }
    }

    pub(super) fn statsig(&self) -> &Statsig {
        self.config.statsig()
    }

    pub(super) async fn gates(&self, names: &[Arc<str>]) -> Result<Vec<GateEvaluation>, Error> {
        let ask = |names| self.ask(CheckGates::new(self.user.clone(), names));
        self.gates.of(names, ask).await.inspect_err(|error| self.log(CallKind::CheckGate, error))
    }

    pub(super) async fn configs(&self, names: &[Arc<str>]) -> Result<Vec<ConfigEvaluation>, Error> {
        let ask = |names| self.ask(GetConfigs::new(self.user.clone(), names));
        self.configs.of(names, ask).await.inspect_err(|error| self.log(CallKind::GetConfig, error))
    }

    fn log(&self, kind: CallKind, error: &Error) {
        if matches!(error, Error::InvalidName { .. }) {
            self.config.log_invalid_name(kind, error);
        }
    }

    fn ask<M: BatchRequest>(&self, message: M) -> Outcome<M::Evaluation>
    where
        BatchActor: Handler<M>,
    {
        // The future holds the configuration, not the snapshot: the snapshot holds the future.
        let config = self.config.clone();
        async move { config.statsig().ask(message).await.map(Rc::from) }.boxed_local().shared()
    }
}

//! One request's user, and the user's evaluations so far.

use std::{rc::Rc, sync::Arc};

use actix::Handler;
use futures_util::FutureExt;

use super::{
    config::FlagsConfig,
    memo::{Memo, SharedOutcome},
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

/// Lives as long as its request and the [`Flags`](super::Flags) of the request.
pub(super) struct Snapshot {
    config: FlagsConfig,
    user: User,
    gates: Memo<GateEvaluation>,
    configs: Memo<ConfigEvaluation>,
}

impl Snapshot {
    pub(super) fn new(config: FlagsConfig, user: User) -> Self {
        let user = config.statsig().in_environment(user);
        // A call asks for many gates, but for one config.
        Self { config, user, gates: Memo::new(usize::MAX), configs: Memo::new(1) }
    }

    pub(super) fn statsig(&self) -> &Statsig {
        self.config.statsig()
    }

    pub(super) fn user(&self) -> &User {
        &self.user
    }

    pub(super) async fn gates(&self, names: &[Arc<str>]) -> Result<Vec<GateEvaluation>, Error> {
        let send = |names| self.send(CheckGates::new(self.user.clone(), names));
        let gates = self.gates.evaluations(names, send).await;
        gates.inspect_err(|error| self.log_invalid_name(CallKind::CheckGate, error))
    }

    pub(super) async fn configs(&self, names: &[Arc<str>]) -> Result<Vec<ConfigEvaluation>, Error> {
        let send = |names| self.send(GetConfigs::new(self.user.clone(), names));
        let configs = self.configs.evaluations(names, send).await;
        configs.inspect_err(|error| self.log_invalid_name(CallKind::GetConfig, error))
    }

    fn send<M: BatchRequest>(&self, message: M) -> SharedOutcome<M::Evaluation>
    where
        BatchActor: Handler<M>,
    {
        // The future holds the configuration and not the snapshot, because the snapshot holds the future.
        let config = self.config.clone();
        async move { config.statsig().ask(message).await.map(Rc::from) }.boxed_local().shared()
    }

    fn log_invalid_name(&self, kind: CallKind, error: &Error) {
        if matches!(error, Error::InvalidName { .. }) {
            self.config.log_invalid_name(kind, error);
        }
    }
}

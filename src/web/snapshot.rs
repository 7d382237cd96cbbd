//! What one request has asked, and for whom.

use std::{rc::Rc, sync::Arc};

use actix::Handler;
use futures_util::FutureExt;

use super::answers::{Answers, Outcome};
use crate::{
    batch::BatchActor,
    handle::Statsig,
    message::{BatchRequest, CheckGates, GetConfigs},
    model::{
        error::Error,
        evaluation::{ConfigEvaluation, GateEvaluation},
        user::User,
    },
};

/// Lives as long as its request, or a [`Flags`](super::Flags) of it.
pub(super) struct Snapshot {
    pub(super) statsig: Arc<Statsig>,
    pub(super) user: User,
    gates: Answers<GateEvaluation>,
    configs: Answers<ConfigEvaluation>,
}

impl Snapshot {
    pub(super) fn new(statsig: Arc<Statsig>, user: User) -> Self {
        // A call has any number of gates, but one config.
        Self { statsig, user, gates: Answers::new(usize::MAX), configs: Answers::new(1) }
    }

    pub(super) async fn gates(&self, names: &[Arc<str>]) -> Result<Vec<GateEvaluation>, Error> {
        let ask = |names| self.ask(CheckGates::new(self.user.clone(), names));
        self.gates.of(names, ask).await
    }

    pub(super) async fn configs(&self, names: &[Arc<str>]) -> Result<Vec<ConfigEvaluation>, Error> {
        let ask = |names| self.ask(GetConfigs::new(self.user.clone(), names));
        self.configs.of(names, ask).await
    }

    fn ask<M: BatchRequest>(&self, message: M) -> Outcome<M::Evaluation>
    where
        BatchActor: Handler<M>,
    {
        // It must not hold the snapshot, which holds it.
        let statsig = Arc::clone(&self.statsig);
        async move { statsig.ask(message).await.map(Rc::from) }.boxed_local().shared()
    }
}

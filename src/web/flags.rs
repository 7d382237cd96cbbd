//! The extractor.

use std::{fmt, rc::Rc, sync::Arc};

use actix_web::{FromRequest, HttpRequest, dev::Payload};
use futures_util::future::{FutureExt, LocalBoxFuture};
use serde::de::DeserializeOwned;

use super::{request_snapshot::request_snapshot, snapshot::Snapshot};
use crate::{
    handle::{Name, Statsig, only},
    model::{
        call_kind::CallKind,
        error::Error,
        evaluation::{ConfigEvaluation, GateEvaluation},
        user::User,
    },
};

/// The flags of the user whose request it is: an argument of handlers.
///
/// All that is asked in one request, through whichever extractor or middleware, makes one consistent
/// snapshot. A name asked for a second time has the answer of the first, or joins it where that is
/// on its way; an error is an answer too, so that a request does not see a gate fail and then open.
/// The names of one call that were not asked for yet go out together, and nothing else does: each
/// name that Statsig is asked for is an exposure.
///
/// Needs a [`FlagsConfig`](crate::web::FlagsConfig) in the `app_data`. Without one, the request is
/// answered with 500, and the log names the missing line at level ERROR.
///
/// A middleware gets it with `request.extract::<Flags>()`. Clones share the snapshot.
///
/// ```
/// use actix_statsig::web::Flags;
/// use actix_web::{HttpResponse, Result};
///
/// async fn page(flags: Flags) -> Result<HttpResponse> {
///     let columns: u32 = flags.get_config_or("homepage", "columns", 2).await;
///     let gates = flags.check_gates(["new_checkout", "beta"]).await?;
///     Ok(HttpResponse::Ok().body(format!("{columns} columns, {gates:?}")))
/// }
/// ```
#[derive(Clone)]
pub struct Flags(Rc<Snapshot>);

impl Flags {
    /// Whom the answers are about.
    pub fn user(&self) -> &User {
        self.0.user()
    }

    /// The component, for questions outside of the snapshot: without an exposure, or past the cache.
    ///
    /// ```
    /// # use actix_statsig::{CheckGates, Error, web::Flags};
    /// # async fn menu(flags: Flags) -> Result<(), Error> {
    /// let quietly = CheckGates::new(flags.user().clone(), ["beta"]).without_exposure();
    /// let gates = flags.statsig().ask(quietly).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn statsig(&self) -> &Statsig {
        self.0.statsig()
    }

    /// Whether the gate is open.
    ///
    /// # Errors
    /// Whatever kept the question from being answered: an error is never turned into `false`. As the
    /// answer to a request, an [`Error`] is a fitting status and nothing else.
    pub async fn check_gate(&self, name: impl Name) -> Result<bool, Error> {
        Ok(self.gate_evaluation(name).await?.value())
    }

    /// Whether each of the gates is open, in the order asked.
    ///
    /// # Errors
    /// As [`check_gate`](Self::check_gate): one for all of them.
    pub async fn check_gates<N: Name>(
        &self,
        names: impl IntoIterator<Item = N>,
    ) -> Result<Vec<bool>, Error> {
        let gates = self.gate_evaluations(names).await?;
        Ok(gates.iter().map(GateEvaluation::value).collect())
    }

    /// Whether the gate is open, or this default if there is no answer: for those who want no error.
    ///
    /// That there was none is never invisible, but counted, logged and told as
    /// [`Statsig::check_gate_or`](crate::Statsig::check_gate_or) says, each time.
    pub async fn check_gate_or(&self, name: impl Name, default: bool) -> bool {
        let name = name.into();
        self.check_gate(Arc::clone(&name)).await.unwrap_or_else(|error| {
            self.fell_back(name, error);
            default
        })
    }

    /// A gate's whole evaluation: the value, with the rule and the group that decided it.
    ///
    /// # Errors
    /// As [`check_gate`](Self::check_gate).
    pub async fn gate_evaluation(&self, name: impl Name) -> Result<GateEvaluation, Error> {
        only(self.0.gates(&[name.into()]).await?)
    }

    /// Several gates' whole evaluations, in the order asked.
    ///
    /// # Errors
    /// As [`check_gate`](Self::check_gate): one for all of them.
    pub async fn gate_evaluations<N: Name>(
        &self,
        names: impl IntoIterator<Item = N>,
    ) -> Result<Vec<GateEvaluation>, Error> {
        self.0.gates(&all(names)).await
    }

    /// A dynamic config's or experiment's evaluation.
    ///
    /// # Errors
    /// As [`check_gate`](Self::check_gate).
    pub async fn get_config(&self, name: impl Name) -> Result<ConfigEvaluation, Error> {
        only(self.0.configs(&[name.into()]).await?)
    }

    /// Several configs' evaluations, in the order asked.
    ///
    /// # Errors
    /// As [`check_gate`](Self::check_gate): one for all of them.
    pub async fn get_configs<N: Name>(
        &self,
        names: impl IntoIterator<Item = N>,
    ) -> Result<Vec<ConfigEvaluation>, Error> {
        self.0.configs(&all(names)).await
    }

    /// The value of one key of a config, or this default if there is no answer, no such key, or one
    /// of another type. No more invisible than [`check_gate_or`](Self::check_gate_or).
    pub async fn get_config_or<T: DeserializeOwned>(
        &self,
        name: impl Name,
        key: &str,
        default: T,
    ) -> T {
        let name = name.into();
        let config = self.get_config(Arc::clone(&name)).await;
        config.and_then(|config| config.get(key)).unwrap_or_else(|error| {
            self.statsig().fell_back(CallKind::GetConfig, name, Some(key.into()), error);
            default
        })
    }

    /// A default is about to stand in for the gate's answer.
    pub(super) fn fell_back(&self, name: Arc<str>, error: Error) {
        self.statsig().fell_back(CallKind::CheckGate, name, None, error);
    }
}

impl FromRequest for Flags {
    type Error = actix_web::Error;
    type Future = LocalBoxFuture<'static, Result<Self, Self::Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        async move { request_snapshot(&request).await.map(Self) }.boxed_local()
    }
}

/// Shows the user without private attributes.
impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flags").field("user", self.user()).finish_non_exhaustive()
    }
}

fn all<N: Name>(names: impl IntoIterator<Item = N>) -> Vec<Arc<str>> {
    names.into_iter().map(Into::into).collect()
}

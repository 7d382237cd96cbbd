//! The extractor `Flags`.

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

/// Extractor for the feature flags of the request's user.
///
/// A request has one consistent snapshot of its flags, shared by all its extractors and middlewares.
/// Each name has one answer until the request ends, even if the cache changes meanwhile. An error is
/// an answer too: a gate cannot fail first and be open later in the same request.
///
/// A method that takes several names sends those that are new to the snapshot in one message. No
/// other names are sent, because Statsig logs an exposure for each name in a request.
///
/// Needs a [`FlagsConfig`](crate::web::FlagsConfig) in the `app_data`. Without one, the request is
/// answered with 500, and the log shows the missing line at level ERROR.
///
/// A name has 2 to 100 of the characters that [`Name`] lists. Any other name is a mistake in the
/// app: the call fails with [`Error::InvalidName`] and sends nothing. The log shows the name and
/// the rule at level ERROR, at most once a second.
///
/// Middlewares extract flags with `request.extract::<Flags>()`. Clones share the snapshot.
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
    /// Returns the user of these flags.
    pub fn user(&self) -> &User {
        self.0.user()
    }

    /// Returns the component, for requests outside the snapshot, for example without an exposure or
    /// without the cache.
    ///
    /// ```
    /// # use actix_statsig::{CheckGates, Error, web::Flags};
    /// # async fn menu(flags: Flags) -> Result<(), Error> {
    /// let beta = CheckGates::new(flags.user().clone(), ["beta"]).without_exposure();
    /// let gates = flags.statsig().ask(beta).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn statsig(&self) -> &Statsig {
        self.0.statsig()
    }

    /// Returns whether the gate is open.
    ///
    /// # Errors
    /// The [`Error`] that prevented an answer; it never becomes `false`. If a handler returns it,
    /// the response has a fitting [status](crate::web#statuses).
    pub async fn check_gate(&self, name: impl Name) -> Result<bool, Error> {
        Ok(self.gate_evaluation(name).await?.value())
    }

    /// Returns whether each gate is open, in the order of the names.
    ///
    /// # Errors
    /// As [`check_gate`](Self::check_gate): one error for all names.
    pub async fn check_gates<N: Name>(
        &self,
        names: impl IntoIterator<Item = N>,
    ) -> Result<Vec<bool>, Error> {
        let gates = self.gate_evaluations(names).await?;
        Ok(gates.iter().map(GateEvaluation::value).collect())
    }

    /// Returns whether the gate is open, or the default if there is no answer.
    ///
    /// Every fallback is counted, logged and reported, as
    /// [`Statsig::check_gate_or`](crate::Statsig::check_gate_or) describes.
    pub async fn check_gate_or(&self, name: impl Name, default: bool) -> bool {
        let name = name.into();
        self.check_gate(Arc::clone(&name)).await.unwrap_or_else(|error| {
            self.fell_back(name, error);
            default
        })
    }

    /// Returns a gate's whole evaluation: the value, with the rule and the group that decided it.
    ///
    /// # Errors
    /// As [`check_gate`](Self::check_gate).
    pub async fn gate_evaluation(&self, name: impl Name) -> Result<GateEvaluation, Error> {
        only(self.0.gates(&[name.into()]).await?)
    }

    /// Returns several gates' whole evaluations, in the order of the names.
    ///
    /// # Errors
    /// As [`check_gate`](Self::check_gate): one error for all names.
    pub async fn gate_evaluations<N: Name>(
        &self,
        names: impl IntoIterator<Item = N>,
    ) -> Result<Vec<GateEvaluation>, Error> {
        self.0.gates(&collect(names)).await
    }

    /// Returns the evaluation of a dynamic config or an experiment.
    ///
    /// # Errors
    /// As [`check_gate`](Self::check_gate).
    pub async fn get_config(&self, name: impl Name) -> Result<ConfigEvaluation, Error> {
        only(self.0.configs(&[name.into()]).await?)
    }

    /// Returns several configs' evaluations, in the order of the names.
    ///
    /// # Errors
    /// As [`check_gate`](Self::check_gate): one error for all names.
    pub async fn get_configs<N: Name>(
        &self,
        names: impl IntoIterator<Item = N>,
    ) -> Result<Vec<ConfigEvaluation>, Error> {
        self.0.configs(&collect(names)).await
    }

    /// Returns the value of one key of a config, or the default: if there is no answer or no such key,
    /// or the value has another type. Reported the same way as [`check_gate_or`](Self::check_gate_or).
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

    /// Reports that a default replaces the gate's answer.
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

/// Leaves out the user's private attributes.
impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flags").field("user", self.user()).finish_non_exhaustive()
    }
}

fn collect<N: Name>(names: impl IntoIterator<Item = N>) -> Vec<Arc<str>> {
    names.into_iter().map(Into::into).collect()
}

//! Checks with a default in place of an error.

use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::{Name, Statsig, cached::value};
use crate::{
    message::CheckGates,
    model::{call_kind::CallKind, error::Error, user::User},
    telemetry::fallback::Fallback,
};

impl Statsig {
    /// Returns whether the gate is open for the user, or the default in place of an error.
    ///
    /// Every fallback is reported: in [`Stats::fallbacks`](crate::Stats::fallbacks), in the log (at most
    /// one warning a second, with the number of fallbacks since the last), and to
    /// [`on_fallback`](crate::ConfigBuilder::on_fallback).
    ///
    /// ```
    /// # async fn page(statsig: actix_statsig::Statsig, user: actix_statsig::User) -> &'static str {
    /// match statsig.check_gate_or(&user, "new_checkout", false).await {
    ///     true => "the new checkout",
    ///     false => "the old checkout",
    /// }
    /// # }
    /// ```
    pub async fn check_gate_or<N: Name>(&self, user: &User, gate: N, default: bool) -> bool {
        if let Some(value) = self.cached::<CheckGates, _>(user, gate.as_ref(), value) {
            return value;
        }
        let name = gate.into();
        self.check_gate(user, Arc::clone(&name)).await.unwrap_or_else(|error| {
            self.fell_back(CallKind::CheckGate, name, None, error);
            default
        })
    }

    /// Returns the value of one key of a config, or the default if there is an error, no such key, or a
    /// value of another type. Reported the same way as [`check_gate_or`](Self::check_gate_or).
    ///
    /// ```
    /// # async fn page(statsig: actix_statsig::Statsig, user: actix_statsig::User) -> u32 {
    /// statsig.get_config_or(&user, "homepage", "columns", 2).await
    /// # }
    /// ```
    pub async fn get_config_or<N: Name, T: DeserializeOwned>(
        &self,
        user: &User,
        config: N,
        key: &str,
        default: T,
    ) -> T {
        let name = config.into();
        let config = self.get_config(user, Arc::clone(&name)).await;
        config.and_then(|config| config.get(key)).unwrap_or_else(|error| {
            self.fell_back(CallKind::GetConfig, name, Some(key.into()), error);
            default
        })
    }

    /// Reports a fallback.
    pub(crate) fn fell_back(
        &self,
        kind: CallKind,
        name: Arc<str>,
        key: Option<Arc<str>>,
        error: Error,
    ) {
        self.shared.fell_back(Fallback::new(kind, name, key, error));
    }
}

//! The provider: evaluates flags for the SDK.

use async_trait::async_trait;
use open_feature::{
    EvaluationContext, EvaluationError, EvaluationResult, StructValue,
    provider::{FeatureProvider, ProviderMetadata, ProviderStatus, ResolutionDetails},
};
use serde::de::DeserializeOwned;

use super::{
    context,
    details::Decision,
    error_code::evaluation_error,
    flag_key::FlagKey,
    value::{Int, Struct},
};
use crate::{
    handle::Statsig,
    model::{call_kind::CallKind, error::Error, evaluation::ConfigEvaluation, user::User},
};

/// Statsig as a provider for the OpenFeature SDK. The [module](super) describes how flag keys,
/// contexts, answers and errors are converted.
///
/// A clone shares the component, like a clone of [`Statsig`]. The SDK keeps the provider until the
/// app replaces it or shuts the SDK down. Neither shuts the component down: call
/// [`Statsig::shutdown`], or drop the last handle.
#[derive(Clone, Debug)]
pub struct StatsigProvider {
    statsig: Statsig,
    metadata: ProviderMetadata,
}

impl StatsigProvider {
    /// Returns a provider that evaluates flags through this handle.
    pub fn new(statsig: Statsig) -> Self {
        Self { statsig, metadata: ProviderMetadata::new("Statsig") }
    }

    async fn gate(
        &self,
        name: &str,
        context: &EvaluationContext,
    ) -> Result<ResolutionDetails<bool>, Error> {
        let user = context::user(context)?;
        let gate = self.statsig.gate_evaluation(&user, name).await?;
        Ok(Decision::from(&gate).details(gate.value()))
    }

    /// Evaluates a config, or a key in it, and reads the value as `T`.
    async fn config<T: DeserializeOwned, V: From<T>>(
        &self,
        flag_key: &str,
        context: &EvaluationContext,
    ) -> EvaluationResult<ResolutionDetails<V>> {
        let key = FlagKey::from(flag_key);
        let read = async {
            let config = self.known_config(&context::user(context)?, key.config).await?;
            let value: T = match key.key {
                Some(key) => config.get(key)?,
                None => config.deserialize()?,
            };
            Ok(Decision::from(&config).details(value.into()))
        };
        let read: Result<_, Error> = read.await;
        read.map_err(|error| self.fell_back(CallKind::GetConfig, key.config, key.key, error))
    }

    async fn known_config(&self, user: &User, name: &str) -> Result<ConfigEvaluation, Error> {
        let config = self.statsig.get_config(user, name).await?;
        // This is the API's answer for an unknown config.
        if config.is_empty() && Decision::from(&config).is_undecided() {
            let path = CallKind::GetConfig.path();
            return Err(Error::MissingName { path, name: name.into() });
        }
        Ok(config)
    }

    /// Counts and logs a fallback to the app's default, and converts its error.
    fn fell_back(
        &self,
        kind: CallKind,
        name: &str,
        key: Option<&str>,
        error: Error,
    ) -> EvaluationError {
        let sdk_error = evaluation_error(&error);
        self.statsig.fell_back(kind, name.into(), key.map(Into::into), error);
        sdk_error
    }
}

#[async_trait]
impl FeatureProvider for StatsigProvider {
    fn metadata(&self) -> &ProviderMetadata {
        &self.metadata
    }

    /// Returns [`NotReady`](ProviderStatus::NotReady) once a shutdown has begun or the component
    /// has ended. Otherwise returns [`Ready`](ProviderStatus::Ready) or
    /// [`Error`](ProviderStatus::Error), by [`Stats::is_ready`](crate::Stats::is_ready). While
    /// Statsig fails, the provider resolves flags only from cached answers.
    fn status(&self) -> ProviderStatus {
        if self.statsig.is_over() {
            ProviderStatus::NotReady
        } else if self.statsig.stats().is_ready() {
            ProviderStatus::Ready
        } else {
            ProviderStatus::Error
        }
    }

    async fn resolve_bool_value(
        &self,
        flag_key: &str,
        context: &EvaluationContext,
    ) -> EvaluationResult<ResolutionDetails<bool>> {
        let gate = self.gate(flag_key, context).await;
        gate.map_err(|error| self.fell_back(CallKind::CheckGate, flag_key, None, error))
    }

    async fn resolve_int_value(
        &self,
        flag_key: &str,
        context: &EvaluationContext,
    ) -> EvaluationResult<ResolutionDetails<i64>> {
        self.config::<Int, _>(flag_key, context).await
    }

    async fn resolve_float_value(
        &self,
        flag_key: &str,
        context: &EvaluationContext,
    ) -> EvaluationResult<ResolutionDetails<f64>> {
        self.config::<f64, _>(flag_key, context).await
    }

    async fn resolve_string_value(
        &self,
        flag_key: &str,
        context: &EvaluationContext,
    ) -> EvaluationResult<ResolutionDetails<String>> {
        self.config::<String, _>(flag_key, context).await
    }

    async fn resolve_struct_value(
        &self,
        flag_key: &str,
        context: &EvaluationContext,
    ) -> EvaluationResult<ResolutionDetails<StructValue>> {
        self.config::<Struct, _>(flag_key, context).await
    }
}

//! The builder: changes settings, and checks them.

use std::sync::Arc;

use rustls::pki_types::{CertificateDer, pem::PemObject};
use secrecy::ExposeSecret;

use super::{
    Config, invalid, parse,
    proxy::{self, ProxyChoice},
    setting_type::SettingType,
    settings::Settings,
};
use crate::{
    model::error::Error,
    telemetry::{fallback::Fallback, hooks::Hooks},
};

/// Changes settings from their defaults. [`build`](Self::build) checks them.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct ConfigBuilder {
    pub(super) settings: Settings,
    pub(super) hooks: Hooks,
}

impl ConfigBuilder {
    /// Sets a hook that is called for each failed request. Default: none. A second hook replaces
    /// the first.
    ///
    /// Hooks run on a thread of their own, one event after the other. A hook that panics or blocks
    /// delays only other events. At most 1,024 events wait; further ones are dropped, and counted in
    /// [`Stats::hooks_missed`](crate::Stats::hooks_missed).
    ///
    /// ```
    /// # use actix_statsig::Config;
    /// let config = Config::builder("secret-key")
    ///     .on_error(|error| eprintln!("Statsig: {} ({})", error, error.kind()))
    ///     .on_fallback(|fallback| eprintln!("{} has its default", fallback.name))
    ///     .build()?;
    /// # Ok::<(), actix_statsig::Error>(())
    /// ```
    pub fn on_error(mut self, hook: impl Fn(&Error) + Send + Sync + 'static) -> Self {
        self.hooks.on_error = Some(Arc::new(hook));
        self
    }

    /// Sets a hook that is called each time a default replaces an answer, as in
    /// [`Statsig::check_gate_or`](crate::Statsig::check_gate_or). It runs as
    /// [`on_error`](Self::on_error) does.
    pub fn on_fallback(mut self, hook: impl Fn(&Fallback) + Send + Sync + 'static) -> Self {
        self.hooks.on_fallback = Some(Arc::new(hook));
        self
    }

    /// Sets one setting by its name, from text in the form that [`Config::from_env`] reads.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] if there is no such setting, or the text does not fit its type.
    pub fn set(mut self, setting: &str, text: &str) -> Result<Self, Error> {
        self.settings.set(setting, text)?;
        Ok(self)
    }

    /// Checks every setting against its bounds.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] names the first setting that breaks a bound, its value and the
    /// bound.
    pub fn build(self) -> Result<Config, Error> {
        self.build_in(&super::variable)
    }

    /// Does the same as [`build`](Self::build), with a lookup in place of the environment.
    pub(super) fn build_in(mut self, environment: proxy::Lookup<'_>) -> Result<Config, Error> {
        let s = &mut self.settings;
        check_api_key(s.api_key.0.expose_secret())?;
        s.check_bounds()?;
        if s.flush_interval >= s.timeout {
            let rule = format!("must be less than `timeout`, {}", s.timeout.shown());
            return Err(invalid("flush_interval", s.flush_interval.shown(), rule));
        }
        if s.transports > s.max_in_flight {
            let rule = format!("must be at most `max_in_flight`, {}", s.max_in_flight);
            return Err(invalid("transports", s.transports.to_string(), rule));
        }
        if let Some(tier) = &s.environment {
            let name = tier.as_str();
            let is_malformed = name.trim() != name || name.contains(char::is_control);
            if is_malformed || !(1..=100).contains(&name.chars().count()) {
                let rule = "must have 1 to 100 characters, no control character, and no space at either end";
                return Err(invalid("environment", format!("{name:?}"), rule));
            }
        }
        s.base_url.truncate(s.base_url.trim_end_matches('/').len());
        let base_url = parse::base_url(&s.base_url, s.allow_plain_http)?;
        let proxy_choice = ProxyChoice::choose(s.proxy.0.expose_secret(), &base_url, environment)?;
        let roots = certificates(&s.extra_root_certificates.0)?;
        Ok(Config { settings: self.settings, base_url, proxy_choice, roots, hooks: self.hooks })
    }
}

/// Checks a server secret key. The error does not show it.
pub(crate) fn check_api_key(key: &str) -> Result<(), Error> {
    if !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    let shown = if key.is_empty() { "empty" } else { "[redacted]" };
    Err(invalid("api_key", shown, "must be visible ASCII characters"))
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() || pem.is_empty() => Ok(certificates),
        _ => {
            let value = format!("{} bytes", pem.len());
            Err(invalid("extra_root_certificates", value, "must be certificates in PEM"))
        }
    }
}

//! The settings: their table, their builder, and reading them from the environment.

#[macro_use]
mod table;
#[macro_use]
mod settings;
mod builder;
mod no_proxy;
mod parse;
mod policy;
mod proxy;
mod setting_type;
mod unknown;

use std::env;

use awc::http::Uri;
use rustls::pki_types::CertificateDer;
use secrecy::{ExposeSecret, SecretString};

pub use self::{builder::ConfigBuilder, policy::FlushPolicy};
pub(crate) use self::{
    builder::check_api_key,
    proxy::{Proxy, ProxyChoice},
};
use self::{setting_type::ApiKey, settings::Settings};
use crate::{model::error::Error, telemetry::hooks::Hooks};

/// The component's settings. [`Config::builder`] and [`Config::from_env`] make a `Config` and check
/// each setting against its bounds.
///
#[doc = settings_table!()]
///
/// ```
/// use std::time::Duration;
/// use actix_statsig::Config;
///
/// let config = Config::builder("secret-key")
///     .flush_interval(Duration::from_millis(10))
///     .batch_size(50)
///     .build()?;
///
/// assert_eq!(config.batch_size(), 50);
/// assert_eq!(config.timeout(), Duration::from_secs(3));
/// assert!(!format!("{config:?}").contains("secret-key"));
/// # Ok::<(), actix_statsig::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    settings: Settings,
    base_url: Uri,
    proxy_choice: ProxyChoice,
    roots: Vec<CertificateDer<'static>>,
    hooks: Hooks,
}

impl Config {
    /// Returns a builder with this key and the default of every other setting.
    pub fn builder(api_key: impl Into<String>) -> ConfigBuilder {
        ConfigBuilder { settings: Settings::default(), hooks: Hooks::default() }.api_key(api_key)
    }

    /// Makes a configuration with this key and the default of every other setting.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] if the key is empty or not visible ASCII.
    pub fn new(api_key: impl Into<String>) -> Result<Self, Error> {
        Self::builder(api_key).build()
    }

    /// Reads the settings from the environment, one variable each: `STATSIG_API_KEY`,
    /// `STATSIG_FLUSH_INTERVAL` and so on. A setting without a variable keeps its default.
    ///
    /// Durations are whole milliseconds or have a unit (`5ms`, `3s`, `5m`, `1h`, `7d`). Sizes are whole
    /// bytes or have a unit (`64MiB`). Flags are `true`, `false`, `1`, `0`, `on`, `off`, `yes` or `no`. Certificates
    /// are PEM or the path of a PEM file.
    ///
    /// A variable that begins with `STATSIG_` but is not a setting causes a warning in the log, so
    /// start the log first. `STATSIG_RELAY_…` variables belong to the relay and cause no warning.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] names the setting, its value, the bound it breaks and the variable.
    pub fn from_env() -> Result<Self, Error> {
        for line in unknown::warnings(env::vars_os()) {
            tracing::warn!("{line}");
        }
        Self::from_lookup(variable)
    }

    /// Reads the settings as [`from_env`](Self::from_env) does, with a lookup in place of the
    /// environment. The lookup also replaces `HTTPS_PROXY` and the like. Unknown variables cause no
    /// warning, because a lookup cannot list them.
    ///
    /// ```
    /// use actix_statsig::Config;
    ///
    /// let config = Config::from_lookup(|variable| match variable {
    ///     "STATSIG_API_KEY" => Some("secret-key".into()),
    ///     "STATSIG_FLUSH_INTERVAL" => Some("20ms".into()),
    ///     _ => None,
    /// })?;
    /// assert_eq!(config.flush_interval().as_millis(), 20);
    /// # Ok::<(), actix_statsig::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`from_env`](Self::from_env).
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let mut builder = Self::builder("");
        for &(setting, _) in Self::SETTINGS {
            if let Some(text) = lookup(&variable_of(setting)) {
                builder = builder.set(setting, &text).map_err(from_environment)?;
            }
        }
        let key = variable_of("api_key");
        let missing = match lookup(&key) {
            None => Some("unset"),
            Some(text) => text.is_empty().then_some("empty"),
        };
        if let Some(missing) = missing {
            let rule = format!("set the environment variable {key} to the server secret key");
            return Err(invalid("api_key", missing, rule));
        }
        builder.build_in(&lookup).map_err(from_environment)
    }

    /// Returns the HTTP proxy that calls go through, as `HOST:PORT`. Returns `None` if calls
    /// connect to [`base_url`](Self::base_url) directly.
    pub fn proxy(&self) -> Option<String> {
        self.proxy_choice.proxy.as_ref().map(ToString::to_string)
    }

    /// Returns one setting by its name, as text that [`ConfigBuilder::set`] reads. Returns `None`
    /// for the key, for certificates, for a proxy with credentials, for a setting without a value,
    /// and for an unknown name.
    ///
    /// ```
    /// # use actix_statsig::Config;
    /// let config = Config::new("secret-key")?;
    /// assert_eq!(config.text("flush_interval").as_deref(), Some("5ms"));
    /// assert_eq!(config.text("api_key"), None);
    /// # Ok::<(), actix_statsig::Error>(())
    /// ```
    pub fn text(&self, setting: &str) -> Option<String> {
        self.settings.text(setting)
    }

    pub(crate) fn api_key(&self) -> &str {
        self.settings.api_key.0.expose_secret()
    }

    pub(crate) fn set_api_key(&mut self, key: SecretString) {
        self.settings.api_key = ApiKey(key);
    }

    /// Returns [`max_pending_bytes`](Self::max_pending_bytes) as a size of memory.
    pub(crate) fn pending_bytes(&self) -> usize {
        usize::try_from(self.settings.max_pending_bytes).unwrap_or(usize::MAX)
    }

    pub(crate) fn uri(&self) -> &Uri {
        &self.base_url
    }

    pub(crate) fn proxy_choice(&self) -> &ProxyChoice {
        &self.proxy_choice
    }

    pub(crate) fn hooks(&self) -> Hooks {
        self.hooks.clone()
    }

    pub(crate) fn extra_roots(&self) -> &[CertificateDer<'static>] {
        &self.roots
    }
}

/// Returns an environment variable. Bytes that are not UTF-8 are replaced, so that such a variable
/// is refused, not ignored.
fn variable(name: &str) -> Option<String> {
    env::var_os(name).map(|text| text.to_string_lossy().into_owned())
}

/// The prefix of every setting's variable.
const PREFIX: &str = "STATSIG_";

/// Returns the name of a setting's variable.
fn variable_of(setting: &str) -> String {
    format!("{PREFIX}{}", setting.to_ascii_uppercase())
}

/// Adds the name of the variable to an error.
fn from_environment(error: Error) -> Error {
    let Error::InvalidConfig { setting, value, rule } = error else { return error };
    let rule = format!("{rule} ({})", variable_of(setting));
    Error::InvalidConfig { setting, value, rule }
}

fn invalid(setting: &'static str, value: impl Into<String>, rule: impl Into<String>) -> Error {
    Error::InvalidConfig { setting, value: value.into(), rule: rule.into() }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, time::Duration};

    use super::*;
    use crate::model::user::Tier;

    fn from(variables: &[(&str, &str)]) -> Result<Config, Error> {
        let variables: HashMap<_, _> = variables.iter().copied().collect();
        Config::from_lookup(|name| variables.get(name).map(|text| (*text).to_owned()))
    }

    fn refusal(variables: &[(&str, &str)]) -> String {
        let key = [("STATSIG_API_KEY", "secret-key")];
        from(&[&key[..], variables].concat()).unwrap_err().to_string()
    }

    #[test]
    fn defaults_are_the_documented_ones() {
        let config = Config::new("secret-key").unwrap();

        assert_eq!(config.base_url(), "https://api.statsig.com");
        assert_eq!(config.flush_interval(), Duration::from_millis(5));
        assert_eq!(config.batch_size(), 100);
        assert_eq!(config.max_pending(), 10_000);
        assert_eq!(config.max_pending_bytes(), 64 << 20);
        assert_eq!(config.timeout(), Duration::from_secs(3));
        assert_eq!(config.attempt_timeout(), Duration::from_secs(1));
        assert_eq!(config.retry_attempts(), 3);
        assert_eq!(config.max_in_flight(), 64);
        assert!(config.exposure_logging() && config.circuit_breaker());
        assert!(config.extra_roots().is_empty());
        assert_eq!(config.text("proxy").as_deref(), Some("env"));
        assert_eq!((config.flush_policy(), config.transports()), (FlushPolicy::Interval, 1));
        assert_eq!((config.cache_ttl(), config.cache_entries()), (Duration::from_secs(10), 10_000));
        assert_eq!(config.cache_bytes(), 64 << 20);
        assert_eq!(config.stale_if_error(), Duration::from_secs(3600));
        assert_eq!(config.environment(), None);
    }

    #[test]
    fn every_setting_is_read_from_its_variable() {
        let config = from(&[
            ("STATSIG_API_KEY", "secret-key"),
            ("STATSIG_BASE_URL", "http://statsig.internal:81/edge/"),
            ("STATSIG_FLUSH_INTERVAL", "7"),
            ("STATSIG_BATCH_SIZE", "8"),
            ("STATSIG_MAX_PENDING", "9"),
            ("STATSIG_MAX_PENDING_BYTES", "2000000"),
            ("STATSIG_TIMEOUT", "10s"),
            ("STATSIG_ATTEMPT_TIMEOUT", "11ms"),
            ("STATSIG_RETRY_ATTEMPTS", "2"),
            ("STATSIG_MAX_IN_FLIGHT", "13"),
            ("STATSIG_EXPOSURE_LOGGING", "off"),
            ("STATSIG_ENVIRONMENT", " qa "),
            ("STATSIG_EXTRA_ROOT_CERTIFICATES", ""),
            ("STATSIG_ALLOW_PLAIN_HTTP", "true"),
            ("STATSIG_PROXY", "http://me:hunter2@proxy.internal:3128"),
            ("STATSIG_CIRCUIT_BREAKER", "0"),
            ("STATSIG_FLUSH_POLICY", "Adaptive"),
            ("STATSIG_TRANSPORTS", "4"),
            ("STATSIG_CACHE_TTL", "0"),
            ("STATSIG_CACHE_ENTRIES", "14"),
            ("STATSIG_CACHE_BYTES", "16 MiB"),
            ("STATSIG_STALE_IF_ERROR", "15s"),
        ])
        .unwrap();

        assert_eq!(config.api_key(), "secret-key");
        assert_eq!(config.base_url(), "http://statsig.internal:81/edge");
        assert_eq!(config.flush_interval(), Duration::from_millis(7));
        assert_eq!((config.batch_size(), config.max_pending()), (8, 9));
        assert_eq!(config.max_pending_bytes(), 2_000_000);
        assert_eq!(config.timeout(), Duration::from_secs(10));
        assert_eq!(config.attempt_timeout(), Duration::from_millis(11));
        assert_eq!((config.retry_attempts(), config.max_in_flight()), (2, 13));
        assert!(!config.exposure_logging() && !config.circuit_breaker());
        assert_eq!(config.proxy().as_deref(), Some("proxy.internal:3128"));
        assert_eq!((config.flush_policy(), config.transports()), (FlushPolicy::Adaptive, 4));
        assert_eq!((config.cache_ttl(), config.cache_entries()), (Duration::ZERO, 14));
        assert_eq!(config.cache_bytes(), 16 << 20);
        assert_eq!(config.stale_if_error(), Duration::from_secs(15));
        assert_eq!(config.environment(), Some(&Tier::Other("qa".to_owned())));
    }

    #[test]
    fn setting_as_text_can_be_read_again() {
        let config = Config::builder("secret-key").timeout(Duration::from_millis(1_500));
        let config =
            config.batch_size(8).exposure_logging(false).environment("qa").build().unwrap();
        let mut again = Config::builder("secret-key");
        for &(setting, _) in Config::SETTINGS {
            match config.text(setting) {
                Some(text) => again = again.set(setting, &text).unwrap(),
                None => assert!(["api_key", "extra_root_certificates"].contains(&setting)),
            }
        }
        assert_eq!(format!("{:?}", again.build().unwrap()), format!("{config:?}"));
    }

    #[test]
    fn environment_is_a_tier_by_name_and_none_without_one() {
        for (text, tier) in [
            ("staging", Some(Tier::Staging)),
            ("Staging", Some(Tier::Other("Staging".to_owned()))),
            ("", None),
            (" ", None),
        ] {
            let config = Config::builder("secret-key").set("environment", text).unwrap();
            assert_eq!(config.build().unwrap().environment(), tier.as_ref(), "{text:?}");
        }
        let error = Config::builder("secret-key").environment("").build().unwrap_err();
        let rule =
            "must have 1 to 100 characters, no control character, and no space at either end";
        assert_eq!(error.to_string(), format!("setting `environment` cannot be \"\": {rule}"));
    }

    #[test]
    fn there_are_no_more_transports_than_calls_in_flight() {
        assert_eq!(
            refusal(&[("STATSIG_MAX_IN_FLIGHT", "3"), ("STATSIG_TRANSPORTS", "4")]),
            "setting `transports` cannot be 4: must be at most `max_in_flight`, 3 (STATSIG_TRANSPORTS)"
        );
    }

    #[test]
    fn bad_value_is_refused_with_setting_value_and_bound() {
        for (variable, value, message) in [
            (
                "FLUSH_INTERVAL",
                "0",
                "setting `flush_interval` cannot be 0s: must be from 1ms to 1m",
            ),
            (
                "FLUSH_INTERVAL",
                "3s",
                "setting `flush_interval` cannot be 3s: must be less than `timeout`, 3s",
            ),
            (
                "TIMEOUT",
                "11w",
                "setting `timeout` cannot be \"11w\": must be whole milliseconds, or a number with `ms`, `s`, `m`, `h` or `d`",
            ),
            ("TIMEOUT", "601s", "setting `timeout` cannot be 601s: must be from 1ms to 10m"),
            (
                "ATTEMPT_TIMEOUT",
                "-1",
                "setting `attempt_timeout` cannot be \"-1\": must be whole milliseconds, or a number with `ms`, `s`, `m`, `h` or `d`",
            ),
            ("BATCH_SIZE", "101", "setting `batch_size` cannot be 101: must be from 1 to 100"),
            ("BATCH_SIZE", "ten", "setting `batch_size` cannot be \"ten\": must be a whole number"),
            ("MAX_PENDING", "0", "setting `max_pending` cannot be 0: must be from 1 to 10000000"),
            (
                "MAX_PENDING_BYTES",
                "1000000",
                "setting `max_pending_bytes` cannot be 1000000: must be from 1MiB to 1TiB",
            ),
            ("RETRY_ATTEMPTS", "11", "setting `retry_attempts` cannot be 11: must be from 1 to 10"),
            (
                "MAX_IN_FLIGHT",
                "1025",
                "setting `max_in_flight` cannot be 1025: must be from 1 to 1024",
            ),
            ("TRANSPORTS", "65", "setting `transports` cannot be 65: must be from 1 to 64"),
            ("CACHE_TTL", "86401s", "setting `cache_ttl` cannot be 86401s: must be from 0s to 1d"),
            (
                "CACHE_ENTRIES",
                "0",
                "setting `cache_entries` cannot be 0: must be from 1 to 100000000",
            ),
            (
                "CACHE_BYTES",
                "1023KiB",
                "setting `cache_bytes` cannot be 1023KiB: must be from 1MiB to 1TiB",
            ),
            (
                "CACHE_BYTES",
                "64MB",
                "setting `cache_bytes` cannot be \"64MB\": must be whole bytes, or a number with `KiB`, `MiB`, `GiB` or `TiB`",
            ),
            (
                "STALE_IF_ERROR",
                "8d",
                "setting `stale_if_error` cannot be 8d: must be from 0s to 7d",
            ),
            (
                "ENVIRONMENT",
                "a\tb",
                "setting `environment` cannot be \"a\\tb\": must have 1 to 100 characters, no control character, and no space at either end",
            ),
            (
                "FLUSH_POLICY",
                "eager",
                "setting `flush_policy` cannot be \"eager\": must be interval or adaptive",
            ),
            (
                "PROXY",
                "socks5://me:hunter2@proxy.internal:1080",
                "setting `proxy` cannot be \"[redacted]@proxy.internal:1080\": must begin with http://, because only HTTP proxies are supported",
            ),
            (
                "BASE_URL",
                "https://api.statsig.com:99999/",
                "setting `base_url` cannot be \"https://api.statsig.com:99999\": must have a port from 1 to 65535, or neither a port nor a colon",
            ),
            (
                "EXPOSURE_LOGGING",
                "maybe",
                "setting `exposure_logging` cannot be \"maybe\": must be true or false",
            ),
            (
                "EXTRA_ROOT_CERTIFICATES",
                "-----BEGIN nonsense",
                "setting `extra_root_certificates` cannot be 19 bytes: must be certificates in PEM",
            ),
        ] {
            let variable = format!("STATSIG_{variable}");
            assert_eq!(refusal(&[(&variable, value)]), format!("{message} ({variable})"));
        }
    }

    #[test]
    fn missing_key_is_unset_and_not_empty() {
        for (variables, missing) in [(&[][..], "unset"), (&[("STATSIG_API_KEY", "")], "empty")] {
            assert_eq!(
                from(variables).unwrap_err().to_string(),
                format!(
                    "setting `api_key` cannot be {missing}: set the environment variable \
                     STATSIG_API_KEY to the server secret key"
                )
            );
        }
    }

    #[test]
    fn proxy_is_read_from_the_variables_that_other_programs_know() {
        let config = from(&[
            ("STATSIG_API_KEY", "secret-key"),
            ("HTTPS_PROXY", "http://me:hunter2@proxy.internal:3128"),
        ])
        .unwrap();
        assert_eq!(config.proxy().as_deref(), Some("proxy.internal:3128"));
        assert!(!format!("{config:?}").contains("hunter2"), "{config:?}");

        let straight = from(&[
            ("STATSIG_API_KEY", "secret-key"),
            ("STATSIG_PROXY", "none"),
            ("HTTPS_PROXY", "http://proxy.internal:3128"),
        ]);
        assert_eq!(straight.unwrap().proxy(), None);
    }

    #[test]
    fn promise_7_proxy_credentials_are_in_no_debug_output_or_text() {
        let builder = Config::builder("secret-key").proxy("http://me:hunter2@proxy.internal:3128");
        let config = builder.clone().build().unwrap();

        let shown = format!("{builder:?} {builder:#?} {config:?} {config:#?} {:?}", config.proxy());

        assert!(shown.contains("[redacted]@proxy.internal:3128"), "{shown}");
        let encoded = "bWU6aHVudGVyMg";
        assert!(!shown.contains("hunter2") && !shown.contains(encoded), "{shown}");
        assert_eq!(config.text("proxy"), None);
    }

    #[test]
    fn promise_7_key_is_in_no_debug_output_and_no_error() {
        let bad_key = "secret\nkey";
        let error = Config::new(bad_key).unwrap_err();
        let config = Config::new("secret-key").unwrap();
        let shown = format!("{error} {error:?} {config:?} {:?}", Config::builder("secret-key"));
        assert!(!shown.contains("secret"), "{shown}");
    }
}

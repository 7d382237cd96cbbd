//! The settings: names, units, defaults, bounds, and where they come from.

mod parse;

use std::{env, ffi::OsString, fmt, ops::RangeInclusive, time::Duration};

use awc::http::Uri;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use secrecy::{ExposeSecret, SecretString};

use crate::error::Error;

/// How the component behaves. Made by [`Config::builder`] or [`Config::from_env`], which check every
/// setting against its bounds.
///
/// | setting | default | bounds |
/// |---|---|---|
/// | `api_key` | none | visible ASCII |
/// | `base_url` | `https://api.statsig.com` | `https` to a DNS name or IPv4 address, or `http` to loopback or with `allow_plain_http` |
/// | `flush_interval` | 5 ms | 1 ms to 1 min, less than `timeout` |
/// | `batch_size` | 100 | 1 to 100 |
/// | `max_pending` | 10,000 | 1 to 10,000,000 |
/// | `timeout` | 3 s | 1 ms to 10 min |
/// | `attempt_timeout` | 1 s | 1 ms to 10 min |
/// | `retry_attempts` | 3 | 1 to 10 |
/// | `max_in_flight` | 64 | 1 to 1,024 |
/// | `exposure_logging` | on | |
/// | `extra_root_certificates` | none | PEM |
/// | `allow_plain_http` | off | |
/// | `circuit_breaker` | on | |
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
    roots: Vec<CertificateDer<'static>>,
}

#[derive(Clone)]
struct Settings {
    api_key: SecretString,
    base_url: String,
    flush_interval: Duration,
    batch_size: usize,
    max_pending: usize,
    timeout: Duration,
    attempt_timeout: Duration,
    retry_attempts: u32,
    max_in_flight: usize,
    exposure_logging: bool,
    extra_root_certificates: Vec<u8>,
    allow_plain_http: bool,
    circuit_breaker: bool,
}

impl Config {
    /// The settings' names, each with a line on what it means, in the order of the table above.
    pub const SETTINGS: [(&'static str, &'static str); 13] = [
        ("api_key", "the server secret key"),
        ("base_url", "where the Statsig HTTP API is"),
        ("flush_interval", "longest a request waits in the buffer"),
        ("batch_size", "distinct names of one user that flush that user at once (1 to 100)"),
        ("max_pending", "names buffered, queued and in flight; more are refused as overload"),
        ("timeout", "longest a request takes, from acceptance to answer"),
        ("attempt_timeout", "longest one HTTP attempt takes, body included"),
        ("retry_attempts", "attempts of a call in total (1 to 10)"),
        ("max_in_flight", "HTTP calls at once"),
        ("exposure_logging", "whether Statsig logs exposures where a message does not say"),
        (
            "extra_root_certificates",
            "PEM, or a file of it: certificates to trust besides the roots",
        ),
        ("allow_plain_http", "whether plain http may leave this machine"),
        ("circuit_breaker", "whether calls fail at once while the last ones failed in a row"),
    ];

    /// Starts a configuration with this key and every default.
    pub fn builder(api_key: impl Into<String>) -> ConfigBuilder {
        ConfigBuilder(Settings {
            api_key: SecretString::from(api_key.into()),
            base_url: "https://api.statsig.com".to_owned(),
            flush_interval: Duration::from_millis(5),
            batch_size: 100,
            max_pending: 10_000,
            timeout: Duration::from_secs(3),
            attempt_timeout: Duration::from_secs(1),
            retry_attempts: 3,
            max_in_flight: 64,
            exposure_logging: true,
            extra_root_certificates: Vec::new(),
            allow_plain_http: false,
            circuit_breaker: true,
        })
    }

    /// Every default, with this key.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] if the key is empty or not visible ASCII.
    pub fn new(api_key: impl Into<String>) -> Result<Self, Error> {
        Self::builder(api_key).build()
    }

    /// Reads the environment: `STATSIG_API_KEY`, `STATSIG_FLUSH_INTERVAL` and so on, one variable a
    /// setting. One that is not set keeps the setting's default.
    ///
    /// Durations are whole milliseconds or have a unit (`5ms`, `3s`); flags are `true`, `false`,
    /// `1`, `0`, `on`, `off`, `yes` or `no`; certificates are PEM or the path of a file of it.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] names the setting, its value and the bound it breaks.
    pub fn from_env() -> Result<Self, Error> {
        // A variable that is not UTF-8 is set: it is refused for what it holds, not passed over.
        let text = |variable: OsString| variable.to_string_lossy().into_owned();
        Self::from_lookup(|variable| env::var_os(variable).map(text))
    }

    /// The same as [`from_env`](Self::from_env), with a look-up in place of the environment.
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
        for (setting, _) in Self::SETTINGS {
            let variable = format!("STATSIG_{}", setting.to_ascii_uppercase());
            if let Some(text) = lookup(&variable) {
                builder = builder.set(setting, &text)?;
            }
        }
        builder.build()
    }

    /// Where the API is, without a slash at the end.
    pub fn base_url(&self) -> &str {
        &self.settings.base_url
    }

    /// The longest a request waits in the buffer.
    pub fn flush_interval(&self) -> Duration {
        self.settings.flush_interval
    }

    /// The number of distinct names of one user that flush that user at once.
    pub fn batch_size(&self) -> usize {
        self.settings.batch_size
    }

    /// The number of names that may be buffered, queued and in flight together.
    pub fn max_pending(&self) -> usize {
        self.settings.max_pending
    }

    /// The longest a request takes, from acceptance to answer.
    pub fn timeout(&self) -> Duration {
        self.settings.timeout
    }

    /// The longest one HTTP attempt takes: connect, headers and body together.
    pub fn attempt_timeout(&self) -> Duration {
        self.settings.attempt_timeout
    }

    /// The number of attempts of one call, the first included.
    pub fn retry_attempts(&self) -> u32 {
        self.settings.retry_attempts
    }

    /// The number of HTTP calls at once.
    pub fn max_in_flight(&self) -> usize {
        self.settings.max_in_flight
    }

    /// Whether a message that does not choose for itself has its exposures logged.
    pub fn exposure_logging(&self) -> bool {
        self.settings.exposure_logging
    }

    /// One setting by its name, as text that [`ConfigBuilder::set`] reads. None for the key, for
    /// certificates, and where there is no such setting.
    ///
    /// ```
    /// # use actix_statsig::Config;
    /// let config = Config::new("secret-key")?;
    /// assert_eq!(config.text("flush_interval").as_deref(), Some("5ms"));
    /// assert_eq!(config.text("api_key"), None);
    /// # Ok::<(), actix_statsig::Error>(())
    /// ```
    pub fn text(&self, setting: &str) -> Option<String> {
        let s = &self.settings;
        Some(match setting {
            "base_url" => s.base_url.clone(),
            "flush_interval" => parse::duration_text(s.flush_interval),
            "batch_size" => s.batch_size.to_string(),
            "max_pending" => s.max_pending.to_string(),
            "timeout" => parse::duration_text(s.timeout),
            "attempt_timeout" => parse::duration_text(s.attempt_timeout),
            "retry_attempts" => s.retry_attempts.to_string(),
            "max_in_flight" => s.max_in_flight.to_string(),
            "exposure_logging" => s.exposure_logging.to_string(),
            "allow_plain_http" => s.allow_plain_http.to_string(),
            "circuit_breaker" => s.circuit_breaker.to_string(),
            _ => return None,
        })
    }

    /// Whether calls fail at once, with [`Error::CircuitOpen`], while the last ones failed in a row.
    pub fn circuit_breaker(&self) -> bool {
        self.settings.circuit_breaker
    }

    pub(crate) fn api_key(&self) -> &str {
        self.settings.api_key.expose_secret()
    }

    pub(crate) fn uri(&self) -> &Uri {
        &self.base_url
    }

    pub(crate) fn extra_roots(&self) -> &[CertificateDer<'static>] {
        &self.roots
    }
}

/// Shows every setting but the key.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("api_key", &"[redacted]")
            .field("base_url", &self.base_url)
            .field("flush_interval", &self.flush_interval)
            .field("batch_size", &self.batch_size)
            .field("max_pending", &self.max_pending)
            .field("timeout", &self.timeout)
            .field("attempt_timeout", &self.attempt_timeout)
            .field("retry_attempts", &self.retry_attempts)
            .field("max_in_flight", &self.max_in_flight)
            .field("exposure_logging", &self.exposure_logging)
            .field("extra_root_certificates", &self.extra_root_certificates.len())
            .field("allow_plain_http", &self.allow_plain_http)
            .field("circuit_breaker", &self.circuit_breaker)
            .finish()
    }
}

/// Changes settings from their defaults; nothing is checked before [`build`](Self::build).
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct ConfigBuilder(Settings);

macro_rules! setters {
    ($($(#[$doc:meta])* $setting:ident: $type:ty;)*) => {$(
        $(#[$doc])*
        pub fn $setting(mut self, $setting: $type) -> Self {
            self.0.$setting = $setting.into();
            self
        }
    )*};
}

impl ConfigBuilder {
    /// The server secret key. Sent in the header `statsig-api-key` and shown nowhere.
    pub fn api_key(mut self, api_key: impl Into<String>) -> Self {
        self.0.api_key = SecretString::from(api_key.into());
        self
    }

    setters! {
        /// Where the API is; the operations' paths are appended. Default `https://api.statsig.com`.
        base_url: impl Into<String>;
        /// The longest a request waits in the buffer: 1 ms to 1 min. Default 5 ms.
        flush_interval: Duration;
        /// The number of distinct names of one user that flush that user at once: 1 to 100, which
        /// is the most one call may have. Default 100.
        batch_size: usize;
        /// The number of names that may be buffered, queued and in flight together. Default 10,000.
        max_pending: usize;
        /// The longest a request takes, from acceptance to answer: 1 ms to 10 min. Default 3 s.
        timeout: Duration;
        /// The longest one HTTP attempt takes, body included: 1 ms to 10 min. Default 1 s.
        attempt_timeout: Duration;
        /// The number of attempts of one call, the first included: 1 to 10. Default 3. One more is
        /// allowed for a connection that died as it was reused.
        retry_attempts: u32;
        /// The number of HTTP calls at once: 1 to 1,024. Default 64.
        max_in_flight: usize;
        /// Whether a message that does not choose for itself has its exposures logged. Default on.
        exposure_logging: bool;
        /// Certificates to trust besides the roots of the TLS features, as PEM. Default none.
        extra_root_certificates: impl Into<Vec<u8>>;
        /// Allows a `base_url` with plain `http` to a host that is not this machine; the key then
        /// crosses the network in clear. Default off.
        allow_plain_http: bool;
        /// Whether calls fail at once, with [`Error::CircuitOpen`], after ten failed in a row: for
        /// half a second to begin with, then one call is let through and decides; as long as it
        /// fails, the pause doubles, up to two seconds. Default on.
        circuit_breaker: bool;
    }

    /// Changes one setting by its name, from text, as [`Config::from_env`] reads it.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] if there is no such setting or the text is not of its type.
    pub fn set(mut self, setting: &str, text: &str) -> Result<Self, Error> {
        let s = &mut self.0;
        match setting {
            "api_key" => s.api_key = SecretString::from(text),
            "base_url" => s.base_url = text.to_owned(),
            "flush_interval" => s.flush_interval = parse::duration("flush_interval", text)?,
            "batch_size" => s.batch_size = parse::number("batch_size", text)?,
            "max_pending" => s.max_pending = parse::number("max_pending", text)?,
            "timeout" => s.timeout = parse::duration("timeout", text)?,
            "attempt_timeout" => s.attempt_timeout = parse::duration("attempt_timeout", text)?,
            "retry_attempts" => s.retry_attempts = parse::number("retry_attempts", text)?,
            "max_in_flight" => s.max_in_flight = parse::number("max_in_flight", text)?,
            "exposure_logging" => s.exposure_logging = parse::flag("exposure_logging", text)?,
            "extra_root_certificates" => s.extra_root_certificates = parse::pem(text)?,
            "allow_plain_http" => s.allow_plain_http = parse::flag("allow_plain_http", text)?,
            "circuit_breaker" => s.circuit_breaker = parse::flag("circuit_breaker", text)?,
            _ => return Err(invalid("setting", setting, "must be one of the settings' names")),
        }
        Ok(self)
    }

    /// Checks every setting against its bounds.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] names the first setting that breaks a bound, its value and the
    /// bound.
    pub fn build(mut self) -> Result<Config, Error> {
        let s = &mut self.0;
        let key = s.api_key.expose_secret();
        if key.is_empty() || !key.bytes().all(|b| b.is_ascii_graphic()) {
            let shown = if key.is_empty() { "empty" } else { "[redacted]" };
            return Err(invalid("api_key", shown, "must be visible ASCII characters"));
        }
        const LONGEST: Duration = Duration::from_secs(600);
        const MILLISECOND: Duration = Duration::from_millis(1);
        bounded("timeout", s.timeout, MILLISECOND..=LONGEST)?;
        bounded("attempt_timeout", s.attempt_timeout, MILLISECOND..=LONGEST)?;
        bounded("flush_interval", s.flush_interval, MILLISECOND..=Duration::from_secs(60))?;
        if s.flush_interval >= s.timeout {
            let rule = format!("must be less than `timeout`, {:?}", s.timeout);
            return Err(invalid("flush_interval", format!("{:?}", s.flush_interval), rule));
        }
        bounded("batch_size", s.batch_size, 1..=100)?;
        bounded("max_pending", s.max_pending, 1..=10_000_000)?;
        bounded("retry_attempts", s.retry_attempts, 1..=10)?;
        bounded("max_in_flight", s.max_in_flight, 1..=1024)?;
        s.base_url.truncate(s.base_url.trim_end_matches('/').len());
        let base_url = parse::base_url(&s.base_url, s.allow_plain_http)?;
        let roots = certificates(&s.extra_root_certificates)?;
        Ok(Config { settings: self.0, base_url, roots })
    }
}

fn bounded<T: PartialOrd + fmt::Debug>(
    setting: &'static str,
    value: T,
    bounds: RangeInclusive<T>,
) -> Result<(), Error> {
    if bounds.contains(&value) {
        return Ok(());
    }
    let rule = format!("must be from {:?} to {:?}", bounds.start(), bounds.end());
    Err(invalid(setting, format!("{value:?}"), rule))
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

fn invalid(setting: &'static str, value: impl Into<String>, rule: impl Into<String>) -> Error {
    Error::InvalidConfig { setting, value: value.into(), rule: rule.into() }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn from(variables: &[(&str, &str)]) -> Result<Config, Error> {
        let variables: HashMap<_, _> = variables.iter().copied().collect();
        Config::from_lookup(|name| variables.get(name).map(|text| (*text).to_owned()))
    }

    fn refusal(variables: &[(&str, &str)]) -> String {
        let key = [("STATSIG_API_KEY", "secret-key")];
        from(&[&key[..], variables].concat()).unwrap_err().to_string()
    }

    #[test]
    fn the_defaults_are_the_documented_ones() {
        let config = Config::new("secret-key").unwrap();

        assert_eq!(config.base_url(), "https://api.statsig.com");
        assert_eq!(config.flush_interval(), Duration::from_millis(5));
        assert_eq!(config.batch_size(), 100);
        assert_eq!(config.max_pending(), 10_000);
        assert_eq!(config.timeout(), Duration::from_secs(3));
        assert_eq!(config.attempt_timeout(), Duration::from_secs(1));
        assert_eq!(config.retry_attempts(), 3);
        assert_eq!(config.max_in_flight(), 64);
        assert!(config.exposure_logging() && config.circuit_breaker());
        assert!(config.extra_roots().is_empty());
    }

    #[test]
    fn every_setting_is_read_from_its_variable() {
        let config = from(&[
            ("STATSIG_API_KEY", "secret-key"),
            ("STATSIG_BASE_URL", "http://statsig.internal:81/edge/"),
            ("STATSIG_FLUSH_INTERVAL", "7"),
            ("STATSIG_BATCH_SIZE", "8"),
            ("STATSIG_MAX_PENDING", "9"),
            ("STATSIG_TIMEOUT", "10s"),
            ("STATSIG_ATTEMPT_TIMEOUT", "11ms"),
            ("STATSIG_RETRY_ATTEMPTS", "2"),
            ("STATSIG_MAX_IN_FLIGHT", "13"),
            ("STATSIG_EXPOSURE_LOGGING", "off"),
            ("STATSIG_EXTRA_ROOT_CERTIFICATES", ""),
            ("STATSIG_ALLOW_PLAIN_HTTP", "true"),
            ("STATSIG_CIRCUIT_BREAKER", "0"),
        ])
        .unwrap();

        assert_eq!(config.api_key(), "secret-key");
        assert_eq!(config.base_url(), "http://statsig.internal:81/edge");
        assert_eq!(config.flush_interval(), Duration::from_millis(7));
        assert_eq!((config.batch_size(), config.max_pending()), (8, 9));
        assert_eq!(config.timeout(), Duration::from_secs(10));
        assert_eq!(config.attempt_timeout(), Duration::from_millis(11));
        assert_eq!((config.retry_attempts(), config.max_in_flight()), (2, 13));
        assert!(!config.exposure_logging() && !config.circuit_breaker());
    }

    #[test]
    fn what_a_setting_is_as_text_can_be_read_again() {
        let config = Config::builder("secret-key").timeout(Duration::from_millis(1_500));
        let config = config.batch_size(8).exposure_logging(false).build().unwrap();
        let mut again = Config::builder("secret-key");
        for (setting, _) in Config::SETTINGS {
            match config.text(setting) {
                Some(text) => again = again.set(setting, &text).unwrap(),
                None => assert!(["api_key", "extra_root_certificates"].contains(&setting)),
            }
        }
        assert_eq!(format!("{:?}", again.build().unwrap()), format!("{config:?}"));
    }

    #[test]
    fn a_bad_value_is_refused_with_setting_value_and_bound() {
        for (variable, value, message) in [
            (
                "FLUSH_INTERVAL",
                "0",
                "setting `flush_interval` cannot be 0ns: must be from 1ms to 60s",
            ),
            (
                "FLUSH_INTERVAL",
                "3s",
                "setting `flush_interval` cannot be 3s: must be less than `timeout`, 3s",
            ),
            (
                "TIMEOUT",
                "11m",
                "setting `timeout` cannot be \"11m\": must be whole milliseconds, or a number with `ms` or `s`",
            ),
            ("TIMEOUT", "601s", "setting `timeout` cannot be 601s: must be from 1ms to 600s"),
            (
                "ATTEMPT_TIMEOUT",
                "-1",
                "setting `attempt_timeout` cannot be \"-1\": must be whole milliseconds, or a number with `ms` or `s`",
            ),
            ("BATCH_SIZE", "101", "setting `batch_size` cannot be 101: must be from 1 to 100"),
            ("BATCH_SIZE", "ten", "setting `batch_size` cannot be \"ten\": must be a whole number"),
            ("MAX_PENDING", "0", "setting `max_pending` cannot be 0: must be from 1 to 10000000"),
            ("RETRY_ATTEMPTS", "11", "setting `retry_attempts` cannot be 11: must be from 1 to 10"),
            (
                "MAX_IN_FLIGHT",
                "1025",
                "setting `max_in_flight` cannot be 1025: must be from 1 to 1024",
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
            assert_eq!(refusal(&[(&format!("STATSIG_{variable}"), value)]), message);
        }
    }

    #[test]
    fn promise_7_the_key_is_in_no_debug_output_and_no_error() {
        let bad_key = "secret\nkey";
        let error = Config::new(bad_key).unwrap_err();
        let config = Config::new("secret-key").unwrap();
        let shown = format!("{error} {error:?} {config:?} {:?}", Config::builder("secret-key"));
        assert!(!shown.contains("secret"), "{shown}");
        assert!(from(&[]).unwrap_err().to_string().contains("`api_key` cannot be empty"));
    }
}

//! The settings' values: their defaults, and how each is read from text and shown.

use std::{fmt, time::Duration};

use secrecy::{ExposeSecret, SecretString};

use super::{FlushPolicy, invalid, parse, proxy};
use crate::model::{error::Error, user::Tier};

#[derive(Clone)]
pub(super) struct Settings {
    pub(super) api_key: SecretString,
    pub(super) base_url: String,
    pub(super) flush_interval: Duration,
    pub(super) batch_size: usize,
    pub(super) max_pending: usize,
    pub(super) max_pending_bytes: u64,
    pub(super) timeout: Duration,
    pub(super) attempt_timeout: Duration,
    pub(super) retry_attempts: u32,
    pub(super) max_in_flight: usize,
    pub(super) exposure_logging: bool,
    pub(super) environment: Option<Tier>,
    pub(super) extra_root_certificates: Vec<u8>,
    pub(super) allow_plain_http: bool,
    pub(super) proxy: SecretString,
    pub(super) circuit_breaker: bool,
    pub(super) flush_policy: FlushPolicy,
    pub(super) transports: usize,
    pub(super) cache_ttl: Duration,
    pub(super) cache_entries: usize,
    pub(super) cache_bytes: u64,
    pub(super) stale_if_error: Duration,
}

impl Settings {
    /// Every default.
    pub(super) fn with_key(api_key: String) -> Self {
        Self {
            api_key: SecretString::from(api_key),
            base_url: "https://api.statsig.com".to_owned(),
            flush_interval: Duration::from_millis(5),
            batch_size: 100,
            max_pending: 10_000,
            max_pending_bytes: 64 * 1024 * 1024,
            timeout: Duration::from_secs(3),
            attempt_timeout: Duration::from_secs(1),
            retry_attempts: 3,
            max_in_flight: 64,
            exposure_logging: true,
            environment: None,
            extra_root_certificates: Vec::new(),
            allow_plain_http: false,
            proxy: SecretString::from("env"),
            circuit_breaker: true,
            flush_policy: FlushPolicy::Interval,
            transports: 1,
            cache_ttl: Duration::from_secs(10),
            cache_entries: 10_000,
            cache_bytes: 64 << 20,
            stale_if_error: Duration::from_secs(3600),
        }
    }

    /// Reads one by its name.
    pub(super) fn set(&mut self, setting: &str, text: &str) -> Result<(), Error> {
        match setting {
            "api_key" => self.api_key = SecretString::from(text),
            "base_url" => self.base_url = text.to_owned(),
            "flush_interval" => self.flush_interval = parse::duration("flush_interval", text)?,
            "batch_size" => self.batch_size = parse::number("batch_size", text)?,
            "max_pending" => self.max_pending = parse::number("max_pending", text)?,
            "max_pending_bytes" => {
                self.max_pending_bytes = parse::bytes("max_pending_bytes", text)?;
            }
            "timeout" => self.timeout = parse::duration("timeout", text)?,
            "attempt_timeout" => self.attempt_timeout = parse::duration("attempt_timeout", text)?,
            "retry_attempts" => self.retry_attempts = parse::number("retry_attempts", text)?,
            "max_in_flight" => self.max_in_flight = parse::number("max_in_flight", text)?,
            "exposure_logging" => self.exposure_logging = parse::flag("exposure_logging", text)?,
            "environment" => self.environment = parse::tier(text),
            "extra_root_certificates" => self.extra_root_certificates = parse::pem(text)?,
            "allow_plain_http" => self.allow_plain_http = parse::flag("allow_plain_http", text)?,
            "proxy" => self.proxy = SecretString::from(text),
            "circuit_breaker" => self.circuit_breaker = parse::flag("circuit_breaker", text)?,
            "flush_policy" => self.flush_policy = parse::flush_policy("flush_policy", text)?,
            "transports" => self.transports = parse::number("transports", text)?,
            "cache_ttl" => self.cache_ttl = parse::duration("cache_ttl", text)?,
            "cache_entries" => self.cache_entries = parse::number("cache_entries", text)?,
            "cache_bytes" => self.cache_bytes = parse::bytes("cache_bytes", text)?,
            "stale_if_error" => self.stale_if_error = parse::duration("stale_if_error", text)?,
            _ => return Err(invalid("setting", setting, "must be one of the settings' names")),
        }
        Ok(())
    }

    /// Shows one by its name.
    pub(super) fn text(&self, setting: &str) -> Option<String> {
        Some(match setting {
            "base_url" => self.base_url.clone(),
            "flush_interval" => parse::duration_text(self.flush_interval),
            "batch_size" => self.batch_size.to_string(),
            "max_pending" => self.max_pending.to_string(),
            "max_pending_bytes" => parse::bytes_text(self.max_pending_bytes),
            "timeout" => parse::duration_text(self.timeout),
            "attempt_timeout" => parse::duration_text(self.attempt_timeout),
            "retry_attempts" => self.retry_attempts.to_string(),
            "max_in_flight" => self.max_in_flight.to_string(),
            "exposure_logging" => self.exposure_logging.to_string(),
            "environment" => self.environment.as_ref()?.to_string(),
            "allow_plain_http" => self.allow_plain_http.to_string(),
            "proxy" => proxy::text(self.proxy.expose_secret())?,
            "circuit_breaker" => self.circuit_breaker.to_string(),
            "flush_policy" => self.flush_policy.to_string(),
            "transports" => self.transports.to_string(),
            "cache_ttl" => parse::duration_text(self.cache_ttl),
            "cache_entries" => self.cache_entries.to_string(),
            "cache_bytes" => parse::bytes_text(self.cache_bytes),
            "stale_if_error" => parse::duration_text(self.stale_if_error),
            _ => return None,
        })
    }
}

/// Shows every setting but the key and a proxy's credentials.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("api_key", &"[redacted]")
            .field("base_url", &self.base_url)
            .field("flush_interval", &self.flush_interval)
            .field("batch_size", &self.batch_size)
            .field("max_pending", &self.max_pending)
            .field("max_pending_bytes", &self.max_pending_bytes)
            .field("timeout", &self.timeout)
            .field("attempt_timeout", &self.attempt_timeout)
            .field("retry_attempts", &self.retry_attempts)
            .field("max_in_flight", &self.max_in_flight)
            .field("exposure_logging", &self.exposure_logging)
            .field("environment", &self.environment)
            .field("extra_root_certificates", &self.extra_root_certificates.len())
            .field("allow_plain_http", &self.allow_plain_http)
            .field("proxy", &proxy::redacted(self.proxy.expose_secret()))
            .field("circuit_breaker", &self.circuit_breaker)
            .field("flush_policy", &self.flush_policy)
            .field("transports", &self.transports)
            .field("cache_ttl", &self.cache_ttl)
            .field("cache_entries", &self.cache_entries)
            .field("cache_bytes", &self.cache_bytes)
            .field("stale_if_error", &self.stale_if_error)
            .finish()
    }
}

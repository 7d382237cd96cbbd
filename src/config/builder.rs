//! Changing settings, and checking them.

use std::{fmt, ops::RangeInclusive, sync::Arc, time::Duration};

use rustls::pki_types::{CertificateDer, pem::PemObject};
use secrecy::{ExposeSecret, SecretString};

use super::{
    Config, FlushPolicy, invalid, parse,
    proxy::{self, WayOut},
    settings::Settings,
};
use crate::{
    model::{error::Error, user::Tier},
    telemetry::{fallback::Fallback, hooks::Hooks},
};

/// Changes settings from their defaults; nothing is checked before [`build`](Self::build).
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct ConfigBuilder {
    pub(super) settings: Settings,
    pub(super) hooks: Hooks,
}

macro_rules! setters {
    ($($(#[$doc:meta])* $setting:ident: $type:ty;)*) => {$(
        $(#[$doc])*
        pub fn $setting(mut self, $setting: $type) -> Self {
            self.settings.$setting = $setting.into();
            self
        }
    )*};
}

impl ConfigBuilder {
    /// The server secret key. Sent in the header `statsig-api-key` and shown nowhere.
    pub fn api_key(mut self, api_key: impl Into<String>) -> Self {
        self.settings.api_key = SecretString::from(api_key.into());
        self
    }

    /// Which HTTP proxy calls go through: its URL, `env` or `none`. Default `env`: the one that
    /// `HTTPS_PROXY` names for an `https` [`base_url`](Self::base_url), `HTTP_PROXY` for an `http`
    /// one, or `ALL_PROXY`, unless `NO_PROXY` has the host. [`build`](Self::build) reads them.
    ///
    /// A URL is `http://HOST:PORT`, with percent-encoded credentials if the proxy wants them:
    /// `http://USER:PASSWORD@HOST:PORT`. The port is 80 if none is given. The credentials are shown
    /// nowhere. Any other scheme, such as `socks5`, is an error as a setting; in the environment it
    /// is a warning, and no proxy is used.
    ///
    /// Loopback is never proxied. A lower-case variable wins over its upper-case form. In a CGI,
    /// where `REQUEST_METHOD` is set, `HTTP_PROXY` is a client's header and does not count.
    /// `NO_PROXY` has names (each matches what is below it as well, with or without a dot or `*.` in
    /// front), addresses and networks (`10.0.0.0/8`), each with a port or without, and `*`, with
    /// commas or spaces between them. It belongs to `env`: a proxy's URL counts for every host.
    pub fn proxy(mut self, proxy: impl Into<String>) -> Self {
        self.settings.proxy = SecretString::from(proxy.into());
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
        ///
        /// One user may hold three quarters of what others leave, or 100 where there is room: a user
        /// with many requests leaves room for others.
        max_pending: usize;
        /// The number of bytes that the requests for these names may have together: 1 MiB to 1 TiB.
        /// Default 64 MiB. A request counts its user's JSON, the text of its names, 512 bytes, and 256
        /// for each name. Large evaluations that wait for other names of their request may have as many
        /// bytes once more.
        ///
        /// One user may hold three quarters of what others leave, or 128 KiB where there is room.
        max_pending_bytes: u64;
        /// The longest a request takes, from acceptance to answer: 1 ms to 10 min. Default 3 s.
        timeout: Duration;
        /// The longest one HTTP attempt takes, body included: 1 ms to 10 min. Default 1 s.
        attempt_timeout: Duration;
        /// The number of attempts of one call, the first included: 1 to 10. Default 3. One more is
        /// allowed for a connection that died as it was reused, or that cannot be trusted.
        retry_attempts: u32;
        /// The number of HTTP calls at once: 1 to 1,024. Default 64.
        ///
        /// One user may have three quarters of what others leave, and one wherever there is room:
        /// calls of one user that hang leave places for everybody else.
        max_in_flight: usize;
        /// Whether a message that does not choose for itself has its exposures logged. Default on.
        exposure_logging: bool;
        /// Certificates to trust besides the roots of the TLS features, as PEM. Default none.
        extra_root_certificates: impl Into<Vec<u8>>;
        /// Allows a `base_url` with plain `http` to a host that is not this machine; the key then
        /// crosses the network in clear. Default off.
        allow_plain_http: bool;
        /// Whether calls fail without being tried, with [`Error::CircuitOpen`], after ten of several
        /// users failed in a row. A probe every half second, which is no user's check, ends that as
        /// soon as it is answered. Calls wait for one, for two seconds at the most, before they fail.
        /// Default on.
        circuit_breaker: bool;
        /// When what is buffered leaves. Default [`FlushPolicy::Interval`].
        flush_policy: FlushPolicy;
        /// The number of transports that make the HTTP calls: 1 to 64, and at most
        /// [`max_in_flight`](Self::max_in_flight), which they share. One runs on the component's own
        /// thread; several have a thread each, which pays where HTTP, JSON and TLS are more than one
        /// core's work. Default 1.
        transports: usize;
        /// How long an evaluation is kept and given again, without a call and without an exposure:
        /// 0 (not at all) to 24 h. Default 10 s, which is how often Statsig's own SDKs look for
        /// changes.
        cache_ttl: Duration;
        /// The number of evaluations that may be kept at once. Default 10,000: at about 300 bytes each, besides
        /// their users, no more than a core's own caches hold. Worth more where more different
        /// questions are asked within [`cache_ttl`](Self::cache_ttl).
        cache_entries: usize;
        /// The most bytes that the evaluations kept may take, with their users, names and values: 1 MiB to
        /// 1 TiB. Default 64 MiB. What several evaluations share counts once. An answer that takes more
        /// than a 128th of this is given but not kept.
        cache_bytes: u64;
        /// How long past [`cache_ttl`](Self::cache_ttl) an evaluation may still answer while Statsig
        /// fails: 0 (not at all) to 7 days. Such an answer says so: [`Source::Stale`]. Default 1 h.
        ///
        /// [`Source::Stale`]: crate::Source::Stale
        stale_if_error: Duration;
    }

    /// The tier of every user who has none: a user is asked about, and kept, as if it had been
    /// [built](crate::UserBuilder::environment) with this tier. Its name has up to 100 characters, none of
    /// them a control character, and no space at either end. Default none.
    ///
    /// ```
    /// # use actix_statsig::{Config, Tier};
    /// let config = Config::builder("secret-key").environment(Tier::Staging).build()?;
    /// assert_eq!(config.environment(), Some(&Tier::from("staging")));
    /// # Ok::<(), actix_statsig::Error>(())
    /// ```
    pub fn environment(mut self, tier: impl Into<Tier>) -> Self {
        self.settings.environment = Some(tier.into());
        self
    }

    /// Has this called for each request that is answered with an error. Default none; the last one
    /// given counts.
    ///
    /// Hooks run on a thread of their own, one event after the other: one that panics or blocks
    /// harms nothing but the other events. Up to 1,024 events wait for it; what comes when it is
    /// so far behind is dropped, and counted in [`Stats::hooks_missed`](crate::Stats::hooks_missed).
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

    /// Has this called each time a default stands in for an answer, as in
    /// [`Statsig::check_gate_or`](crate::Statsig::check_gate_or). As [`on_error`](Self::on_error) otherwise.
    pub fn on_fallback(mut self, hook: impl Fn(&Fallback) + Send + Sync + 'static) -> Self {
        self.hooks.on_fallback = Some(Arc::new(hook));
        self
    }

    /// Changes one setting by its name, from text, as [`Config::from_env`] reads it.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] if there is no such setting or the text is not of its type.
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

    /// The same, in an environment that may be another than the process's.
    pub(super) fn build_in(mut self, environment: proxy::Lookup<'_>) -> Result<Config, Error> {
        let s = &mut self.settings;
        check_api_key(s.api_key.expose_secret())?;
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
        bounded_bytes("max_pending_bytes", s.max_pending_bytes)?;
        bounded("retry_attempts", s.retry_attempts, 1..=10)?;
        bounded("max_in_flight", s.max_in_flight, 1..=1024)?;
        bounded("transports", s.transports, 1..=64)?;
        if s.transports > s.max_in_flight {
            let rule = format!("must be at most `max_in_flight`, {}", s.max_in_flight);
            return Err(invalid("transports", s.transports.to_string(), rule));
        }
        if let Some(tier) = &s.environment {
            let name = tier.as_str();
            let is_odd = name.trim() != name || name.contains(char::is_control);
            if is_odd || !(1..=100).contains(&name.chars().count()) {
                let rule = "must have 1 to 100 characters, no control character, and no space at either end";
                return Err(invalid("environment", format!("{name:?}"), rule));
            }
        }
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        bounded("cache_ttl", s.cache_ttl, Duration::ZERO..=DAY)?;
        bounded("cache_entries", s.cache_entries, 1..=100_000_000)?;
        bounded_bytes("cache_bytes", s.cache_bytes)?;
        bounded("stale_if_error", s.stale_if_error, Duration::ZERO..=7 * DAY)?;
        s.base_url.truncate(s.base_url.trim_end_matches('/').len());
        let base_url = parse::base_url(&s.base_url, s.allow_plain_http)?;
        let way_out = WayOut::choose(s.proxy.expose_secret(), &base_url, environment)?;
        let roots = certificates(&s.extra_root_certificates)?;
        Ok(Config { settings: self.settings, base_url, way_out, roots, hooks: self.hooks })
    }
}

/// Whether this can be a key; the error does not show it.
pub(crate) fn check_api_key(key: &str) -> Result<(), Error> {
    if !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    let shown = if key.is_empty() { "empty" } else { "[redacted]" };
    Err(invalid("api_key", shown, "must be visible ASCII characters"))
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

fn bounded_bytes(setting: &'static str, value: u64) -> Result<(), Error> {
    if (1 << 20..=1 << 40).contains(&value) {
        return Ok(());
    }
    Err(invalid(setting, parse::bytes_text(value), "must be from 1MiB to 1TiB"))
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

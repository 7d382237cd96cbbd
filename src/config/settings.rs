//! The table of settings. A new setting is a new entry here.

use std::time::Duration;

use super::{
    Config, ConfigBuilder, FlushPolicy, invalid,
    setting_type::{ApiKey, Pem, ProxyUrl, SettingType, bounded},
};
use crate::model::{error::Error, user::Tier};

settings! {
    /// Requests carry the key in the header `statsig-api-key`. No log, error or `Debug` output shows
    /// the key.
    api_key: ApiKey, "the server secret key",
        default(none), rule("visible ASCII characters"),
        set(impl Into<String> => ApiKey::new), get(none);

    /// The component removes a slash at the end, and appends the paths of the API's operations.
    base_url: String, "the URL of the Statsig HTTP API",
        default(text "https://api.statsig.com"),
        rule("`https`, or `http` to loopback or with `allow_plain_http`"),
        set(impl Into<String> => Into::into), get(&str => String::as_str);

    flush_interval: Duration, "the longest time that a request waits in the buffer",
        default(5 ms), bounds(1 ms ..= 1 min, "less than `timeout`");

    /// One call has at most 100 names.
    batch_size: usize, "the number of distinct names that flush a user's requests at once",
        default(100), bounds(1 ..= 100);

    /// One user may hold at most three quarters of what other users leave free, but always 100 names
    /// if there is room. So even a very busy user leaves room for others.
    max_pending: usize,
        "the number of names that may be buffered, queued and in flight; more are refused as overload",
        default(10_000), bounds(1 ..= 10_000_000);

    /// The size of a request is its user's JSON plus the text of its names, plus 512 bytes, plus 256
    /// bytes for each name. Large evaluations that wait for other names of their request have a
    /// second limit of the same size.
    ///
    /// One user may hold at most three quarters of what other users leave free, but always 128 KiB
    /// if there is room.
    max_pending_bytes: u64,
        "the number of bytes that pending requests may have, users included, and as many again for \
         answers that wait for other names; more are refused as overload",
        default(64 MiB), bounds(1 MiB ..= 1 TiB);

    timeout: Duration, "the longest time that a request takes, from acceptance to answer",
        default(3 s), bounds(1 ms ..= 10 min);

    attempt_timeout: Duration,
        "the longest time that one HTTP attempt takes: connect, headers and body together",
        default(1 s), bounds(1 ms ..= 10 min);

    /// A call makes one more attempt if its connection died on reuse or cannot be trusted.
    retry_attempts: u32, "the number of attempts of one call, including the first",
        default(3), bounds(1 ..= 10);

    /// One user may have at most three quarters of the calls that other users leave free, but always
    /// one call if there is room. So one user's hanging calls leave room for other users.
    max_in_flight: usize, "the number of HTTP calls in flight at once",
        default(64), bounds(1 ..= 1_024);

    exposure_logging: bool, "whether Statsig logs exposures, unless a message says otherwise",
        default(on);

    /// The component sends and caches a user without a tier as if the user had been
    /// [built](crate::UserBuilder::environment) with this tier.
    ///
    /// ```
    /// # use actix_statsig::{Config, Tier};
    /// let config = Config::builder("secret-key").environment(Tier::Staging).build()?;
    /// assert_eq!(config.environment(), Some(&Tier::from("staging")));
    /// # Ok::<(), actix_statsig::Error>(())
    /// ```
    environment: Option<Tier>, "the tier of every user without a tier, such as staging",
        default(none),
        rule("1 to 100 characters, no control character, no space at either end; empty text: none"),
        set(impl Into<Tier> => some_tier), get(Option<&Tier> => Option::as_ref);

    extra_root_certificates: Pem,
        "the certificates to trust besides the roots of the TLS features, as PEM; text may name a PEM \
         file instead",
        default(none), rule("PEM"),
        set(impl Into<Vec<u8>> => Pem::new), get(none);

    /// Calls over plain http send the key unencrypted.
    allow_plain_http: bool, "whether calls may use plain http to other machines",
        default(off);

    /// With `env`, [`build`](ConfigBuilder::build) reads `HTTPS_PROXY` for an `https` `base_url`,
    /// `HTTP_PROXY` for an `http` one, or `ALL_PROXY`, unless `NO_PROXY` has the host.
    ///
    /// A URL is `http://HOST:PORT`, with percent-encoded credentials if the proxy requires them:
    /// `http://USER:PASSWORD@HOST:PORT`. The default port is 80. No output shows the credentials.
    /// If this setting has another scheme, such as `socks5`, `build` fails. If the variable in the
    /// environment has one, the component logs a warning and uses no proxy.
    ///
    /// Calls to loopback never use a proxy. A lower-case variable takes precedence over its
    /// upper-case form. In a CGI, where `REQUEST_METHOD` is set, `HTTP_PROXY` is a client's header,
    /// so it is ignored. `NO_PROXY` lists names, addresses, networks (`10.0.0.0/8`) and `*`,
    /// separated by commas or spaces, each with or without a port. A name matches its subdomains as
    /// well, with or without a dot or `*.` in front. `NO_PROXY` applies only to `env`: a URL
    /// applies to every host.
    proxy: ProxyUrl,
        "the HTTP proxy for calls: a URL, none, or env for the one in HTTPS_PROXY and the like",
        default(text "env"), rule("the URL of an HTTP proxy, `env` or `none`"),
        set(impl Into<String> => ProxyUrl::new), get(none);

    /// The breaker opens after ten failures in a row from at least three users; with fewer users,
    /// only if a probe fails too. While it is open, a call waits up to two seconds for a probe to
    /// succeed, and otherwise fails with [`Error::CircuitOpen`](crate::Error::CircuitOpen), without
    /// being sent. A probe runs every half second and is not a user's check. The breaker closes as
    /// soon as a probe is answered.
    circuit_breaker: bool,
        "whether calls wait for a probe, at most 2 s, after ten failures in a row",
        default(on);

    /// See [`FlushPolicy`].
    flush_policy: FlushPolicy, "when buffered requests are flushed: interval or adaptive",
        default(interval);

    /// One transport runs on the component's own thread. Several transports have a thread each,
    /// which helps if HTTP, JSON and TLS need more than one core. They share `max_in_flight`.
    transports: usize, "the number of transports, and so of threads, that make the HTTP calls",
        default(1), bounds(1 ..= 64, "at most `max_in_flight`");

    /// An answer from the cache makes no call and logs no exposure. Statsig's own SDKs look for
    /// changes every 10 s, too.
    cache_ttl: Duration, "how long a cached evaluation is used; 0 turns the cache off",
        default(10 s), bounds(0 s ..= 24 h);

    /// An entry takes about 300 bytes, besides its user. More entries than the default no longer
    /// fit into the caches of a CPU core, but they pay off if more distinct checks recur within
    /// `cache_ttl`.
    cache_entries: usize, "the number of evaluations that the cache may hold",
        default(10_000), bounds(1 ..= 100_000_000);

    /// Users, names and values count. Parts that several evaluations share count once. The cache
    /// does not hold an evaluation that takes more than a 128th of this.
    cache_bytes: u64, "the number of bytes that the cache may hold",
        default(64 MiB), bounds(1 MiB ..= 1 TiB);

    /// The source of such an answer is [`Source::Stale`](crate::Source::Stale).
    stale_if_error: Duration,
        "how long after cache_ttl the cache may still answer while Statsig fails; 0 turns this off",
        default(1 h), bounds(0 s ..= 7 days);
}

fn some_tier(tier: impl Into<Tier>) -> Option<Tier> {
    Some(tier.into())
}

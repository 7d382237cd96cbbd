//! The upstream that the relay asks: Statsig, or without a key a stand-in inside this process.

use std::fmt::Display;

use actix_statsig::{
    Config, Error,
    test_util::{LocalStatsig, Rules},
};
use actix_web::http::Uri;
use ring::{
    error::Unspecified,
    rand::{self, SystemRandom},
};

use crate::args::{SettingName, StatsigOptions};

/// The upstream that the relay asks. The stand-in runs until this is dropped.
pub(crate) enum Upstream {
    Statsig,
    StandIn(LocalStatsig, StandInKey),
}

/// The random key by which the stand-in recognizes its own relay. Not `Debug`, because it is
/// secret.
pub(crate) struct StandInKey(String);

impl StandInKey {
    fn new() -> Result<Self, Unspecified> {
        let key = rand::generate::<[u8; 16]>(&SystemRandom::new())?.expose();
        Ok(Self(format!("secret-{:032x}", u128::from_ne_bytes(key))))
    }
}

/// Whether the operator configured a key or rules. Otherwise a key may have been forgotten, and the
/// answers would be made up.
pub(crate) fn is_configured(options: &StatsigOptions) -> bool {
    options.api_key().is_some() || options.rules.is_some()
}

impl Upstream {
    /// Chooses Statsig if there is a key, and refuses options that have no effect. Announces the
    /// stand-in, because its answers are made up.
    pub(crate) fn choose(
        options: &StatsigOptions,
        announce: impl FnOnce(String),
    ) -> Result<Self, String> {
        let rules = options.rules.as_ref();
        if let Some(key) = options.api_key() {
            return match rules {
                None => Ok(Self::Statsig),
                Some(rules) => Err(format!(
                    "{} has no effect where {} is set: leave one out",
                    rules.origin(),
                    key.origin()
                )),
            };
        }
        if let Some(upstream) = options.settings.get(SettingName::BASE_URL) {
            return Err(format!("{} needs a key: set STATSIG_API_KEY", upstream.origin()));
        }
        let (rules, origin) = match rules {
            None => (Rules::sample(), "sample rules".to_owned()),
            Some(file) => {
                let path = file.get()?;
                let rules = Rules::from_file(&path);
                let rules = rules.map_err(|error| format!("{}: {error}", file.origin()))?;
                (rules, path.display().to_string())
            }
        };
        let cannot = |error: &dyn Display| {
            format!(
                "cannot start the stand-in for Statsig, which answers without STATSIG_API_KEY: \
                 {error}"
            )
        };
        let server = LocalStatsig::start(rules).map_err(|error| cannot(&error))?;
        let key = StandInKey::new().map_err(|error| cannot(&error))?;
        // Other programs on this machine reach its port too, and requests contain private data.
        server.require_key(&key.0);
        server.keep_requests(0);
        announce(format!(
            "STATSIG_API_KEY is not set: a stand-in for Statsig answers with {origin}"
        ));
        Ok(Self::StandIn(server, key))
    }

    /// Builds the component's configuration. The hook is called for each error.
    pub(crate) fn config(
        &self,
        options: &StatsigOptions,
        on_error: impl Fn(&Error) + Send + Sync + 'static,
    ) -> Result<Config, String> {
        match self {
            Self::Statsig => options.settings.config(&[], on_error),
            Self::StandIn(server, key) => {
                let url = server.url();
                let overrides =
                    [(SettingName::API_KEY, key.0.as_str()), (SettingName::BASE_URL, &url)];
                options.settings.config(&overrides, on_error)
            }
        }
    }

    /// Returns the upstream's display name.
    pub(crate) fn name(&self, config: &Config) -> String {
        match self {
            Self::Statsig => {
                let uri = config.base_url().parse::<Uri>().ok();
                let host = uri.as_ref().and_then(|uri| uri.authority());
                host.map(ToString::to_string).unwrap_or_default()
            }
            Self::StandIn(..) => "a stand-in for Statsig in the same process".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_statsig::{Statsig, User};

    use super::*;

    #[actix_web::test]
    async fn promise_7_stand_in_answers_only_its_relay_without_record() {
        let options = StatsigOptions::default();
        let upstream = Upstream::choose(&options, drop).unwrap();
        let Upstream::StandIn(server, _) = &upstream else { panic!("there is no key") };
        let user = User::new("u-1").unwrap();

        let own = Statsig::start(upstream.config(&options, |_| {}).unwrap()).unwrap();
        assert!(own.check_gate(&user, "new_checkout").await.is_ok());

        for key in ["secret-stand-in", "secret-"] {
            let other = Config::builder(key).base_url(server.url()).build().unwrap();
            let answer = Statsig::start(other).unwrap().check_gate(&user, "new_checkout").await;
            assert!(matches!(answer, Err(Error::Unauthorized { status: 401, .. })), "{answer:?}");
        }
        assert!(server.calls() >= 3);
        assert!(server.requests().is_empty());
    }
}

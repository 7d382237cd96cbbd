//! Whom the relay asks: Statsig, or where there is no key a stand-in inside this process.

use actix_statsig::{
    Config, Error,
    test_util::{LocalStatsig, Rules},
};
use actix_web::http::Uri;

use crate::args::Args;

/// Whom the relay asks. The stand-in answers for as long as this lives.
pub(crate) enum Upstream {
    Statsig,
    StandIn(LocalStatsig),
}

/// Whether somebody said who answers: where a key was forgotten, the answers would be made up.
pub(crate) fn is_decided(args: &Args) -> bool {
    args.given("api_key").is_some() || args.given("rules").is_some()
}

impl Upstream {
    /// Chooses by whether there is a key, and refuses options that would then have no effect. Says
    /// it where nobody would expect the answers to be made up.
    pub(crate) fn choose(args: &Args, say: impl FnOnce(String)) -> Result<Self, String> {
        let rules = args.given("rules");
        if let Some(key) = args.given("api_key") {
            return match rules {
                None => Ok(Self::Statsig),
                Some(rules) => Err(format!(
                    "{} has no effect where {} is set: leave one out",
                    rules.by, key.by
                )),
            };
        }
        if let Some(upstream) = args.given("base_url") {
            return Err(format!("{} needs a key: set STATSIG_API_KEY", upstream.by));
        }
        let (rules, origin) = match rules {
            None => (Rules::sample(), "sample rules".to_owned()),
            Some(given) => {
                let rules = Rules::from_file(given.path());
                let rules = rules.map_err(|error| format!("{}: {error}", given.by))?;
                (rules, given.path().display().to_string())
            }
        };
        let server = LocalStatsig::start(rules)
            .map_err(|error| format!("the stand-in for Statsig cannot start: {error}"))?;
        say(format!("STATSIG_API_KEY is not set: a stand-in for Statsig answers, by {origin}"));
        Ok(Self::StandIn(server))
    }

    /// The component's configuration for it.
    pub(crate) fn config(
        &self,
        args: &Args,
        on_error: impl Fn(&Error) + Send + Sync + 'static,
    ) -> Result<Config, String> {
        match self {
            Self::Statsig => args.config(&[], on_error),
            Self::StandIn(server) => {
                let over = [("api_key", "secret-stand-in"), ("base_url", &server.url())];
                args.config(&over, on_error)
            }
        }
    }

    /// Who it is, for people.
    pub(crate) fn name(&self, config: &Config) -> String {
        match self {
            Self::Statsig => {
                let uri = config.base_url().parse::<Uri>().ok();
                let host = uri.as_ref().and_then(|uri| uri.authority());
                host.map(ToString::to_string).unwrap_or_default()
            }
            Self::StandIn(_) => "a stand-in for Statsig in the same process".to_owned(),
        }
    }
}

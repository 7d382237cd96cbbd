//! Whom the relay asks: Statsig, or where there is no key a stand-in inside this process.

use actix_statsig::{
    Config, Error,
    test_util::{LocalStatsig, Rules},
};
use actix_web::http::Uri;

use crate::{args::Args, output};

/// Whom the relay asks. The stand-in answers for as long as this lives.
pub(crate) enum Upstream {
    Statsig,
    StandIn(LocalStatsig),
}

impl Upstream {
    /// Chooses by whether there is a key, and refuses options that would then have no effect.
    pub(crate) fn choose(args: &Args) -> Result<Self, String> {
        if let Some(by) = args.given("api_key") {
            return match args.rules {
                None => Ok(Self::Statsig),
                Some(_) => Err(format!("--rules has no effect where {by} is set: leave one out")),
            };
        }
        if let Some(by) = args.given("base_url") {
            return Err(format!("{by} needs a key: set STATSIG_API_KEY"));
        }
        let (rules, origin) = match &args.rules {
            Some(file) => (Rules::from_file(file), file.display().to_string()),
            None => (Ok(Rules::sample()), "sample rules".to_owned()),
        };
        let rules = rules.map_err(|error| format!("--rules: {error}"))?;
        let server = LocalStatsig::start(rules)
            .map_err(|error| format!("the stand-in for Statsig cannot start: {error}"))?;
        output::say(format_args!(
            "STATSIG_API_KEY is not set: a stand-in for Statsig answers, by {origin}"
        ));
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

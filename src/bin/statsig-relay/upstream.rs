//! Whom the relay asks: Statsig, or where there is no key a stand-in inside this process.

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

use crate::args::Args;

/// Whom the relay asks. The stand-in answers for as long as this lives.
pub(crate) enum Upstream {
    Statsig,
    StandIn(LocalStatsig, StandInKey),
}

/// What the stand-in knows its own relay by. Not `Debug`: it is secret.
pub(crate) struct StandInKey(String);

impl StandInKey {
    fn new() -> Result<Self, Unspecified> {
        let key = rand::generate::<[u8; 16]>(&SystemRandom::new())?.expose();
        Ok(Self(format!("secret-{:032x}", u128::from_ne_bytes(key))))
    }
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
        let cannot = |error: &dyn Display| {
            format!("the stand-in for Statsig, which answers without STATSIG_API_KEY: {error}")
        };
        let server = LocalStatsig::start(rules).map_err(|error| cannot(&error))?;
        let key = StandInKey::new().map_err(|error| cannot(&error))?;
        // Others on this machine reach its port too, and what they are asked about is private.
        server.require_key(&key.0);
        server.keep_requests(0);
        say(format!("STATSIG_API_KEY is not set: a stand-in for Statsig answers, by {origin}"));
        Ok(Self::StandIn(server, key))
    }

    /// The component's configuration for it.
    pub(crate) fn config(
        &self,
        args: &Args,
        on_error: impl Fn(&Error) + Send + Sync + 'static,
    ) -> Result<Config, String> {
        match self {
            Self::Statsig => args.config(&[], on_error),
            Self::StandIn(server, key) => {
                let over = [("api_key", key.0.as_str()), ("base_url", &server.url())];
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
            Self::StandIn(..) => "a stand-in for Statsig in the same process".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_statsig::{Statsig, User};

    use super::*;

    #[actix_web::test]
    async fn promise_7_the_stand_in_answers_its_own_relay_alone_and_records_nothing() {
        let args = Args::parse(["statsig-relay".into()], []).unwrap();
        let upstream = Upstream::choose(&args, drop).unwrap();
        let Upstream::StandIn(server, _) = &upstream else { panic!("there is no key") };
        let user = User::new("u-1").unwrap();

        let own = Statsig::start(upstream.config(&args, |_| {}).unwrap()).unwrap();
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

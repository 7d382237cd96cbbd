//! actix-statsig, for callers on one arbiter.

use std::{error::Error, time::Duration};

use actix_statsig::{Config, Error as StatsigError, FlushPolicy, Statsig, User};

use super::{API_KEY, Run};
use crate::{
    load::Measured,
    scenario::{COUNTRY, GATE, Scenario, gate, user_id},
};

pub fn measure(
    run: Run,
    start: fn(Config) -> Result<Statsig, StatsigError>,
) -> Result<Measured, Box<dyn Error>> {
    let config = Config::builder(API_KEY).base_url(run.upstream.url());
    let config = match run.scenario {
        Scenario::SameAgain => config,
        // The same settings as for the other client that batches.
        Scenario::NewNames | Scenario::NewNamesUncached => {
            config.batch_size(100).flush_interval(Duration::from_millis(10))
        }
        Scenario::NewUsers => config.max_in_flight(100),
        Scenario::Alone => config.flush_policy(FlushPolicy::Adaptive),
    };
    let config = if run.scenario.is_cached() { config } else { config.cache_ttl(Duration::ZERO) };
    let config = config.build()?;
    actix_rt::System::new().block_on(async {
        let statsig = start(config)?;
        let prepared = user("prepared".to_owned());
        let load = run.load();
        let scenario = run.scenario;
        for caller in load.callers() {
            let (statsig, prepared) = (statsig.clone(), prepared.clone());
            actix_rt::spawn(async move {
                let (statsig, prepared) = (&statsig, &prepared);
                let ask = caller.ask(async |number| {
                    let open = match scenario {
                        Scenario::SameAgain => statsig.check_gate(prepared, GATE).await,
                        Scenario::NewNames | Scenario::NewNamesUncached => {
                            statsig.check_gate(prepared, gate(number)).await
                        }
                        Scenario::NewUsers | Scenario::Alone => {
                            statsig.check_gate(&user(user_id(number)), GATE).await
                        }
                    };
                    open.is_ok_and(|open| open)
                });
                ask.await;
            });
        }
        run.measure(&load).await
    })
}

fn user(id: String) -> User {
    User::builder().user_id(id).country(COUNTRY).build().expect("a valid user")
}

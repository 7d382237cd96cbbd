//! The crate `statsig-client`, on a multi-threaded runtime, as in its README.

use std::{error::Error, sync::Arc, time::Duration};

use statsig_client::{StatsigClient, StatsigClientConfig, User};

use super::{API_KEY, Run};
use crate::{
    load::Measured,
    scenario::{COUNTRY, GATE, Scenario, gate, user_id},
};

pub fn measure(run: Run) -> Result<Measured, Box<dyn Error>> {
    let config = StatsigClientConfig::builder()
        .api_key(API_KEY)
        .base_url(run.upstream.url().to_owned())
        .batch_size(100)
        .batch_flush_interval(Duration::from_millis(10));
    // Its cache cannot be turned off, but can be kept from storing anything.
    let config = match run.scenario.is_cached() {
        true => config.build(),
        false => config.cache_max_capacity(0).build(),
    };
    tokio::runtime::Runtime::new()?.block_on(async {
        let client = Arc::new(StatsigClient::with_config(config).await?);
        let prepared = Arc::new(user("prepared".to_owned()));
        let load = run.load();
        let scenario = run.scenario;
        for caller in load.callers() {
            let (client, prepared) = (Arc::clone(&client), Arc::clone(&prepared));
            tokio::spawn(async move {
                let (client, prepared) = (&*client, &*prepared);
                let ask = caller.ask(move |number| async move {
                    let open = match scenario {
                        Scenario::SameAgain => client.check_gate(GATE, prepared).await,
                        Scenario::NewNames | Scenario::NewNamesUncached => {
                            client.check_gate(gate(number), prepared).await
                        }
                        Scenario::NewUsers | Scenario::Alone => {
                            client.check_gate(GATE, &user(user_id(number))).await
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

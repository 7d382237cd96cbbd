//! The code without a component: one call of awc's default client for each check. The client's pool
//! has at most 100 connections.

use std::error::Error;

use awc::Client;
use serde::{Deserialize, Serialize};

use super::{API_KEY, Run};
use crate::{
    load::Measured,
    scenario::{COUNTRY, GATE, Scenario, gate, user_id},
};

pub fn measure(run: Run) -> Result<Measured, Box<dyn Error>> {
    let url = format!("{}/v1/check_gate", run.upstream.url());
    actix_rt::System::new().block_on(async {
        let client = Client::default();
        let load = run.load();
        let scenario = run.scenario;
        for caller in load.callers() {
            let (client, url) = (client.clone(), url.clone());
            actix_rt::spawn(async move {
                let (client, url) = (&client, &url);
                let ask = caller.ask(async |number| {
                    let open = match scenario {
                        Scenario::SameAgain => check(client, url, "prepared", GATE).await,
                        Scenario::NewNames | Scenario::NewNamesUncached => {
                            check(client, url, "prepared", &gate(number)).await
                        }
                        Scenario::NewUsers | Scenario::Alone => {
                            check(client, url, &user_id(number), GATE).await
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

async fn check(
    client: &Client,
    url: &str,
    user_id: &str,
    gate: &str,
) -> Result<bool, Box<dyn Error>> {
    let request = CheckGate {
        gate_name: gate,
        user: User { user_id, country: COUNTRY },
        statsig_metadata: Metadata { sdk_type: "naive", sdk_version: "0.0.0" },
    };
    let request = client.post(url).insert_header(("statsig-api-key", API_KEY)).send_json(&request);
    let mut response = request.await?;
    if !response.status().is_success() {
        return Err(response.status().to_string().into());
    }
    Ok(response.json::<Gate>().await?.value)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CheckGate<'a> {
    gate_name: &'a str,
    user: User<'a>,
    statsig_metadata: Metadata<'a>,
}

#[derive(Serialize)]
struct User<'a> {
    #[serde(rename = "userID")]
    user_id: &'a str,
    country: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    sdk_type: &'a str,
    sdk_version: &'a str,
}

#[derive(Deserialize)]
struct Gate {
    value: bool,
}

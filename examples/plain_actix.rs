//! Sends actix messages to the component, without actix-web. The example starts a server in place
//! of Statsig, checks its own results, and exits. It needs no account and no network.
//!
//! `cargo run --features test-util --example plain_actix`

#![expect(clippy::print_stdout, reason = "the example prints its results")]

use std::{error::Error, time::Duration};

use actix_statsig::{
    CheckGates, Config, GetConfigs, Statsig, User,
    test_util::{LocalStatsig, Rules},
};
use futures_util::future::try_join;
use serde_json::json;

#[actix_rt::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let rules = Rules::new().gate("new_checkout", true).config("homepage", json!({"columns": 3}));
    let server = LocalStatsig::start(rules)?;
    let config = Config::builder("secret-key").base_url(server.url()).build()?;

    // When the app starts: the component runs in this arbiter. `addr` is an actix `Addr`.
    let statsig = Statsig::start_in_current_arbiter(config)?;
    let addr = statsig.addr();

    // For each request: one user, and messages with any number of names.
    let user = User::builder().user_id("u-1").custom("plan", "pro").build()?;
    let gates = addr.send(CheckGates::new(user.clone(), ["new_checkout", "beta"]));
    let configs = addr.send(GetConfigs::new(user, ["homepage"]));
    // The outer result comes from the mailbox, the inner one from the component.
    let (gates, configs) = try_join(gates, configs).await?;
    for gate in gates? {
        println!("{} is {}", gate.name(), if gate.value() { "open" } else { "closed" });
    }
    let columns: u32 = configs?[0].get("columns")?;
    println!("the homepage has {columns} columns");
    assert_eq!(server.calls(), 2, "one call for both gates, one for the config");

    // Before the process ends: answer the last requests.
    let report = statsig.shutdown(Duration::from_secs(5)).await;
    assert_eq!(report.cut_off, 0);
    Ok(())
}

//! Plain actix, without actix-web: messages sent to the address. Runs against a server of its own,
//! so it needs neither an account nor a network.
//!
//! `cargo run --features test-util --example plain_actix`

use std::{error::Error, time::Duration};

use actix_statsig::{
    CheckGates, Config, GetConfigs, Statsig, User,
    test_util::{LocalStatsig, Rules},
};
use serde_json::json;

#[actix_rt::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let rules = Rules::new().gate("new_checkout", true).config("homepage", json!({"columns": 3}));
    let server = LocalStatsig::start(rules)?;
    let config = Config::builder("secret-key").base_url(server.url()).build()?;

    // On this arbiter, where the messages are sent from.
    let statsig = Statsig::start_in_current_arbiter(config)?;
    let addr = statsig.addr();
    let user = User::builder().user_id("u-1").custom("plan", "pro").build()?;

    let (gates, configs) = futures_util::future::try_join(
        addr.send(CheckGates::new(user.clone(), ["new_checkout", "beta"])),
        addr.send(GetConfigs::new(user, ["homepage"])),
    )
    .await?;
    for gate in gates? {
        tell(&format!("{} is {}", gate.name(), if gate.value() { "open" } else { "closed" }));
    }
    let columns: u32 = configs?[0].get("columns")?;
    tell(&format!("the homepage has {columns} columns"));

    let report = statsig.shutdown(Duration::from_secs(5)).await;
    assert_eq!(report.cut_off, 0);
    assert_eq!(server.calls(), 2, "one call for both gates, one for the config");
    Ok(())
}

#[expect(clippy::print_stdout, reason = "it is what the example is for")]
fn tell(what: &str) {
    println!("{what}");
}

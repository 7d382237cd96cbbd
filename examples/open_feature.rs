//! Reads feature flags through the OpenFeature SDK, with Statsig as the provider. The example
//! starts a server in place of Statsig, checks its own results, and exits. It needs no account and
//! no network.
//!
//! `cargo run --features test-util,open-feature --example open_feature`

#![expect(clippy::print_stdout, reason = "the example prints its results")]

use std::{error::Error, time::Duration};

use actix_statsig::{
    Config, Statsig,
    open_feature::StatsigProvider,
    test_util::{Fault, LocalStatsig, Rule, Rules},
};
use open_feature::{
    Client, EvaluationContext, EvaluationContextFieldValue, EvaluationError, EvaluationErrorCode,
    EvaluationReason, OpenFeature, StructValue,
};
use serde_json::json;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = LocalStatsig::start(rules())?;
    let config = Config::builder("secret-key").base_url(server.url()).build()?;

    // When the app starts: one component, set as the SDK's provider once.
    let statsig = Statsig::start(config)?;
    OpenFeature::singleton_mut().await.set_provider(StatsigProvider::new(statsig.clone())).await;
    let client = OpenFeature::singleton().await.create_client();

    // For each request: a context that describes the user, and any number of checks.
    let user = context("u-1");
    check_gate(&client, &user).await?;
    read_config(&client, &user).await?;
    assert_eq!(server.calls(), 2, "one call for the gate, one for the config");

    // When a check fails, the app uses a default. Each failure is counted.
    fall_back(&client, &user, &server).await;
    assert_eq!(statsig.stats().fallbacks.values().sum::<u64>(), 2);

    // Before the process ends: answer the last checks.
    let report = statsig.shutdown(Duration::from_secs(5)).await;
    assert_eq!(report.cut_off, 0);
    Ok(())
}

fn rules() -> Rules {
    let homepage = json!({"theme": "dark", "columns": 3, "banner": {"text": "Welcome"}});
    Rules::new()
        .gate("new_checkout", Rule::new(true).when("custom.plan", "pro").named("r-1", "Pros"))
        .config("homepage", homepage)
}

/// Describes the user to the SDK. The targeting key becomes Statsig's `userID`.
fn context(id: &str) -> EvaluationContext {
    let ids = StructValue::default().with_field("companyID", "c-1");
    EvaluationContext::default()
        .with_targeting_key(id)
        .with_custom_field("country", "NL")
        .with_custom_field("plan", "pro")
        .with_custom_field("customIDs", EvaluationContextFieldValue::new_struct(ids))
}

/// A gate is a boolean flag. The details name the rule or group that decided.
async fn check_gate(client: &Client, user: &EvaluationContext) -> Result<(), String> {
    let gate = client.get_bool_details("new_checkout", Some(user), None).await.map_err(text)?;
    println!("new_checkout is {}: {:?} by {:?}", gate.value, gate.reason, gate.variant);
    assert!(gate.value);
    assert_eq!(gate.reason, Some(EvaluationReason::TargetingMatch));
    assert_eq!(gate.variant.as_deref(), Some("Pros"));
    Ok(())
}

/// Each key of a config is a flag, `config.key`; the whole config is a struct flag. The first flag
/// makes a call, and the others come from the cache.
async fn read_config(client: &Client, user: &EvaluationContext) -> Result<(), String> {
    let user = Some(user);
    let theme = client.get_string_value("homepage.theme", user, None).await.map_err(text)?;
    let columns = client.get_int_value("homepage.columns", user, None).await.map_err(text)?;
    let banner = client.get_struct_value::<StructValue>("homepage.banner", user, None).await;
    let homepage = client.get_struct_value::<StructValue>("homepage", user, None).await;
    println!("the homepage is {theme}, with {columns} columns and the banner {banner:?}");
    assert_eq!((theme.as_str(), columns), ("dark", 3));
    assert_eq!(banner.map_err(text)?.fields["text"].as_str(), Some("Welcome"));
    assert_eq!(homepage.map_err(text)?.fields.len(), 3);
    Ok(())
}

/// The SDK returns an error for a missing key and for a failing server.
async fn fall_back(client: &Client, user: &EvaluationContext, server: &LocalStatsig) {
    let font = client.get_string_value("homepage.font", Some(user), None).await;
    println!("homepage.font: {font:?}");
    assert!(matches!(&font, Err(error) if error.code == EvaluationErrorCode::FlagNotFound));
    assert_eq!(font.unwrap_or("serif".to_owned()), "serif");

    server.inject(Fault::status(400));
    let beta = client.get_bool_value("beta", Some(user), None).await;
    println!("beta: {beta:?}");
    assert!(!beta.unwrap_or(false));
}

/// The SDK's error does not implement `std::error::Error`.
fn text(error: EvaluationError) -> String {
    format!("{}: {}", error.code, error.message.unwrap_or_default())
}

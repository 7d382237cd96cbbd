//! An app that asks for its flags through OpenFeature's SDK, and has them from Statsig. Runs against
//! a server of its own, so it needs neither an account nor a network, and ends.
//!
//! `cargo run --features test-util,open-feature --example open_feature`

use std::{error::Error, time::Duration};

use actix_statsig::{
    Config, Statsig,
    open_feature::StatsigProvider,
    test_util::{Fault, LocalStatsig, Rule, Rules},
};
use open_feature::{
    EvaluationContext, EvaluationContextFieldValue, EvaluationErrorCode, EvaluationReason,
    OpenFeature, StructValue,
};
use serde_json::json;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let homepage = json!({"theme": "dark", "columns": 3, "banner": {"text": "Welcome"}});
    let rules = Rules::new()
        .gate("new_checkout", Rule::new(true).when("custom.plan", "pro").named("r-1", "Pros"))
        .config("homepage", homepage);
    let server = LocalStatsig::start(rules)?;
    let config = Config::builder("secret-key").base_url(server.url()).build()?;

    // Once in the app: the component, and the provider that asks it.
    let statsig = Statsig::start(config)?;
    let client = {
        let mut api = OpenFeature::singleton_mut().await;
        api.set_provider(StatsigProvider::new(statsig.clone())).await;
        api.create_client()
    };

    // For each request of the app: whom its flags are about.
    let ids = StructValue::default().with_field("companyID", "c-1");
    let context = EvaluationContext::default()
        .with_targeting_key("u-1")
        .with_custom_field("country", "NL")
        .with_custom_field("plan", "pro")
        .with_custom_field("customIDs", EvaluationContextFieldValue::new_struct(ids));
    let context = Some(&context);

    // A gate, with what the SDK is told beside its value.
    let gate = client.get_bool_details("new_checkout", context, None).await.map_err(told)?;
    tell(&format!("new_checkout is {}: {:?} by {:?}", gate.value, gate.reason, gate.variant));
    assert!(gate.value);
    assert_eq!(gate.reason, Some(EvaluationReason::TargetingMatch));
    assert_eq!(gate.variant.as_deref(), Some("Pros"));

    // Keys of a config, an object in it, and all of it: one call to Statsig, the rest is kept.
    let theme = client.get_string_value("homepage.theme", context, None).await.map_err(told)?;
    let columns = client.get_int_value("homepage.columns", context, None).await.map_err(told)?;
    let banner = client.get_struct_value::<StructValue>("homepage.banner", context, None).await;
    let whole = client.get_struct_value::<StructValue>("homepage", context, None).await;
    tell(&format!("a {theme} homepage of {columns} columns with the banner {banner:?}"));
    assert_eq!((theme.as_str(), columns), ("dark", 3));
    assert_eq!(banner.map_err(told)?.fields["text"].as_str(), Some("Welcome"));
    assert_eq!(whole.map_err(told)?.fields.len(), 3);
    assert_eq!(server.calls(), 2, "one for the gate, one for the config");

    // What goes wrong is an error, where the app has its default, and is counted.
    let missing = client.get_string_value("homepage.font", context, None).await;
    tell(&format!("{missing:?}"));
    assert_eq!(missing.as_ref().err().map(|e| &e.code), Some(&EvaluationErrorCode::FlagNotFound));
    assert_eq!(missing.unwrap_or("serif".to_owned()), "serif");
    server.inject(Fault::status(400));
    let unasked = client.get_bool_value("beta", context, None).await;
    assert!(!unasked.unwrap_or(false));
    assert_eq!(statsig.stats().fallbacks.values().sum::<u64>(), 2);

    // What was asked last is answered before the process ends.
    let report = statsig.shutdown(Duration::from_secs(5)).await;
    assert_eq!(report.cut_off, 0);
    Ok(())
}

/// The SDK's error is none of the standard library's.
fn told(error: open_feature::EvaluationError) -> String {
    format!("{}: {}", error.code, error.message.unwrap_or_default())
}

#[expect(clippy::print_stdout, reason = "it is what the example is for")]
fn tell(what: &str) {
    println!("{what}");
}

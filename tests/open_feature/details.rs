//! Reasons, variants and flag metadata.

use std::time::Duration;

use actix_statsig::test_util::{Fault, LocalStatsig, Rule, Rules};
use open_feature::{
    EvaluationDetails, EvaluationReason as Reason, FlagMetadata, FlagMetadataValue, StructValue,
};
use serde_json::json;

use crate::{App, HOUR, somebody};

async fn gate(app: &App, name: &str) -> EvaluationDetails<bool> {
    app.client.get_bool_details(name, Some(&somebody()), None).await.unwrap()
}

async fn theme(app: &App, config: &str) -> EvaluationDetails<String> {
    let flag_key = format!("{config}.theme");
    app.client.get_string_details(&flag_key, Some(&somebody()), None).await.unwrap()
}

/// Makes Statsig answer both `name`s with this rule and group, or with none.
fn decide(server: &LocalStatsig, name: &str, rule: Option<&str>, group: Option<&str>) {
    let gate = json!({"name": name, "value": true, "rule_id": rule, "group_name": group});
    let config = json!({
        "name": name, "value": {"theme": "dark"}, "group": rule.unwrap_or_default(),
        "rule_id": rule, "group_name": group,
    });
    for (path, answer) in [("/v1/check_gate", gate), ("/v1/get_config", config)] {
        let answer = Fault::body(answer.to_string());
        server.inject(answer.for_path(path).for_name(name).always());
    }
}

#[tokio::test]
async fn fresh_answer_has_reason_and_variant_of_rule_and_group() {
    let app = App::start(Rules::new()).await;
    for (name, rule, group, reason, variant) in [
        ("ruled", Some("2RamGs"), Some("Test Group"), Reason::TargetingMatch, Some("Test Group")),
        ("groupless", Some("2RamGs"), None, Reason::TargetingMatch, Some("2RamGs")),
        ("ruleless", None, None, Reason::Default, None),
        ("defaulted", Some("default"), None, Reason::Default, Some("default")),
        ("emptygroup", Some("2RamGs"), Some(""), Reason::TargetingMatch, Some("2RamGs")),
        ("empty", Some(""), Some(""), Reason::Default, None),
        ("disabled", Some("disabled"), None, Reason::Disabled, Some("disabled")),
    ] {
        decide(&app.server, name, rule, group);
        let mut metadata = FlagMetadata::default();
        // An empty rule id is treated as none.
        if let Some(rule) = rule.filter(|rule| !rule.is_empty()) {
            metadata.add_value("rule_id", rule);
        }
        if let Some(group) = group.filter(|group| !group.is_empty()) {
            metadata.add_value("group_name", group);
        }

        let (gate, theme) = (gate(&app, name).await, theme(&app, name).await);

        assert!(gate.value && theme.value == "dark", "{name}");
        assert_eq!((gate.flag_key, theme.flag_key), (name.to_owned(), format!("{name}.theme")));
        assert_eq!((gate.reason, theme.reason), (Some(reason.clone()), Some(reason)), "{name}");
        let variant = variant.map(str::to_owned);
        assert_eq!((gate.variant, theme.variant), (variant.clone(), variant), "{name}");
        assert_eq!((&gate.flag_metadata, &theme.flag_metadata), (&metadata, &metadata), "{name}");
    }
    assert_eq!(app.fallbacks(), 0);
}

#[tokio::test]
async fn cached_answer_says_so_and_its_age() {
    let homepage = Rule::from(json!({"theme": "dark"})).named("2RamGs", "Test Group");
    let app = App::start(Rules::new().gate("beta", true).config("homepage", homepage)).await;
    assert_eq!(gate(&app, "beta").await.reason, Some(Reason::TargetingMatch));
    assert_eq!(theme(&app, "homepage").await.reason, Some(Reason::TargetingMatch));

    let (gate, theme) = (gate(&app, "beta").await, theme(&app, "homepage").await);
    // Another part of the same answer.
    let context = somebody();
    let whole = app.client.get_struct_details::<StructValue>("homepage", Some(&context), None);
    let whole = whole.await.unwrap();

    for reason in [&gate.reason, &theme.reason, &whole.reason] {
        assert_eq!(*reason, Some(Reason::Cached));
    }
    assert_eq!(theme.variant.as_deref(), Some("Test Group"));
    assert_eq!(theme.flag_metadata.values["rule_id"], FlagMetadataValue::from("2RamGs"));
    assert!(age_ms(&gate) >= 0 && age_ms(&theme) >= 0 && age_ms(&whole) >= 0);
    assert_eq!(app.server.calls(), 2);
}

#[tokio::test]
async fn fallback_answer_while_statsig_fails_is_stale() {
    let rules = Rules::new().gate("beta", true).config("homepage", json!({"theme": "dark"}));
    let app = App::start_with(rules, |config| {
        let config = config.cache_ttl(Duration::from_millis(1)).retry_attempts(1);
        config.stale_if_error(HOUR)
    })
    .await;
    gate(&app, "beta").await;
    theme(&app, "homepage").await;

    app.server.inject(Fault::status(503).always());
    // Until the time to live is over, the answer is cached and not yet stale.
    let gate = loop {
        let gate = gate(&app, "beta").await;
        if gate.reason != Some(Reason::Cached) {
            break gate;
        }
    };
    let theme = loop {
        let theme = theme(&app, "homepage").await;
        if theme.reason != Some(Reason::Cached) {
            break theme;
        }
    };

    let stale = Reason::Other("STALE".to_owned());
    assert_eq!(stale.to_string(), "STALE");
    assert_eq!((&gate.reason, &theme.reason), (&Some(stale.clone()), &Some(stale)));
    assert!(gate.value && theme.value == "dark");
    assert_eq!(theme.variant.as_deref(), Some("local"), "the variant of the original answer");
    assert!(age_ms(&gate) >= 1 && age_ms(&theme) >= 1);
    assert_eq!(app.fallbacks(), 0);
}

fn age_ms<T>(details: &EvaluationDetails<T>) -> i64 {
    match details.flag_metadata.values["age_ms"] {
        FlagMetadataValue::Int(age) => age,
        ref other => panic!("{other:?}"),
    }
}

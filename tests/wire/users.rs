//! Users as callers describe them, and the environment that the component adds to users without
//! one.
//!
//! `.ci/run` also runs this with serde_json's features `arbitrary_precision` and `preserve_order`,
//! which another crate of an app may enable.
#![cfg(feature = "test-util")]
// Helpers outside a `#[test]` do not count as tests for clippy.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use actix_statsig::{
    CheckGates, Config, ConfigBuilder, GetConfigs, Source, Tier, User,
    test_util::{LocalStatsig, Rule, Rules},
};
use serde_json::json;

use crate::support::{Script, start, user, virtual_time};

fn caching() -> ConfigBuilder {
    Config::builder("secret-key").cache_ttl(Duration::from_secs(600))
}

fn in_staging() -> ConfigBuilder {
    caching().environment(Tier::Staging)
}

fn number(number: &str) -> User {
    User::from_json_text(&format!(r#"{{"userID": "u", "custom": {{"n": {number}}}}}"#)).unwrap()
}

/// A server with a gate that is open only in staging.
fn staged() -> LocalStatsig {
    let rule = || Rule::new(true).when("statsigEnvironment.tier", "staging");
    let here = json!({"here": true}).as_object().cloned().unwrap();
    let config = Rule::new(here).when("statsigEnvironment.tier", "staging");
    LocalStatsig::start(Rules::new().gate("staged", rule()).config("stage", config)).unwrap()
}

#[test]
fn promise_2_numbers_beyond_64_bits_get_their_own_answers() {
    virtual_time(async {
        let script = Script::answering();
        let statsig = script.start(caching());
        let numbers = ["100000000000000000001", "100000000000000000002", "1e400", "1e401"];
        for number in numbers.map(number) {
            statsig.check_gate(&number, "beta").await.unwrap();
        }
        let ids = ["100000000000000000001", "100000000000000000002"];
        for id in ids {
            let user: User = serde_json::from_str(&format!(r#"{{"userID": {id}}}"#)).unwrap();
            statsig.check_gate(&user, "beta").await.unwrap();
        }

        assert_eq!((statsig.stats().cached, statsig.stats().calls), (0, 6));
        let sent: Vec<_> = script.calls().iter().map(|call| call.user.to_json()).collect();
        for (sent, number) in sent.iter().zip(numbers) {
            assert_eq!(*sent, format!(r#"{{"custom":{{"n":{number}}},"userID":"u"}}"#));
        }
        for (sent, id) in sent[4..].iter().zip(ids) {
            assert_eq!(*sent, format!(r#"{{"userID":"{id}"}}"#));
        }
    });
}

#[actix_rt::test]
async fn local_statsig_takes_whatever_the_component_sends() {
    let rules = Rules::new()
        .gate("numbers", Rule::new(true).when("custom.n", 12))
        .gate("lists", Rule::new(true).when("custom.list", json!([1, "a", null])))
        .gate("tiers", Rule::new(true).when("statsigEnvironment.tier", "qa"))
        .gate("ids", Rule::new(true).when("userID", "7"));
    let server = LocalStatsig::start(rules).unwrap();
    let statsig = start(&server, caching());
    let gates = ["numbers", "lists", "tiers", "ids"];
    for (user, open) in [
        (r#"{"userID": 7, "country": "T1", "email": null}"#, [false, false, false, true]),
        (r#"{"userID": 1.5, "country": "", "custom": {"n": 12.0}}"#, [true, false, false, false]),
        (
            r#"{"customIDs": {"a": 7}, "custom": {"list": [1, "a", null]}}"#,
            [false, true, false, false],
        ),
        (r#"{"userID": "u", "statsigEnvironment": {"tier": "qa"}}"#, [false, false, true, false]),
        (r#"{"userID": "\ud800", "custom": {"n": 1e400, "o": {"p": [{}]}}}"#, [false; 4]),
        (r#"{"userID": "u", "privateAttributes": {"n": -1e400}, "appVersion": 5}"#, [false; 4]),
    ] {
        let user = User::from_json_text(user).unwrap();
        assert_eq!(statsig.check_gates(&user, gates).await.unwrap(), open, "{user:?}");
    }
    assert_eq!(server.refused(), 0);
}

#[actix_rt::test]
async fn environment_is_the_tier_of_users_without_one() {
    let server = staged();
    let statsig = start(&server, in_staging().cache_ttl(Duration::ZERO));
    let who = user("u-1");
    assert!(statsig.check_gate(&who, "staged").await.unwrap());
    assert!(statsig.gate_evaluation(&who, "staged").await.unwrap().value());
    assert!(statsig.check_gate_or(&who, "staged", false).await);
    assert_eq!(statsig.check_gates(&who, ["staged", "shut"]).await.unwrap(), [true, false]);
    assert!(statsig.get_config(&who, "stage").await.unwrap().get::<bool>("here").unwrap());
    let asked = statsig.ask(GetConfigs::new(who.clone(), ["stage"]).without_exposure()).await;
    assert!(asked.unwrap()[0].get::<bool>("here").unwrap());
    let message = CheckGates::new(who.clone(), ["staged"]).bypass_cache();
    assert!(statsig.addr().send(message).await.unwrap().unwrap()[0].value());
    statsig.probe().await.unwrap();

    let requests = server.requests();
    assert_eq!(requests.len(), 8);
    assert!(requests.iter().all(|request| request.user["statsigEnvironment"]["tier"] == "staging"));
    assert_eq!(server.refused(), 0);
}

#[actix_rt::test]
async fn users_own_tier_wins_and_its_environment_stays() {
    let server = staged();
    let statsig = start(&server, in_staging());
    let other = User::builder().user_id("u-1").environment("qa").build().unwrap();
    let region = r#"{"userID": "u-1", "statsigEnvironment": {"region": 1, "zone": "a"}}"#;
    let null = r#"{"customIDs": {"a": "b"}, "statsigEnvironment": {"tier": null}}"#;
    let [region, null] = [region, null].map(|json| User::from_json_text(json).unwrap());

    assert!(!statsig.check_gate(&other, "staged").await.unwrap());
    assert!(statsig.check_gate(&region, "staged").await.unwrap());
    assert!(statsig.check_gate(&null, "staged").await.unwrap());

    let environments: Vec<_> = server
        .requests()
        .iter()
        .map(|request| request.user["statsigEnvironment"].clone())
        .collect();
    assert_eq!(
        environments,
        [
            json!({"tier": "qa"}),
            json!({"region": 1, "tier": "staging", "zone": "a"}),
            json!({"tier": "staging"}),
        ]
    );
}

#[test]
fn environment_is_part_of_the_user_for_calls_and_for_the_cache() {
    virtual_time(async {
        let script = Script::answering();
        let statsig = script.start(in_staging());
        let plain = User::builder().user_id("u-1").custom("a", 1).private_attribute("b", 2);
        let explicit = plain.clone().environment(Tier::Staging).build().unwrap();
        let plain = plain.build().unwrap();

        let (one, other) = tokio::join!(
            statsig.gate_evaluation(&plain, "beta"),
            statsig.gate_evaluation(&explicit, "beta")
        );
        let (one, other) = (one.unwrap(), other.unwrap());
        assert_eq!(
            (one.rule_id(), script.calls().len()),
            (other.rule_id(), 1),
            "they share a call"
        );
        assert_eq!(script.calls()[0].user, explicit);

        for user in [&plain, &explicit] {
            let kept = statsig.gate_evaluation(user, "beta").await.unwrap();
            assert!(matches!(kept.source(), Source::Cache { .. }), "{:?}", kept.source());
            let message = CheckGates::new(user.clone(), ["beta"]);
            let kept = statsig.addr().send(message).await.unwrap().unwrap();
            assert!(matches!(kept[0].source(), Source::Cache { .. }), "{:?}", kept[0].source());
        }
        assert_eq!(script.calls().len(), 1);
        assert!(!format!("{:?}", script.calls()[0]).contains("\"b\":2"), "`b` stays private");
    });
}

#[test]
fn user_may_be_asked_about_in_several_environments() {
    virtual_time(async {
        let script = Script::answering();
        let tiers = ["staging", "qa", "production"];
        let components = tiers.map(|tier| script.start(caching().environment(tier)));
        let without = script.start(caching());
        let who = user("u-1");
        for _ in 0..3 {
            for statsig in &components {
                statsig.check_gate(&who, "beta").await.unwrap();
            }
            without.check_gate(&who, "beta").await.unwrap();
        }
        let users: Vec<_> = script.calls().iter().map(|call| call.user.clone()).collect();
        let expected =
            tiers.map(|tier| User::builder().user_id("u-1").environment(tier).build().unwrap());
        assert_eq!(users[..3], expected);
        assert_eq!(users[3..], [who]);
    });
}

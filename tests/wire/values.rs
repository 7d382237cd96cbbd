//! Config values reach the app exactly as the server wrote them.
//!
//! `.ci/run` also runs this with serde_json's features `arbitrary_precision` and `preserve_order`,
//! which another crate of an app may enable.
#![cfg(feature = "test-util")]
// Helpers outside a `#[test]` do not count as tests for clippy.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, time::Duration};

use actix_statsig::{
    ConfigEvaluation, Error, Source, Statsig,
    test_util::{Fault, LocalStatsig, Rules},
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::support::{config, user};

/// A value whose numbers, order and spacing would not survive parsing.
const VALUE: &str = r#"{ "z":12345678901234567890123, "a" : 1.0,"e":1e400,
    "deep": {"y":[1E+2, -0, 1e-400,{"b":1,"a":2}]}, "text":"\u0061\/\ud83d\ude00é" }"#;

async fn asked(value: &str) -> ConfigEvaluation {
    let server = LocalStatsig::start(Rules::new()).unwrap();
    let caching = config().cache_ttl(Duration::from_secs(600));
    let statsig =
        Statsig::start_in_current_arbiter(caching.base_url(server.url()).build().unwrap()).unwrap();
    let body =
        format!(r#"{{"name": "limits", "value": {value}, "rule_id": "r", "group_name": null}}"#);
    server.inject(Fault::body(body));

    let fresh = statsig.get_config(&user("u-1"), "limits").await.unwrap();

    let kept = statsig.get_config(&user("u-1"), "limits").await.unwrap();
    assert!(matches!(kept.source(), Source::Cache { .. }));
    assert_eq!(kept.json().get(), fresh.json().get());
    kept
}

#[actix_rt::test]
async fn config_is_the_text_that_the_server_wrote() {
    let limits = asked(VALUE).await;

    assert_eq!(limits.json().get(), VALUE);
    let written = serde_json::to_string(&limits).unwrap();
    assert!(written.contains(&format!(r#""value":{VALUE},"group":"r""#)), "{written}");
}

#[actix_rt::test]
async fn getters_read_what_their_type_can_hold() {
    let limits = asked(VALUE).await;

    assert_eq!(limits.get::<u128>("z").unwrap(), 12_345_678_901_234_567_890_123);
    assert_eq!(limits.get::<f64>("z").unwrap(), 12_345_678_901_234_567_890_123.0);
    assert_eq!(limits.get::<Box<RawValue>>("e").unwrap().get(), "1e400");
    assert_eq!(limits.get::<f64>("a").unwrap(), 1.0);
    assert_eq!(limits.get::<String>("text").unwrap(), "a/\u{1f600}é");
    let deep: BTreeMap<String, Vec<Box<RawValue>>> = limits.get("deep").unwrap();
    let numbers: Vec<_> = deep["y"].iter().map(|number| number.get()).collect();
    assert_eq!(numbers, ["1E+2", "-0", "1e-400", r#"{"b":1,"a":2}"#]);

    for (key, says) in [("z", "found a number"), ("e", "found a number"), ("deep", "an object")] {
        let error = limits.get::<u64>(key).unwrap_err();
        assert!(matches!(error, Error::WrongType { .. }), "{error}");
        assert!(error.to_string().contains(says), "{error}");
    }
    let error = limits.get::<f64>("e").unwrap_err();
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("out of range"));
}

#[actix_rt::test]
async fn lone_surrogate_costs_its_character_and_not_the_config() {
    let limits = asked(r#"{"cut":"a\ud83d","\udc00":7e0,"whole":"\ud83d\ude00"}"#).await;

    assert_eq!(limits.json().get(), r#"{"cut":"a\ufffd","\ufffd":7e0,"whole":"\ud83d\ude00"}"#);
    assert_eq!(limits.get::<String>("cut").unwrap(), "a\u{fffd}");
    assert_eq!(limits.get::<String>("whole").unwrap(), "\u{1f600}");
    assert_eq!(limits.get::<f64>("\u{fffd}").unwrap(), 7.0);
}

#[actix_rt::test]
async fn repeated_key_has_its_last_value_except_in_derived_structs() {
    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "never constructed")]
    struct Limits {
        k: serde_json::Value,
    }
    let limits = asked(r#"{"k":1,"k":{"k":3},"\u006b":2}"#).await;

    assert_eq!(limits.get::<u8>("k").unwrap(), 2);
    assert_eq!(limits.deserialize::<BTreeMap<String, u8>>().ok(), None, "one is an object");
    assert_eq!(limits.deserialize::<serde_json::Map<_, _>>().unwrap()["k"], 2);
    let config = |value| ConfigEvaluation::from_json("limits", value).unwrap();
    assert_eq!(config(limits.json().get()), config(r#"{"k":2}"#));
    let error = limits.deserialize::<Limits>().unwrap_err();
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("duplicate field `k`"));
}

#[test]
fn configs_are_equal_when_their_values_are_the_same_json() {
    let config = |value| ConfigEvaluation::from_json("limits", value).unwrap();
    let value = config(r#"{"a": 1, "b": [1e400, "\u0061"]}"#);

    assert_eq!(value, config(r#"{"b":[10e399,"a"],"a":1.0}"#));
    assert_ne!(value, config(r#"{"b":["a",10e399],"a":1.0}"#));
    assert_ne!(value, value.clone().with_rule("r", "g"));
}

#[test]
fn config_value_must_be_an_object() {
    let deep = format!(r#"{{"k":{}{}}}"#, "[".repeat(126), "]".repeat(126));
    for (value, says) in
        [("[]", "expected a map"), ("", "EOF"), ("{} {}", "trailing"), (&deep, "recursion limit")]
    {
        let error = ConfigEvaluation::from_json("limits", value).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    let deepest = format!(r#"{{"k":{}{}}}"#, "[".repeat(125), "]".repeat(125));
    let deepest = ConfigEvaluation::from_json("limits", &deepest).unwrap();
    let answer = serde_json::to_string(&deepest).unwrap();
    assert!(serde_json::from_str::<serde_json::Value>(&answer).is_ok(), "clients can read it");
}

//! Checks the properties of each parser with proptest. libFuzzer, in the package `fuzz`, looks for
//! inputs that break the same properties; these tests also try that package's corpus.
#![cfg(feature = "test-util")]

use std::{fs, path::Path};

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::properties;

type Property = fn(&[u8]);

/// Each fuzz target of the package `fuzz`, with its property.
const TARGETS: [(&str, Property); 8] = [
    ("gates", properties::gates),
    ("gate", properties::gate),
    ("config", properties::config),
    ("response", properties::response),
    ("user", properties::user),
    ("settings", properties::settings),
    ("rules", properties::rules),
    ("request", properties::request),
];

/// The published crate contains no package `fuzz`, and so no corpus.
#[test]
fn no_fuzz_corpus_input_breaks_its_property() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    if !corpus.exists() {
        return;
    }
    for (target, property) in TARGETS {
        let inputs: Vec<_> = fs::read_dir(corpus.join(target)).expect("a corpus").collect();
        assert!(!inputs.is_empty(), "{target}");
        for input in inputs {
            property(&fs::read(input.unwrap().path()).unwrap());
        }
    }
}

/// Any JSON. Many of its strings are words of the API or of these tests.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((word(), inner), 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn word() -> impl Strategy<Value = String> {
    let words: Vec<&str> =
        "name value rule_id group_name open shut homepage userID country NL email \
        userId os_name custom privateAttributes customIDs statsigEnvironment tier staging gates configs when \
        overrides percentage gateName gateNames configName user statsigMetadata \
        exposureLoggingDisabled sdkType"
            .split_whitespace()
            .collect();
    prop_oneof![4 => prop::sample::select(words).prop_map(str::to_owned), 1 => any::<String>()]
}

/// An object that is nearly, or exactly, what the parser expects, so that many are accepted.
fn object(fields: &'static [&'static str]) -> impl Strategy<Value = Value> {
    let field = (prop::sample::select(fields), prop_oneof![any_json(), likely()]);
    prop::collection::vec(field, 0..6).prop_map(|fields| {
        let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value));
        Value::Object(fields.collect())
    })
}

fn likely() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![
        json!(true),
        json!("open"),
        json!("homepage"),
        json!("u-1"),
        json!("NL"),
        json!({"plan": "pro", "n": 0.1}),
        json!({"userID": "u-1"}),
        json!(["open", "shut"]),
        json!({"name": "open", "value": true}),
        json!({"open": {"value": true, "when": {"country": "NL"}, "percentage": 50}}),
        Value::Null,
    ])
}

/// JSON text with a few bytes changed.
fn damaged(json: Value, damage: &[(prop::sample::Index, u8)]) -> Vec<u8> {
    let mut bytes = json.to_string().into_bytes();
    for (at, byte) in damage {
        let at = at.index(bytes.len());
        bytes[at] = *byte;
    }
    bytes
}

fn all(input: &[u8]) {
    for (_, property) in TARGETS {
        property(input);
    }
}

proptest! {
    #[test]
    fn bytes_break_no_property(input in prop::collection::vec(any::<u8>(), 0..200)) {
        all(&input);
    }

    #[test]
    fn json_breaks_no_property(json in any_json(), damage in damage()) {
        all(&damaged(json, &damage));
    }

    #[test]
    fn answers_break_no_property(
        one in object(&["name", "value", "rule_id", "group_name", "new"]),
        many in object(&["open", "shut", "beta gate", "name", "value"]),
        damage in damage(),
    ) {
        all(&damaged(one.clone(), &damage));
        all(&damaged(many, &damage));
        all(&damaged(json!({ "open": one, "shut": one }), &damage));
    }

    #[test]
    fn users_and_requests_break_no_property(
        user in object(&["userID", "email", "country", "custom", "privateAttributes", "customIDs", "new"]),
        mut request in object(&["gateName", "gateNames", "configName", "user", "statsigMetadata"]),
        damage in damage(),
    ) {
        all(&damaged(user.clone(), &damage));
        request["user"] = user;
        all(&damaged(request, &damage));
    }

    #[test]
    fn rules_break_no_property(
        gates in object(&["open", "shut", "beta gate"]),
        rule in object(&["value", "overrides", "when", "percentage", "rule_id", "group_name"]),
        damage in damage(),
    ) {
        all(&damaged(json!({"gates": gates, "configs": {"homepage": rule}}), &damage));
    }

    #[test]
    fn settings_break_no_property(
        settings in prop::collection::vec(setting(), 0..6)
    ) {
        all(settings.join("\n").as_bytes());
    }
}

fn damage() -> impl Strategy<Value = Vec<(prop::sample::Index, u8)>> {
    prop_oneof![3 => Just(Vec::new()), 1 => prop::collection::vec(any::<(prop::sample::Index, u8)>(), 1..4)]
}

fn setting() -> impl Strategy<Value = String> {
    let settings =
        actix_statsig::Config::SETTINGS.iter().map(|&(setting, _)| setting).collect::<Vec<_>>();
    let value = prop_oneof![
        "[0-9]{1,4}(ms|s|m|h|d|KiB|MiB|)",
        "(true|false|on|off|maybe)",
        "https?://[a-z.]{0,8}(:[0-9]{1,6})?/{0,3}[a-z/?#@]{0,6}",
        "\\PC{0,20}",
    ];
    (prop::sample::select(settings.to_vec()), value)
        .prop_map(|(name, value)| format!("{name}={value}"))
}

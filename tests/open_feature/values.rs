//! What a flag key names, and which types its value can be requested as.

use actix_statsig::{ErrorKind, test_util::Rules};
use open_feature::{EvaluationErrorCode as Code, StructValue, Value};
use serde_json::json;

use crate::{App, code, somebody};

fn rules() -> Rules {
    let homepage = json!({
        "theme": "dark", "columns": 3, "rows": 2.0, "ratio": 1.5, "on": true, "none": null,
        "huge": u64::MAX, "a.b": "dotted", "list": [1, 2],
        "banner": {"text": "hello", "weights": [1, 2.5, "x"], "none": null, "inner": {"deep": -1}},
    });
    Rules::new()
        .gate("new_checkout", true)
        .gate("shop.new_checkout", true)
        .gate("closed", false)
        .config("homepage", homepage)
        .config("shop.homepage", json!({"theme": "light"}))
        .config("gap", json!({"deep": {"list": [1, null]}}))
        .config("shop", json!({"homepage": {"theme": "red"}}))
}

#[tokio::test]
async fn boolean_flag_is_a_gate_by_its_whole_name() {
    let app = App::start(rules()).await;
    for (gate, is_open) in [("new_checkout", true), ("shop.new_checkout", true), ("closed", false)]
    {
        let answer = app.client.get_bool_value(gate, Some(&somebody()), None).await;
        assert_eq!(answer, Ok(is_open), "{gate}");
    }
    let asked = app.server.requests();
    assert!(asked.iter().all(|request| request.path == "/v1/check_gate"));
    assert_eq!(asked[1].names, ["shop.new_checkout"]);
}

#[tokio::test]
async fn unknown_gate_looks_like_a_closed_one() {
    let app = App::start(rules()).await;
    let context = somebody();
    let closed = app.client.get_bool_details("closed", Some(&context), None).await.unwrap();
    let unknown = app.client.get_bool_details("unknown", Some(&context), None).await.unwrap();

    assert!(!closed.value && !unknown.value);
    assert_eq!(unknown.reason, closed.reason);
    assert_eq!(unknown.variant, closed.variant);
    assert_eq!(unknown.flag_metadata, closed.flag_metadata);
}

#[tokio::test]
async fn strings_and_numbers_are_keys_of_a_config() {
    let App { client, .. } = &App::start(rules()).await;
    let context = somebody();
    let string = async |flag_key| client.get_string_value(flag_key, Some(&context), None).await;
    let int = async |flag_key| client.get_int_value(flag_key, Some(&context), None).await;
    let float = async |flag_key| client.get_float_value(flag_key, Some(&context), None).await;

    assert_eq!(string("homepage.theme").await.unwrap(), "dark");
    assert_eq!(int("homepage.columns").await, Ok(3));
    assert_eq!(int("homepage.rows").await, Ok(2));
    assert_eq!(float("homepage.ratio").await, Ok(1.5));
    assert_eq!(float("homepage.columns").await, Ok(3.0));
    assert_eq!(float("homepage.huge").await, Ok(u64::MAX as f64));
}

#[tokio::test]
async fn struct_flag_is_a_config_or_an_object_in_it() {
    let App { client, .. } = &App::start(rules()).await;
    let context = somebody();
    let structure = async |flag_key| {
        let value = client.get_struct_value::<StructValue>(flag_key, Some(&context), None).await;
        value.unwrap()
    };

    let inner = StructValue::default().with_field("deep", -1);
    let weights = vec![Value::Int(1), Value::Float(2.5), Value::from("x")];
    let banner = StructValue::default()
        .with_field("text", "hello")
        .with_field("weights", Value::Array(weights))
        .with_field("inner", inner.clone());
    assert_eq!(structure("homepage.banner").await, banner);
    assert_eq!(structure("shop").await.fields["homepage"].as_struct().unwrap().fields.len(), 1);
}

#[tokio::test]
async fn text_after_the_last_dot_is_the_key() {
    let App { client, server, .. } = &App::start(rules()).await;
    let context = somebody();
    let string = async |flag_key| client.get_string_value(flag_key, Some(&context), None).await;
    let structure = async |flag_key| {
        client.get_struct_value::<StructValue>(flag_key, Some(&context), None).await
    };

    assert_eq!(string("shop.homepage.theme").await.unwrap(), "light");
    assert_eq!(server.requests()[0].names, ["shop.homepage"]);

    let key = structure("shop.homepage").await.unwrap();
    assert_eq!(key, StructValue::default().with_field("theme", "red"));
    let whole = structure("shop.homepage.").await.unwrap();
    assert_eq!(whole, StructValue::default().with_field("theme", "light"));

    // A config key that contains a dot cannot be addressed itself; its value is only in the struct.
    assert_eq!(code(string("homepage.a.b").await), Code::FlagNotFound);
    let banner = StructValue::default().with_field("text", "hello");
    server.set_rules(Rules::new().config("page", json!({"a.b": {"text": "hello"}})));
    assert_eq!(structure("page").await.unwrap().fields["a.b"], Value::Struct(banner));
}

#[tokio::test]
async fn struct_value_converts_into_the_apps_type() {
    struct Theme(String);

    impl TryFrom<StructValue> for Theme {
        type Error = ();

        fn try_from(value: StructValue) -> Result<Self, ()> {
            let theme = value.fields.get("theme").and_then(Value::as_str);
            theme.map(|theme| Self(theme.to_owned())).ok_or(())
        }
    }

    let app = App::start(rules()).await;
    let theme = app.client.get_struct_value::<Theme>("homepage", Some(&somebody()), None).await;
    assert_eq!(theme.unwrap().0, "dark");
}

#[tokio::test]
async fn value_of_another_type_is_a_type_mismatch() {
    let app = App::start(rules()).await;
    let (client, context) = (&app.client, somebody());
    let strings = ["homepage.columns", "homepage.on", "homepage.none", "homepage.list", "homepage"];
    let ints =
        ["homepage.ratio", "homepage.huge", "homepage.theme", "homepage.banner", "homepage.on"];
    let floats = ["homepage.theme", "homepage.on", "homepage.none", "homepage"];
    let structs = ["homepage.theme", "homepage.list", "homepage.none", "gap"];

    for flag_key in strings {
        let answer = client.get_string_value(flag_key, Some(&context), None).await;
        assert_eq!(code(answer), Code::TypeMismatch, "{flag_key} as a string");
    }
    for flag_key in ints {
        let answer = client.get_int_value(flag_key, Some(&context), None).await;
        assert_eq!(code(answer), Code::TypeMismatch, "{flag_key} as an integer");
    }
    for flag_key in floats {
        let answer = client.get_float_value(flag_key, Some(&context), None).await;
        assert_eq!(code(answer), Code::TypeMismatch, "{flag_key} as a float");
    }
    for flag_key in structs {
        let answer = client.get_struct_value::<StructValue>(flag_key, Some(&context), None).await;
        assert_eq!(code(answer), Code::TypeMismatch, "{flag_key} as a struct");
    }
    let gap = client.get_struct_value::<StructValue>("gap.deep", Some(&context), None).await;
    let message = gap.unwrap_err().message.unwrap();
    assert!(message.ends_with(": null in a list, which OpenFeature cannot represent"), "{message}");
    let mismatches = 1 + strings.len() + ints.len() + floats.len() + structs.len();
    assert_eq!(app.statsig.stats().fallbacks[&ErrorKind::WrongType], mismatches as u64);
}

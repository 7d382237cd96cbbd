use std::{sync::Arc, time::Instant};

use serde_json::{Value, json};

use super::*;
use crate::{
    message::call::CallRequest,
    model::{
        call_kind::CallKind,
        evaluation::{ConfigEvaluation, Evaluation, GateEvaluation},
        user::User,
    },
};

#[allow(clippy::disallowed_methods)]
fn call(kind: CallKind, names: &[&str], exposure: bool) -> CallRequest {
    CallRequest {
        kind,
        user: User::builder().user_id("u-1").private_attribute("a", 1).build().unwrap(),
        names: names.iter().map(|name| Arc::from(*name)).collect(),
        exposure,
        deadline: Instant::now(),
        refusal: None,
    }
}

fn sent(call: &CallRequest) -> Value {
    serde_json::from_slice(&encode(call).unwrap()).unwrap()
}

#[test]
fn requests_are_what_the_api_document_describes() {
    let user = json!({"userID": "u-1", "privateAttributes": {"a": 1}});
    let metadata = |disabled: bool| {
        json!({"sdkType": "actix-statsig", "sdkVersion": env!("CARGO_PKG_VERSION"),
               "exposureLoggingDisabled": disabled})
    };
    assert_eq!(
        sent(&call(CallKind::CheckGate, &["beta"], true)),
        json!({"gateName": "beta", "user": user, "statsigMetadata": metadata(false)})
    );
    assert_eq!(
        sent(&call(CallKind::CheckGate, &["b", "a"], false)),
        json!({"gateNames": ["b", "a"], "user": user, "statsigMetadata": metadata(true)})
    );
    assert_eq!(
        sent(&call(CallKind::GetConfig, &["homepage"], true)),
        json!({"configName": "homepage", "user": user, "statsigMetadata": metadata(false)})
    );
}

#[test]
fn users_numbers_are_sent_as_written() {
    let user = r#"{"custom":{"a":100000000000000000001,"b":1.50,"c":1e400},"userID":"u"}"#;
    let mut call = call(CallKind::CheckGate, &["beta"], true);
    call.user = User::from_json_text(user).unwrap();
    let body = String::from_utf8(encode(&call).unwrap()).unwrap();
    assert!(body.contains(&format!(r#","user":{user},"#)), "{body}");
}

fn read(kind: CallKind, names: &[&str], body: &str) -> Result<Vec<Option<Evaluation>>, String> {
    decode(kind, &names.iter().map(|name| Arc::from(*name)).collect::<Vec<_>>(), body.as_bytes())
        .map(|decoded| decoded.evaluations)
        .map_err(|error| error.to_string())
}

fn gate(name: &str, value: bool) -> Option<Evaluation> {
    Some(GateEvaluation::new(name, value).into())
}

#[test]
fn answers_are_in_the_order_asked_and_missing_ones_none() {
    let body = r#"{"c": {"name": "c", "value": true, "rule_id": null, "group_name": null},
        "unasked": 1, "a": {"name": null, "value": false, "new_field": {}}}"#;
    assert_eq!(
        read(CallKind::CheckGate, &["a", "b", "c"], body).unwrap(),
        [gate("a", false), None, gate("c", true)]
    );
}

#[test]
fn single_gate_and_config_are_read_from_one_object() {
    let body = r#"{"name": "a", "value": true, "rule_id": "r", "group_name": "g"}"#;
    let expected = GateEvaluation::new("a", true).with_rule("r", "g");
    assert_eq!(read(CallKind::CheckGate, &["a"], body).unwrap(), [Some(expected.into())]);

    let body =
        r#"{"name": "a", "value": {"k": 1}, "group": "", "rule_id": null, "group_name": null}"#;
    let value = json!({"k": 1}).as_object().cloned().unwrap();
    let expected = ConfigEvaluation::new("a", value);
    assert_eq!(read(CallKind::GetConfig, &["a"], body).unwrap(), [Some(expected.into())]);
}

#[test]
fn last_gate_counts_where_a_name_is_repeated() {
    let body = r#"{"a": {"value": true}, "b": {"value": true}, "a": {"value": false}}"#;
    assert_eq!(
        read(CallKind::CheckGate, &["a", "b"], body).unwrap(),
        [gate("a", false), gate("b", true)]
    );
}

#[test]
fn undescribed_answer_is_an_error() {
    let two = &["a", "b"][..];
    for (kind, names, body) in [
        (CallKind::CheckGate, two, r#"{"name": "a", "value": true, "a": true}"#),
        (CallKind::CheckGate, two, r#"{"a": {"value": "true"}}"#),
        (CallKind::CheckGate, two, r#"{"a": {"name": "b", "value": true}}"#),
        (CallKind::CheckGate, two, r#"{"a": {"value": true}} trailing"#),
        (CallKind::CheckGate, two, r#"{"a": {"value": true}"#),
        (CallKind::CheckGate, &["a"], r#"{"a": {"name": "a", "value": true}}"#),
        (CallKind::CheckGate, &["a"], r#"{"name": "b", "value": true}"#),
        (CallKind::CheckGate, &["a"], ""),
        (CallKind::GetConfig, &["a"], r#"{"name": "a", "value": true}"#),
        (CallKind::GetConfig, &["a"], r#"{"name": "a", "value": {}, "rule_id": 7}"#),
        (CallKind::GetConfig, &["a"], "[]"),
        // A derived implementation would accept an array of the fields as the struct.
        (CallKind::CheckGate, &["a"], r#"["a", true, null, null]"#),
        (CallKind::CheckGate, two, r#"{"a": ["a", true, null, null]}"#),
        (CallKind::GetConfig, &["a"], r#"["a", {}, null, null]"#),
        (CallKind::GetConfig, &["a"], r#"{"value": []}"#),
        (CallKind::GetConfig, &["a"], r#"{"value": {"k": 01}}"#),
    ] {
        assert!(read(kind, names, body).is_err(), "{body}");
    }
}

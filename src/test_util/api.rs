//! The API's side of a request: what the OpenAPI document "Statsig SDK HTTP API" 1.0.0 refuses is
//! refused, the rest is answered from the rules. Pure.

use serde_json::{Map, Value, json};

use super::rules::Rules;
use crate::{
    messages::{CallKind, check_name},
    user::User,
};

/// A request that keeps to the API document.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) kind: CallKind,
    /// Asked with `gateNames`, so that the answer is an object by name.
    pub(super) many: bool,
    pub(super) names: Vec<String>,
    pub(super) user: Map<String, Value>,
    pub(super) exposure: bool,
}

/// A refusal: status and message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) message: String,
}

/// The operation with this path.
pub(super) fn operation(path: &str) -> Option<CallKind> {
    [CallKind::CheckGate, CallKind::GetConfig].into_iter().find(|kind| kind.path() == path)
}

/// Reads a request's body.
pub(super) fn read(kind: CallKind, body: &[u8]) -> Result<Asked, Refusal> {
    let body: Value = serde_json::from_slice(body)
        .map_err(|error| bad(format!("the body is not JSON: {error}")))?;
    let Value::Object(body) = body else { return Err(bad("the body must be an object")) };
    let (many, names) = match kind {
        CallKind::CheckGate => gate_names(&body)?,
        CallKind::GetConfig => {
            let name = body.get("configName").ok_or_else(|| bad("configName is required"))?;
            (false, vec![string("configName", name)?])
        }
    };
    for name in &names {
        check_name(name).map_err(|error| bad(error.to_string()))?;
    }
    let user = user(body.get("user"))?;
    let exposure = exposure(body.get("statsigMetadata"))?;
    Ok(Asked { kind, many, names, user, exposure })
}

/// Answers from the rules, leaving these names out.
pub(super) fn answer(asked: &Asked, rules: &Rules, left_out: &[String]) -> Value {
    let gate = |name: &String| json!(rules.check_gate(name, &asked.user));
    match (asked.kind, &asked.names[..]) {
        (CallKind::GetConfig, [name, ..]) => json!(rules.get_config(name, &asked.user)),
        (CallKind::CheckGate, [name]) if !asked.many => gate(name),
        (_, names) => {
            let names = names.iter().filter(|name| !left_out.contains(name));
            names.map(|name| (name.clone(), gate(name))).collect()
        }
    }
}

fn gate_names(body: &Map<String, Value>) -> Result<(bool, Vec<String>), Refusal> {
    match (body.get("gateName"), body.get("gateNames")) {
        (Some(name), None) => Ok((false, vec![string("gateName", name)?])),
        (None, Some(Value::Array(names))) => {
            if !(1..=100).contains(&names.len()) {
                return Err(bad("gateNames must have 1 to 100 names"));
            }
            let names: Result<_, _> = names.iter().map(|name| string("gateNames", name)).collect();
            Ok((true, names?))
        }
        (None, Some(_)) => Err(bad("gateNames must be an array of strings")),
        (Some(_), Some(_)) => Err(bad("gateName and gateNames must not be given together")),
        (None, None) => Err(bad("gateName or gateNames is required")),
    }
}

fn user(user: Option<&Value>) -> Result<Map<String, Value>, Refusal> {
    let Some(Value::Object(fields)) = user else { return Err(bad("user must be an object")) };
    if let Some((field, _)) = fields.iter().find(|(_, value)| value.is_null()) {
        return Err(bad(format!("user field `{field}` must not be null")));
    }
    User::from_json(Value::Object(fields.clone())).map_err(|error| bad(error.to_string()))?;
    Ok(fields.clone())
}

fn exposure(metadata: Option<&Value>) -> Result<bool, Refusal> {
    let metadata = match metadata {
        None => return Ok(true),
        Some(Value::Object(metadata)) => metadata,
        Some(_) => return Err(bad("statsigMetadata must be an object")),
    };
    for field in ["sdkType", "sdkVersion"] {
        metadata.get(field).map_or(Ok(String::new()), |value| string(field, value))?;
    }
    match metadata.get("exposureLoggingDisabled") {
        None => Ok(true),
        Some(Value::Bool(disabled)) => Ok(!disabled),
        Some(_) => Err(bad("statsigMetadata.exposureLoggingDisabled must be a boolean")),
    }
}

fn string(field: &str, value: &Value) -> Result<String, Refusal> {
    let text = value.as_str().ok_or_else(|| bad(format!("{field} must be a string")))?;
    Ok(text.to_owned())
}

fn bad(message: impl Into<String>) -> Refusal {
    Refusal { status: 400, message: message.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(kind: CallKind, body: Value) -> String {
        let refusal = read(kind, body.to_string().as_bytes()).unwrap_err();
        assert_eq!(refusal.status, 400);
        refusal.message
    }

    #[test]
    fn what_the_api_document_refuses_is_refused_by_field_and_rule() {
        let user = json!({"userID": "u"});
        let many: Vec<_> = (0..101).map(|n| format!("gate {n}")).collect();
        for (body, message) in [
            (json!([]), "the body must be an object"),
            (json!({"user": user}), "gateName or gateNames is required"),
            (
                json!({"gateName": "aa", "gateNames": ["aa"], "user": user}),
                "must not be given together",
            ),
            (json!({"gateNames": "aa", "user": user}), "must be an array of strings"),
            (json!({"gateNames": [1], "user": user}), "gateNames must be a string"),
            (json!({"gateNames": [], "user": user}), "1 to 100 names"),
            (json!({"gateNames": many, "user": user}), "1 to 100 names"),
            (json!({"gateName": "a", "user": user}), "2 to 100 characters"),
            (json!({"gateName": "a/b", "user": user}), "may only have"),
            (json!({"gateName": "aa"}), "user must be an object"),
            (json!({"gateName": "aa", "user": {}}), "`userID` must not be empty"),
            (
                json!({"gateName": "aa", "user": {"userID": "u", "email": null}}),
                "`email` must not be null",
            ),
            (json!({"gateName": "aa", "user": {"userID": "u", "country": "NLD"}}), "two letters"),
            (json!({"gateName": "aa", "user": user, "statsigMetadata": 1}), "must be an object"),
            (
                json!({"gateName": "aa", "user": user, "statsigMetadata": {"sdkType": 1}}),
                "sdkType must be a string",
            ),
            (
                json!({"gateName": "aa", "user": user, "statsigMetadata": {"exposureLoggingDisabled": 1}}),
                "must be a boolean",
            ),
        ] {
            let said = refusal(CallKind::CheckGate, body.clone());
            assert!(said.contains(message), "{body}: {said}");
        }
        let said = refusal(CallKind::GetConfig, json!({"gateName": "aa", "user": user}));
        assert!(said.contains("configName is required"), "{said}");
    }

    #[test]
    fn both_forms_of_a_gate_check_and_a_config_are_answered_in_their_shapes() {
        let rules = Rules::new().gate("aa", true).config("cc", json!({"k": 1}));
        let answer = |kind, body: Value| {
            answer(&read(kind, body.to_string().as_bytes()).unwrap(), &rules, &["bb".to_owned()])
        };
        let user = json!({"userID": "u"});
        let aa = json!({"name": "aa", "value": true, "rule_id": "local", "group_name": null});
        assert_eq!(answer(CallKind::CheckGate, json!({"gateName": "aa", "user": user})), aa);
        assert_eq!(
            answer(CallKind::CheckGate, json!({"gateNames": ["aa", "bb"], "user": user})),
            json!({"aa": aa})
        );
        assert_eq!(
            answer(CallKind::GetConfig, json!({"configName": "cc", "user": user})),
            json!({"name": "cc", "value": {"k": 1}, "group": "local", "rule_id": "local", "group_name": null})
        );
    }
}

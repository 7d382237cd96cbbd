//! The server's side of the API: refuses what the OpenAPI document "Statsig SDK HTTP API" 1.0.0
//! refuses, and answers the rest from the rules. Pure.
//!
//! This file does not use the client's checks: a server that shared them would share their
//! mistakes. Like the document's prose, it is stricter than the document's schema: a user with an
//! identifier is required. Like Statsig's own SDKs, it is looser than the document: a user's fields
//! and entries may be `null`, ids may be numbers, and countries, tiers and custom attributes may be
//! anything. It accepts fields that the document does not name.

use hyper::{
    Method,
    header::{CONTENT_TYPE, HeaderValue},
    http::request::Parts,
};
use serde_json::{Map, Value, json};

use super::{
    attribute::{ID_VALUE, TEXT_VALUE, TIER_VALUE, is_id_value, is_text_value},
    rules::{Rules, name_fault},
};
use crate::model::call_kind::CallKind;

/// A request that the API document allows.
#[derive(Clone, Debug)]
pub(super) struct ApiRequest {
    pub(super) kind: CallKind,
    /// Whether the names came as `gateNames`, so that the answer is an object by name.
    pub(super) is_list: bool,
    pub(super) names: Vec<String>,
    pub(super) user: Map<String, Value>,
    pub(super) exposure: bool,
}

/// A refusal, as status and message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) message: String,
}

impl Refusal {
    /// Refuses a body that is too long to read.
    pub(super) fn too_long() -> Self {
        Self { status: 413, message: "the body is too long".to_owned() }
    }
}

/// Checks a request: its path, method, key, content type and body. Without a required key, any key is
/// accepted.
pub(super) fn check(
    head: &Parts,
    required_key: Option<&str>,
    body: &Result<Value, serde_json::Error>,
) -> Result<ApiRequest, Refusal> {
    let refuse = |status, message: &str| Err(Refusal { status, message: message.to_owned() });
    let Some(kind) = operation(head.uri.path()) else { return refuse(404, "no such operation") };
    if head.method != Method::POST {
        return refuse(405, "the method must be POST");
    }
    match head.headers.get("statsig-api-key").map(HeaderValue::as_bytes) {
        None | Some(b"") => return refuse(401, "the header statsig-api-key is required"),
        Some(key) if required_key.is_some_and(|required| key != required.as_bytes()) => {
            return refuse(401, "the key in the header statsig-api-key is unknown");
        }
        Some(_) => {}
    }
    if !is_json(head.headers.get(CONTENT_TYPE)) {
        return refuse(415, "the content type must be application/json");
    }
    read(kind, body)
}

fn operation(path: &str) -> Option<CallKind> {
    [CallKind::CheckGate, CallKind::GetConfig].into_iter().find(|kind| kind.path() == path)
}

fn is_json(content_type: Option<&HeaderValue>) -> bool {
    let Some(content_type) = content_type else { return true };
    let content_type = content_type.to_str().unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

/// Reads a request's body, or refuses it.
pub(super) fn read(
    kind: CallKind,
    body: &Result<Value, serde_json::Error>,
) -> Result<ApiRequest, Refusal> {
    let body = match body {
        Ok(Value::Object(body)) => body,
        Ok(_) => return Err(bad_request("the body must be an object")),
        Err(error) => return Err(bad_request(format!("the body is not JSON: {error}"))),
    };
    let (is_list, names) = match kind {
        CallKind::CheckGate => gate_names(body)?,
        CallKind::GetConfig => {
            let name =
                body.get("configName").ok_or_else(|| bad_request("configName is required"))?;
            (false, vec![name_in("configName", name)?])
        }
    };
    let user = body.get("user").ok_or_else(|| bad_request("user is required"))?;
    let user = object("user", user)?;
    check_user(user)?;
    let exposure = exposure(body.get("statsigMetadata"))?;
    Ok(ApiRequest { kind, is_list, names, user: user.clone(), exposure })
}

/// Returns the names in a body, even if the rest of the body is refused.
pub(super) fn names_in(body: &Value) -> Vec<String> {
    let one = ["gateName", "configName"].into_iter().filter_map(|field| body.get(field));
    let many = body.get("gateNames").and_then(Value::as_array).into_iter().flatten();
    one.chain(many).filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Answers from the rules, without these names.
pub(super) fn answer(request: &ApiRequest, rules: &Rules, left_out: &[String]) -> Value {
    let gate = |name: &String| json!(rules.check_gate(name, &request.user));
    match (request.kind, &request.names[..]) {
        (CallKind::GetConfig, [name, ..]) => json!(rules.get_config(name, &request.user)),
        (CallKind::CheckGate, [name]) if !request.is_list => gate(name),
        (_, names) => {
            let names = names.iter().filter(|name| !left_out.contains(name));
            names.map(|name| (name.clone(), gate(name))).collect()
        }
    }
}

fn gate_names(body: &Map<String, Value>) -> Result<(bool, Vec<String>), Refusal> {
    match (body.get("gateName"), body.get("gateNames")) {
        (Some(name), None) => Ok((false, vec![name_in("gateName", name)?])),
        (None, Some(Value::Array(names))) => {
            if !(1..=100).contains(&names.len()) {
                return Err(bad_request("gateNames must have 1 to 100 names"));
            }
            let names: Result<_, _> = names.iter().map(|name| name_in("gateNames", name)).collect();
            Ok((true, names?))
        }
        (None, Some(_)) => Err(bad_request("gateNames must be an array of strings")),
        (Some(_), Some(_)) => Err(bad_request("gateName and gateNames must not be given together")),
        (None, None) => Err(bad_request("gateName or gateNames is required")),
    }
}

fn name_in(field: &str, name: &Value) -> Result<String, Refusal> {
    let name = string(field, name)?;
    match name_fault(name) {
        None => Ok(name.to_owned()),
        Some(fault) => Err(bad_request(format!("{field}: a name {fault}"))),
    }
}

/// Checks a user. A refusal names the field but not its value, which may be private.
fn check_user(user: &Map<String, Value>) -> Result<(), Refusal> {
    let field_of = |field: &str| user.get(field).filter(|value| !value.is_null());
    for field in ["email", "ip", "userAgent", "country", "locale", "appVersion"] {
        if field_of(field).is_some_and(|value| !is_text_value(value)) {
            return Err(bad_request(format!("user.{field} must be {TEXT_VALUE}")));
        }
    }
    for field in ["custom", "privateAttributes"] {
        field_of(field)
            .map_or(Ok(()), |value| object(&format!("user.{field}"), value).map(drop))?;
    }
    let mut is_identified = false;
    if let Some(id) = field_of("userID") {
        is_identified |= is_identifier("user.userID", id)?;
    }
    if let Some(ids) = field_of("customIDs") {
        for (key, id) in object("user.customIDs", ids)?.iter().filter(|(_, id)| !id.is_null()) {
            is_identified |= is_identifier(&format!("user.customIDs.{key}"), id)?;
        }
    }
    if let Some(environment) = field_of("statsigEnvironment") {
        let tier = object("user.statsigEnvironment", environment)?.get("tier");
        if tier.is_some_and(|tier| !tier.is_null() && !tier.is_string()) {
            return Err(bad_request(format!("user.statsigEnvironment.tier must be {TIER_VALUE}")));
        }
    }
    match is_identified {
        true => Ok(()),
        false => Err(bad_request("user must have an identifier: userID or one of customIDs")),
    }
}

fn is_identifier(field: &str, id: &Value) -> Result<bool, Refusal> {
    match is_id_value(id) {
        true => Ok(id != ""),
        false => Err(bad_request(format!("{field} must be {ID_VALUE}"))),
    }
}

fn exposure(metadata: Option<&Value>) -> Result<bool, Refusal> {
    let Some(metadata) = metadata else { return Ok(true) };
    let metadata = object("statsigMetadata", metadata)?;
    for field in ["sdkType", "sdkVersion"] {
        metadata
            .get(field)
            .map_or(Ok(""), |value| string(&format!("statsigMetadata.{field}"), value))?;
    }
    match metadata.get("exposureLoggingDisabled") {
        None => Ok(true),
        Some(Value::Bool(disabled)) => Ok(!disabled),
        Some(_) => Err(bad_request("statsigMetadata.exposureLoggingDisabled must be a boolean")),
    }
}

fn string<'a>(field: &str, value: &'a Value) -> Result<&'a str, Refusal> {
    value.as_str().ok_or_else(|| bad_request(format!("{field} must be a string")))
}

fn object<'a>(field: &str, value: &'a Value) -> Result<&'a Map<String, Value>, Refusal> {
    value.as_object().ok_or_else(|| bad_request(format!("{field} must be an object")))
}

fn bad_request(message: impl Into<String>) -> Refusal {
    Refusal { status: 400, message: message.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_json(kind: CallKind, body: &Value) -> Result<ApiRequest, Refusal> {
        read(kind, &Ok(body.clone()))
    }

    /// Returns the refusal of a gate check with this user, if any.
    fn refusal_of(user: Value) -> Option<String> {
        let body = json!({"gateName": "aa", "user": user});
        read_json(CallKind::CheckGate, &body).err().map(|refusal| refusal.message)
    }

    #[test]
    fn bodies_the_api_refuses_are_refused_by_field_and_rule() {
        let user = json!({"userID": "u"});
        let names = |count| (0..count).map(|n| format!("gate {n}")).collect::<Vec<_>>();
        for (body, message) in [
            (json!([]), "the body must be an object"),
            (json!({"user": user}), "gateName or gateNames is required"),
            (json!({"configName": "aa", "user": user}), "gateName or gateNames is required"),
            (
                json!({"gateName": "aa", "gateNames": ["aa"], "user": user}),
                "gateName and gateNames must not be given together",
            ),
            (json!({"gateName": null, "user": user}), "gateName must be a string"),
            (json!({"gateNames": "aa", "user": user}), "gateNames must be an array of strings"),
            (json!({"gateNames": [1], "user": user}), "gateNames must be a string"),
            (json!({"gateNames": [], "user": user}), "gateNames must have 1 to 100 names"),
            (json!({"gateNames": names(101), "user": user}), "gateNames must have 1 to 100 names"),
            (json!({"gateName": "a", "user": user}), "gateName: a name must have 2 to 100"),
            (
                json!({"gateNames": ["aa", "a/b"], "user": user}),
                "gateNames: a name may only contain",
            ),
            (json!({"gateName": "a".repeat(101), "user": user}), "2 to 100 characters"),
            (json!({"gateName": "aa"}), "user is required"),
            (
                json!({"gateName": "aa", "user": user, "statsigMetadata": 1}),
                "statsigMetadata must be an object",
            ),
            (
                json!({"gateName": "aa", "user": user, "statsigMetadata": {"sdkType": 1}}),
                "statsigMetadata.sdkType must be a string",
            ),
            (
                json!({"gateName": "aa", "user": user, "statsigMetadata": {"sdkVersion": null}}),
                "statsigMetadata.sdkVersion must be a string",
            ),
            (
                json!({"gateName": "aa", "user": user, "statsigMetadata": {"exposureLoggingDisabled": 1}}),
                "statsigMetadata.exposureLoggingDisabled must be a boolean",
            ),
        ] {
            let refusal = read_json(CallKind::CheckGate, &body).unwrap_err();
            assert_eq!(refusal.status, 400);
            assert!(
                refusal.message.starts_with(message) || refusal.message.ends_with(message),
                "{body}: {}",
                refusal.message
            );
        }
        for (body, message) in [
            (json!({"gateName": "aa", "user": user}), "configName is required"),
            (json!({"configName": ["aa"], "user": user}), "configName must be a string"),
        ] {
            assert_eq!(read_json(CallKind::GetConfig, &body).unwrap_err().message, message);
        }
        let not_json = read(CallKind::CheckGate, &serde_json::from_str("{")).unwrap_err();
        assert!(not_json.message.starts_with("the body is not JSON: "), "{}", not_json.message);
    }

    #[test]
    fn user_is_refused_by_field_and_rule() {
        let identifier = "user must have an identifier: userID or one of customIDs";
        for (user, message) in [
            (json!("u"), "user must be an object"),
            (json!(null), "user must be an object"),
            (json!({}), identifier),
            (json!({"userID": ""}), identifier),
            (json!({"email": "e@example.com", "customIDs": {"a": ""}}), identifier),
            (json!({"userID": null}), identifier),
            (json!({"customIDs": {"a": null}}), identifier),
            (json!({"userID": []}), "user.userID must be a string or a number"),
            (json!({"userID": "u", "ip": []}), "user.ip must be a string, a number, true or false"),
            (
                json!({"userID": "u", "locale": {}}),
                "user.locale must be a string, a number, true or false",
            ),
            (json!({"userID": "u", "custom": []}), "user.custom must be an object"),
            (json!({"customIDs": {"a": true}}), "user.customIDs.a must be a string or a number"),
            (
                json!({"userID": "u", "statsigEnvironment": {"tier": 1}}),
                "user.statsigEnvironment.tier must be a string",
            ),
            (
                json!({"userID": "u", "statsigEnvironment": "staging"}),
                "user.statsigEnvironment must be an object",
            ),
        ] {
            assert_eq!(refusal_of(user.clone()).as_deref(), Some(message), "{user}");
        }
    }

    #[test]
    fn documented_bodies_and_those_of_statsigs_sdks_are_accepted() {
        for user in [
            json!({"userID": "u"}),
            json!({"userID": 1, "email": null, "customIDs": null, "appVersion": 1.2}),
            json!({"userID": null, "customIDs": {"a": 1.5, "b": null}, "country": "T1"}),
            json!({"userID": "u", "country": "", "custom": {"a": null, "b": [1, {}], "c": {}}}),
            json!({"userID": "u", "privateAttributes": {"a": ["secret", 1]}, "os_name": "Linux"}),
            json!({"userID": "u", "statsigEnvironment": {"tier": "qa"}}),
            json!({"userID": "u", "statsigEnvironment": {"tier": null}}),
            json!({"customIDs": {"companyID": "c"}}),
            json!({"userID": "u", "unheard_of": null, "statsigEnvironment": {"region": 1}}),
            json!({
                "userID": "u", "email": "e@example.com", "ip": "::1", "userAgent": "a",
                "country": "nl", "locale": "nl_NL", "appVersion": "1",
                "custom": {"a": "s", "b": 1.5, "c": true, "d": ["x"], "e": []},
                "privateAttributes": {"a": 1}, "statsigEnvironment": {"tier": "staging"},
            }),
        ] {
            assert_eq!(refusal_of(user.clone()), None, "{user}");
        }
        let names: Vec<_> = (0..100).map(|n| format!("gate-_. {n}")).collect();
        let metadata = json!({"sdkType": "t", "exposureLoggingDisabled": true, "more": null});
        let body = json!({
            "gateNames": names, "user": {"userID": "u"}, "statsigMetadata": metadata, "more": 1,
        });
        let request = read_json(CallKind::CheckGate, &body).unwrap();
        assert_eq!((request.names.len(), request.exposure), (100, false));
    }

    #[test]
    fn gate_checks_and_configs_are_answered_in_their_shapes() {
        let rules = Rules::new().gate("aa", true).config("cc", json!({"k": 1}));
        let answer = |kind, body: Value| {
            answer(&read_json(kind, &body).unwrap(), &rules, &["bb".to_owned()])
        };
        let user = json!({"userID": "u"});
        let aa = json!({"name": "aa", "value": true, "rule_id": "local", "group_name": null});
        let dd = json!({"name": "dd", "value": false, "rule_id": null, "group_name": null});
        assert_eq!(answer(CallKind::CheckGate, json!({"gateName": "aa", "user": user})), aa);
        // Each name has one answer, even if it is repeated; a name that is left out has none.
        assert_eq!(
            answer(
                CallKind::CheckGate,
                json!({"gateNames": ["aa", "bb", "dd", "aa"], "user": user})
            ),
            json!({"aa": aa, "dd": dd})
        );
        assert_eq!(
            answer(CallKind::CheckGate, json!({"gateNames": ["aa"], "user": user})),
            json!({"aa": aa})
        );
        assert_eq!(
            answer(CallKind::GetConfig, json!({"configName": "cc", "user": user})),
            json!({"name": "cc", "value": {"k": 1}, "group": "local", "rule_id": "local", "group_name": null})
        );
        assert_eq!(
            answer(CallKind::GetConfig, json!({"configName": "unknown", "user": user})),
            json!({"name": "unknown", "value": {}, "group": "", "rule_id": null, "group_name": null})
        );
    }
}

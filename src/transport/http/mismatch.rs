//! Compares an answer's names with its request, to detect an answer to another request. Pure.

use std::{collections::BTreeMap, str, sync::Arc};

use serde_json::value::RawValue;

use crate::model::{
    call_kind::CallKind,
    json::{get, replace_lone_surrogates},
};

/// An answer's fields: gates by name, or the fields of one gate or config.
type Fields<'a> = BTreeMap<String, &'a RawValue>;

/// The most mismatches to report. `KnownMismatches` has room for more.
const MAX_NAMES: usize = 64;

/// Returns the names in which an answer differs from its request. Returns none if nothing shows
/// that the answer belongs to another request, for example if the body is no answer at all.
pub(super) fn mismatched_names(kind: CallKind, names: &[Arc<str>], body: &[u8]) -> Vec<String> {
    let Ok(body) = str::from_utf8(body) else { return Vec::new() };
    let body = replace_lone_surrogates(body);
    let Ok(fields) = serde_json::from_str::<Fields<'_>>(&body) else { return Vec::new() };
    match (kind, names) {
        (CallKind::CheckGate, [_, _, ..]) => in_many(names, &fields),
        (_, [requested, ..]) => in_one(kind, requested, &fields).into_iter().collect(),
        (_, []) => Vec::new(),
    }
}

/// Checks the answer to a call of one name.
fn in_one(kind: CallKind, requested: &str, fields: &Fields<'_>) -> Option<String> {
    let is_mismatch = match fields.get("name").and_then(|name| string(name)) {
        Some(name) if name == requested => is_of_other_kind(kind, fields),
        // A JavaScript error has a name too, but no value.
        Some(_) => fields.contains_key("value"),
        // This may be the answer to a call of many names.
        None => {
            let is_named =
                |(key, value): &(&String, &&RawValue)| own_name(value).as_ref() == Some(*key);
            return fields.iter().find(is_named).map(|(key, _)| key.clone());
        }
    };
    is_mismatch.then(|| requested.to_owned())
}

/// Whether the value is of the other kind. A gate's value is a boolean, a config's an object.
fn is_of_other_kind(kind: CallKind, fields: &Fields<'_>) -> bool {
    let first = fields.get("value").and_then(|value| value.get().bytes().next());
    match kind {
        CallKind::CheckGate => first == Some(b'{'),
        CallKind::GetConfig => matches!(first, Some(b't' | b'f')),
    }
}

/// Checks the answer to a call of many names.
fn in_many(names: &[Arc<str>], fields: &Fields<'_>) -> Vec<String> {
    // The answer to a call of one name has `name` and `value` at the top level.
    let single = fields.get("name").filter(|_| fields.contains_key("value"));
    if let Some(name) = single.and_then(|name| string(name)) {
        return vec![name];
    }
    let is_requested = |key: &str| names.iter().any(|name| **name == *key);
    let is_mismatch = |key: &str, value| match own_name(value) {
        // A requested gate with another name, or a named gate that was not requested.
        Some(name) => (name == key) != is_requested(key),
        None => is_nameless_gate(value) && !is_requested(key),
    };
    let mismatches = fields.iter().filter(|(key, value)| is_mismatch(key, value));
    mismatches.map(|(key, _)| key.clone()).take(MAX_NAMES).collect()
}

/// Whether this is a gate without a name of its own.
fn is_nameless_gate(value: &RawValue) -> bool {
    let is_boolean = |value: &RawValue| matches!(value.get(), "true" | "false");
    get(value, "value").is_some_and(is_boolean)
        && get(value, "name").is_none_or(|name| name.get() == "null")
}

/// Returns the name in an evaluation.
fn own_name(value: &RawValue) -> Option<String> {
    get(value, "name").filter(|_| get(value, "value").is_some()).and_then(string)
}

fn string(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_name_what_was_not_asked_for_are_told() {
        let (one, two, config) = (
            (CallKind::CheckGate, &["a"][..]),
            (CallKind::CheckGate, &["a", "b"][..]),
            (CallKind::GetConfig, &["a"][..]),
        );
        for ((kind, names), body, expected) in [
            (one, r#"{"name": "a", "value": true}"#, None),
            (one, r#"{"name": null, "value": true}"#, None),
            (one, r#"{"value": true}"#, None),
            (one, r#"{"name": "b", "value": true}"#, Some("a")),
            (one, r#"{"value": {"k": 1e400, "l": [1]}, "name": "b"}"#, Some("a")),
            (one, r#"{"value": 1e400, "name": "b", "group_name": "\ud800"}"#, Some("a")),
            (one, r#"{"value": {}, "name": "a"}"#, Some("a")),
            (one, r#"{"value": 1, "name": "a"}"#, None),
            (one, r#"{"b": {"name": "b", "value": true}}"#, Some("b")),
            (one, r#"{"a": {"name": "a", "value": true}}"#, Some("a")),
            (one, r#"{"error": {"name": "TypeError"}}"#, None),
            // A JavaScript error is not an evaluation.
            (one, r#"{"name": "Error", "message": "no upstream"}"#, None),
            (config, r#"{"name": "Error", "message": "no upstream"}"#, None),
            (one, r#"{"error": {"name": "error"}}"#, None),
            (two, r#"{"error": {"name": "error"}}"#, None),
            (two, r#"{"a": {"name": "Error", "message": "no upstream"}}"#, None),
            (config, r#"{"value": {"name": "value"}, "name": "a"}"#, None),
            (config, r#"{"name": "A", "value": {}}"#, Some("a")),
            (config, r#"{"name": "a", "value": false}"#, Some("a")),
            (config, r#"{"name": "a", "value": []}"#, None),
            (config, r#"{"name": "b", "value": true}"#, Some("a")),
            (two, r#"{"a": {"name": "a", "value": true}, "b": {"value": true}}"#, None),
            (two, r#"{"a": {"name": "b", "value": true}}"#, Some("a")),
            (two, r#"{"a": {"name": "a"}, "c": {"name": "c", "value": true}}"#, Some("c")),
            (two, r#"{"a": {"value": true}, "b": {"name": null, "value": true}}"#, None),
            (two, r#"{"a": {"value": true}, "c": {"value": false}}"#, Some("c")),
            (two, r#"{"c": {"name": null, "value": true}}"#, Some("c")),
            (two, r#"{"took": {"value": 3}, "note": {"name": 1, "value": true}}"#, None),
            (two, r#"{"unasked": 1, "note": {"name": "x"}, "name": "y"}"#, None),
            (two, r#"{"name": "b", "value": true}"#, Some("b")),
            (two, r#"{"name": "c", "value": {}}"#, Some("c")),
            (two, r#"[{"name": "c"}]"#, None),
            (two, "", None),
            (two, r#"{"c": {"name": "c""#, None),
        ] {
            let names: Vec<_> = names.iter().map(|name| Arc::from(*name)).collect();
            let found = mismatched_names(kind, &names, body.as_bytes());
            assert_eq!(found, Vec::from_iter(expected), "{kind:?} {names:?} {body}");
        }
    }

    #[test]
    fn each_name_that_was_not_asked_for_is_told_up_to_a_bound() {
        let names = ["a", "b"].map(Arc::from);
        let of = |others: std::ops::Range<usize>| {
            let gate = |n| format!(r#""c{n:03}": {{"name": "c{n:03}", "value": true}}"#);
            let gates: Vec<_> = others.map(gate).collect();
            let body = format!(r#"{{"a": {{"name": "a", "value": true}}, {}}}"#, gates.join(", "));
            mismatched_names(CallKind::CheckGate, &names, body.as_bytes())
        };
        assert_eq!(of(0..3), ["c000", "c001", "c002"]);
        assert_eq!(of(0..1_000).len(), MAX_NAMES);
    }
}

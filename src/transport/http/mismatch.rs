//! Whether an answer is the answer to another request: it names what was not asked for. Pure.

use std::{collections::BTreeMap, str, sync::Arc};

use serde_json::value::RawValue;

use crate::model::{
    call_kind::CallKind,
    json::{get, replace_lone_surrogates},
};

/// An answer's fields: gates by name, or what is said of one.
type Fields<'a> = BTreeMap<String, &'a RawValue>;

/// So many differences are looked at: fewer than there is room for to remember them.
const MAX_NAMES: usize = 64;

/// The gates or configs over which the answer and the question differ; none if nothing shows that the
/// body answers another question. What is no answer at all shows nothing.
pub(super) fn mismatched_names(kind: CallKind, names: &[Arc<str>], body: &[u8]) -> Vec<String> {
    let Ok(body) = str::from_utf8(body) else { return Vec::new() };
    let body = replace_lone_surrogates(body);
    let Ok(fields) = serde_json::from_str::<Fields<'_>>(&body) else { return Vec::new() };
    match (kind, names) {
        (CallKind::CheckGate, [_, _, ..]) => of_many(names, &fields),
        (_, [asked, ..]) => of_one(kind, asked, &fields).into_iter().collect(),
        (_, []) => Vec::new(),
    }
}

/// The answer to a call of one name.
fn of_one(kind: CallKind, asked: &str, fields: &Fields<'_>) -> Option<String> {
    let is_foreign = match fields.get("name").and_then(|name| text(name)) {
        Some(name) if name == asked => is_of_other_kind(kind, fields),
        // An error may have a name as well, but no value.
        Some(_) => fields.contains_key("value"),
        // Perhaps the answer to a call of many.
        None => {
            let named =
                |(key, value): &(&String, &&RawValue)| own_name(value).as_ref() == Some(*key);
            return fields.iter().find(named).map(|(key, _)| key.clone());
        }
    };
    is_foreign.then(|| asked.to_owned())
}

/// A gate's value is a boolean, and a config's an object.
fn is_of_other_kind(kind: CallKind, fields: &Fields<'_>) -> bool {
    let first = fields.get("value").and_then(|value| value.get().bytes().next());
    match kind {
        CallKind::CheckGate => first == Some(b'{'),
        CallKind::GetConfig => matches!(first, Some(b't' | b'f')),
    }
}

/// The answer to a call of many names.
fn of_many(names: &[Arc<str>], fields: &Fields<'_>) -> Vec<String> {
    // The answer to a call of one has its name where one of many has an object.
    let of_one = fields.get("name").filter(|_| fields.contains_key("value"));
    if let Some(name) = of_one.and_then(|name| text(name)) {
        return vec![name];
    }
    let was_asked = |key: &str| names.iter().any(|name| **name == *key);
    let is_foreign = |key: &str, value| match own_name(value) {
        // It names itself another, where it was asked for, or names itself, where it was not.
        Some(name) => (name == key) != was_asked(key),
        None => is_nameless_gate(value) && !was_asked(key),
    };
    let foreign = fields.iter().filter(|(key, value)| is_foreign(key, value));
    foreign.map(|(key, _)| key.clone()).take(MAX_NAMES).collect()
}

/// A gate that has no name but its key.
fn is_nameless_gate(value: &RawValue) -> bool {
    let is_boolean = |value: &RawValue| matches!(value.get(), "true" | "false");
    get(value, "value").is_some_and(is_boolean)
        && get(value, "name").is_none_or(|name| name.get() == "null")
}

/// The name that an evaluation has.
fn own_name(value: &RawValue) -> Option<String> {
    get(value, "name").filter(|_| get(value, "value").is_some()).and_then(text)
}

fn text(value: &RawValue) -> Option<String> {
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
            // An error in the form of JavaScript's is nobody's evaluation.
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

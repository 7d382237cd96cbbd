//! Whether an answer is the answer to another request: it names what was not asked for. Pure.

use std::{collections::BTreeMap, str, sync::Arc};

use serde_json::value::RawValue;

use crate::model::{
    call_kind::CallKind,
    json::{get, replace_lone_surrogates},
};

/// An answer's fields: gates by name, or what is said of one.
type Fields<'a> = BTreeMap<String, &'a RawValue>;

/// The gate or config over which the answer and the question differ; `None` if nothing shows that the
/// body answers another question. What is no answer at all shows nothing.
pub(super) fn foreign_name(kind: CallKind, names: &[Arc<str>], body: &[u8]) -> Option<String> {
    let body = replace_lone_surrogates(str::from_utf8(body).ok()?);
    let fields: Fields<'_> = serde_json::from_str(&body).ok()?;
    match (kind, names) {
        (CallKind::CheckGate, [_, _, ..]) => of_many(names, &fields),
        (_, [asked, ..]) => of_one(kind, asked, &fields),
        (_, []) => None,
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
fn of_many(names: &[Arc<str>], fields: &Fields<'_>) -> Option<String> {
    // The answer to a call of one has its name where one of many has an object.
    let of_one = fields.get("name").filter(|_| fields.contains_key("value"));
    of_one.and_then(|name| text(name)).or_else(|| {
        let was_asked = |key: &String| names.iter().any(|name| **name == **key);
        // It names itself another, where it was asked for, or names itself, where it was not.
        let is_foreign = |(key, value): &(&String, &&RawValue)| {
            own_name(value).is_some_and(|name| (name == **key) != was_asked(key))
        };
        fields.iter().find(is_foreign).map(|(key, _)| key.clone())
    })
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
            (two, r#"{"unasked": 1, "note": {"name": "x"}, "name": "y"}"#, None),
            (two, r#"{"name": "b", "value": true}"#, Some("b")),
            (two, r#"{"name": "c", "value": {}}"#, Some("c")),
            (two, r#"[{"name": "c"}]"#, None),
            (two, "", None),
            (two, r#"{"c": {"name": "c""#, None),
        ] {
            let names: Vec<_> = names.iter().map(|name| Arc::from(*name)).collect();
            let found = foreign_name(kind, &names, body.as_bytes());
            assert_eq!(found.as_deref(), expected, "{kind:?} {names:?} {body}");
        }
    }
}

//! Whether an answer is the answer to another request: it names what was not asked for. Pure.

use std::{borrow::Cow, collections::HashSet, fmt, str, sync::Arc};

use serde::{
    Deserialize,
    de::{Deserializer, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{call::CallKind, json::replace_lone_surrogates};

/// The gate or config over which the answer and the question differ; `None` if nothing shows that the
/// body answers another question. What is no answer at all shows nothing.
pub(super) fn foreign_name(kind: CallKind, names: &[Arc<str>], body: &[u8]) -> Option<String> {
    let body = replace_lone_surrogates(str::from_utf8(body).ok()?);
    let Fields(fields) = serde_json::from_str(&body).ok()?;
    match (kind, names) {
        (CallKind::CheckGate, [_, _, ..]) => of_many(names, fields),
        (_, [asked, ..]) => of_one(asked, fields),
        (_, []) => None,
    }
}

/// The answer to a call of one name.
fn of_one(asked: &str, fields: Vec<(String, Part)>) -> Option<String> {
    match fields.iter().find(|(key, _)| key == "name") {
        Some((_, Part::Text(name))) => (name != asked).then(|| asked.to_owned()),
        // Perhaps the answer to a call of many.
        _ => fields.into_iter().find(|(key, part)| part.is_named(key)).map(|(key, _)| key),
    }
}

/// The answer to a call of many names.
fn of_many(names: &[Arc<str>], fields: Vec<(String, Part)>) -> Option<String> {
    let asked: HashSet<&str> = names.iter().map(|name| &**name).collect();
    let has_value = fields.iter().any(|(key, _)| key == "value");
    fields.into_iter().find_map(|(key, part)| match part {
        // It names itself another, where it was asked for, or names itself, where it was not.
        Part::Object(Some(name)) if (name == key) != asked.contains(&*key) => Some(key),
        // The answer to a call of one.
        Part::Text(name) if key == "name" && has_value && !asked.contains("name") => Some(name),
        _ => None,
    })
}

/// As much of a value as is looked at here.
enum Part {
    Text(String),
    /// An object, with the text that is its `name`.
    Object(Option<String>),
    Other,
}

impl Part {
    /// From text: some number in it may be one that no type of Rust's holds.
    fn of(value: &RawValue) -> Self {
        let text = value.get();
        match text.as_bytes().first() {
            Some(b'"') => serde_json::from_str(text).map_or(Self::Other, Self::Text),
            Some(b'{') => Self::Object(serde_json::from_str(text).ok().and_then(|Name(name)| name)),
            _ => Self::Other,
        }
    }

    /// An object of this name.
    fn is_named(&self, name: &str) -> bool {
        matches!(self, Self::Object(Some(own)) if own == name)
    }
}

/// An answer's fields.
struct Fields(Vec<(String, Part)>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some((key, value)) = map.next_entry::<_, &RawValue>()? {
                    fields.push((key, Part::of(value)));
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(Reader)
    }
}

/// The text that is an object's `name`, if there is one.
struct Name(Option<String>);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Name;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Name, A::Error> {
                let mut name = None;
                while let Some(key) = map.next_key::<Cow<'de, str>>()? {
                    if key != "name" {
                        map.next_value::<IgnoredAny>()?;
                    } else if let Part::Text(text) = Part::of(map.next_value()?) {
                        name = Some(text);
                    }
                }
                Ok(Name(name))
            }
        }

        deserializer.deserialize_map(Reader)
    }
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
            (one, r#"{"b": {"name": "b", "value": true}}"#, Some("b")),
            (one, r#"{"a": {"name": "a", "value": true}}"#, Some("a")),
            (one, r#"{"error": {"name": "TypeError"}}"#, None),
            (config, r#"{"value": {"name": "value"}, "name": "a"}"#, None),
            (config, r#"{"name": "A", "value": {}}"#, Some("a")),
            (config, r#"{"name": "b", "value": true}"#, Some("a")),
            (two, r#"{"a": {"name": "a", "value": true}, "b": {"value": true}}"#, None),
            (two, r#"{"a": {"name": "b", "value": true}}"#, Some("a")),
            (two, r#"{"a": {"name": "a"}, "c": {"name": "c", "value": true}}"#, Some("c")),
            (two, r#"{"unasked": 1, "note": {"name": "x"}, "name": "y"}"#, None),
            (two, r#"{"name": "b", "value": true}"#, Some("b")),
            (two, r#"{"name": "c", "value": {}}"#, Some("c")),
            // What no type holds, or what is no character, hides no name.
            (one, r#"{"name": "b", "value": true, "rule_id": "\ud800"}"#, Some("a")),
            (config, r#"{"name": "b", "value": {"\udfff": 1}}"#, Some("a")),
            (config, r#"{"name": "b", "value": {}, "time": 1e400}"#, Some("a")),
            (two, r#"{"time": -1e999, "c": {"name": "c", "value": true}}"#, Some("c")),
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

//! Reads parts of a JSON text without parsing all of it.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Returns the nesting of arrays and objects in a JSON text.
pub(crate) fn depth(json: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut bytes = json.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => skip_string(&mut bytes),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// Skips to the end of a string whose opening quote was read.
pub(crate) fn skip_string(bytes: &mut impl Iterator<Item = u8>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => drop(bytes.next()),
            _ => {}
        }
    }
}

/// Returns the type of a JSON value, in words.
pub(crate) fn type_name(json: &str) -> &'static str {
    match json.bytes().next() {
        Some(b'n') => "null",
        Some(b't' | b'f') => "a boolean",
        Some(b'"') => "a string",
        Some(b'[') => "an array",
        Some(b'{') => "an object",
        _ => "a number",
    }
}

/// Returns the text of a key's value in an object. If the key is repeated, its last value counts,
/// as in JavaScript and in serde_json's maps.
pub(crate) fn get<'a>(object: &'a RawValue, key: &str) -> Option<&'a RawValue> {
    let mut json = serde_json::Deserializer::from_str(object.get());
    json.deserialize_map(FindKey { key }).ok().flatten()
}

struct FindKey<'k> {
    key: &'k str,
}

impl<'de> Visitor<'de> for FindKey<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(is_key) = object.next_key_seed(MatchKey(self.key))? {
            if is_key {
                found = Some(object.next_value()?);
            } else {
                object.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// Compares a key without copying it.
struct MatchKey<'k>(&'k str);

impl<'de> DeserializeSeed<'de> for MatchKey<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for MatchKey<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E>(self, text: &str) -> Result<bool, E> {
        Ok(text == self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_brackets_outside_of_strings() {
        for (json, expected) in
            [("1", 0), ("{}", 1), (r#"{"a": [[]], "b": {}}"#, 3), (r#"{"[[[\"[[": "\\"}"#, 1)]
        {
            assert_eq!(depth(json), expected, "{json}");
        }
    }

    fn raw(json: &str) -> &RawValue {
        serde_json::from_str(json).expect("JSON")
    }

    #[test]
    fn key_is_found_wherever_it_stands_and_the_last_of_two_counts() {
        let object = raw(r#"{"a": 1e400, "b": {"d": 1}, "\u0063": [1,  2], "a": -0.0, "e\n": ""}"#);
        for (key, expected) in [
            ("a", Some("-0.0")),
            ("b", Some(r#"{"d": 1}"#)),
            ("c", Some("[1,  2]")),
            ("d", None),
            ("e\n", Some(r#""""#)),
            ("", None),
        ] {
            assert_eq!(get(object, key).map(RawValue::get), expected, "{key}");
        }
    }
}

//! Objects that have each key once. JSON leaves open what a key means that stands twice, and readers
//! differ in which of the values they take.

use std::{collections::HashSet, fmt};

use serde::{
    Deserialize,
    de::{Deserializer, Error, MapAccess, SeqAccess, Visitor},
};

/// Any JSON in which no object has a key twice.
///
/// A look of its own at the text, not a reader of values: with serde_json's `arbitrary_precision`,
/// which any crate of the app may turn on, only serde_json itself can read a number.
pub(super) struct DistinctKeys;

impl<'de> Deserialize<'de> for DistinctKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for DistinctKeys {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self, A::Error> {
        while list.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self, A::Error> {
        let mut keys = HashSet::new();
        while let Some(key) = object.next_key::<String>()? {
            object.next_value::<Self>()?;
            if let Some(key) = keys.replace(key) {
                return Err(A::Error::custom(format_args!("two values for the key {key:?}")));
            }
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_may_stand_twice_in_two_objects_but_not_in_one() {
        let check = |json| serde_json::from_str::<DistinctKeys>(json).map(drop);
        for json in [
            r#"{"a": {"a": [{"a": null}, {"a": true}]}, "b": [1, -1, 1.5, "a", "a"]}"#,
            "[]",
            "1e400",
        ] {
            assert_eq!(check(json).is_ok(), json != "1e400", "{json}");
        }
        for json in [r#"{"a": 1, "a": 1}"#, r#"{"b": [{"a": {}, "\u0061": 1}]}"#] {
            let error = check(json).unwrap_err().to_string();
            assert!(error.starts_with("two values for the key \"a\" at line 1"), "{error}");
        }
        let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(check(&deep).unwrap_err().to_string().starts_with("recursion limit exceeded"));
    }
}

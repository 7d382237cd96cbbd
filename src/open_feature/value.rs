//! Converts JSON into the SDK's values.

use open_feature::{StructValue, Value};
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::{Map, Number, Value as Json};

/// A whole number of 64 bits. JSON's `3`, `3.0` and `3e0` are equal.
#[derive(Debug, PartialEq)]
pub(super) struct Int(i64);

/// The SDK's struct, read from a JSON object.
#[derive(Debug, PartialEq)]
pub(super) struct Struct(StructValue);

impl From<Int> for i64 {
    fn from(Int(value): Int) -> Self {
        value
    }
}

impl From<Struct> for StructValue {
    fn from(Struct(value): Struct) -> Self {
        value
    }
}

impl<'de> Deserialize<'de> for Int {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = Number::deserialize(deserializer)?;
        let value = number.as_i64().or_else(|| number.as_f64().and_then(whole));
        value.map(Self).ok_or_else(|| D::Error::custom("expected a whole number of 64 bits"))
    }
}

impl<'de> Deserialize<'de> for Struct {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        structure(&Map::deserialize(deserializer)?).map(Self).map_err(D::Error::custom)
    }
}

fn whole(number: f64) -> Option<i64> {
    // 2^63. No `f64` equals `i64::MAX`.
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    let fits = number.fract() == 0.0 && (-BEYOND..BEYOND).contains(&number);
    fits.then_some(number as i64)
}

/// Converts an object. The SDK has no null, so a null field is left out. A null in a list is an
/// error, because leaving it out would move the other elements.
fn structure(object: &Map<String, Json>) -> Result<StructValue, &'static str> {
    let fields = object.iter().filter(|(_, value)| !value.is_null());
    let fields = fields.map(|(key, json)| value(json).map(|value| (key.clone(), value)));
    Ok(StructValue { fields: fields.collect::<Result<_, _>>()? })
}

fn value(json: &Json) -> Result<Value, &'static str> {
    Ok(match json {
        Json::Null => return Err("null in a list, which OpenFeature cannot represent"),
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => match number.as_i64() {
            Some(int) => Value::Int(int),
            None => Value::Float(number.as_f64().ok_or("a number beyond 64 bits")?),
        },
        Json::String(value) => Value::String(value.clone()),
        Json::Array(list) => Value::Array(list.iter().map(value).collect::<Result<_, _>>()?),
        Json::Object(object) => Value::Struct(structure(object)?),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{from_str, json};

    use super::*;

    #[test]
    fn whole_number_is_an_int_within_64_bits() {
        for (json, int) in [
            ("0", 0),
            ("-0.0", 0),
            ("3.0", 3),
            ("3e2", 300),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
            ("-9223372036854775808.0", i64::MIN),
        ] {
            assert_eq!(from_str::<Int>(json).unwrap(), Int(int), "{json}");
        }
        for json in ["3.5", "9223372036854775808", "1e300", "-9.3e18", "\"3\"", "true", "null"] {
            assert!(from_str::<Int>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn object_becomes_a_struct_at_every_depth() {
        let json = json!({
            "on": true, "int": 3, "float": 3.0, "huge": u64::MAX, "text": "dark", "none": null,
            "list": [1, "two", {"three": 3, "none": null}], "empty": {},
        });
        let inner = StructValue::default().with_field("three", 3);
        let list = vec![Value::from(1), Value::from("two"), Value::from(inner)];
        let expected = StructValue::default()
            .with_field("on", true)
            .with_field("int", 3)
            .with_field("float", 3.0)
            .with_field("huge", u64::MAX as f64)
            .with_field("text", "dark")
            .with_field("list", Value::Array(list))
            .with_field("empty", StructValue::default());
        assert_eq!(Struct::deserialize(json).unwrap(), Struct(expected));
    }

    #[test]
    fn null_in_a_list_has_a_place_that_no_value_can_take() {
        let error = Struct::deserialize(json!({"deep": {"list": [1, null]}})).unwrap_err();
        assert_eq!(error.to_string(), "null in a list, which OpenFeature cannot represent");
    }
}

//! The user attributes that a rule can require, by the API's field names.

use std::{borrow::Cow, fmt, str::FromStr};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess},
};
use serde_json::{Map, Value};

use super::unique::{Convert, Key, Unique};

/// The user's fields that hold a single text.
pub(super) const TEXT_FIELDS: [&str; 11] = [
    "userID",
    "email",
    "ip",
    "userAgent",
    "country",
    "locale",
    "appVersion",
    "os_name",
    "os_version",
    "browser_name",
    "browser_version",
];

/// One attribute of a user.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Attribute {
    /// A field that holds a single text.
    Text(&'static str),
    /// `custom.NAME`, `privateAttributes.NAME` or `statsigEnvironment.NAME`: anything but null.
    Free(&'static str, String),
    /// `customIDs.NAME`: a string or a number.
    CustomId(String),
    /// `statsigEnvironment.tier`.
    Tier,
}

impl Attribute {
    /// Returns whether a user can have this value.
    pub(super) fn accepts(&self, value: &Value) -> bool {
        match self {
            Self::Text(_) => is_text_value(value),
            Self::CustomId(_) => is_id_value(value),
            Self::Free(..) => !value.is_null(),
            Self::Tier => value.is_string(),
        }
    }

    /// Returns the rule for values, for an error.
    pub(super) fn expected(&self) -> &'static str {
        match self {
            Self::Text(_) => TEXT_VALUE,
            Self::CustomId(_) => ID_VALUE,
            Self::Free(..) => FREE_VALUE,
            Self::Tier => TIER_VALUE,
        }
    }

    /// Returns whether the user has the attribute with exactly this value. A text equals the number
    /// with the same digits, because clients send integer ids as strings.
    pub(super) fn equals(&self, user: &Map<String, Value>, value: &Value) -> bool {
        let found = match self {
            Self::Text(field) => user.get(*field),
            Self::Free(field, name) => user.get(*field).and_then(|map| map.get(name)),
            Self::CustomId(name) => user.get("customIDs").and_then(|map| map.get(name)),
            Self::Tier => user.get("statsigEnvironment").and_then(|map| map.get("tier")),
        };
        let is_text = matches!(self, Self::Text(_) | Self::CustomId(_));
        found.is_some_and(|found| {
            same(found, value) || (is_text && text(found).is_some() && text(found) == text(value))
        })
    }
}

/// The values that a field with a single text may have, for an error.
pub(super) const TEXT_VALUE: &str = "a string, a number, true or false";
/// The values that an id may have, for an error.
pub(super) const ID_VALUE: &str = "a string or a number";
/// The values that `custom`, `privateAttributes` and `statsigEnvironment` may hold, for an error.
const FREE_VALUE: &str = "anything but null";
/// The values that a tier may have, for an error.
pub(super) const TIER_VALUE: &str = "a string";

pub(super) fn is_text_value(value: &Value) -> bool {
    matches!(value, Value::String(_) | Value::Number(_) | Value::Bool(_))
}

pub(super) fn is_id_value(value: &Value) -> bool {
    matches!(value, Value::String(_) | Value::Number(_))
}

/// Returns a string, or the text of a number.
pub(super) fn text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(text.into()),
        Value::Number(number) => Some(number.to_string().into()),
        _ => None,
    }
}

/// Compares JSON by value. `serde_json` distinguishes 3 from 3.0, but JSON does not.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            let in_b = |(key, a)| b.get(key).is_some_and(|b| same(a, b));
            a.len() == b.len() && a.iter().all(in_b)
        }
        _ => {
            a == b || (a.is_f64() != b.is_f64() && a.as_f64().is_some() && a.as_f64() == b.as_f64())
        }
    }
}

impl FromStr for Attribute {
    type Err = String;

    fn from_str(path: &str) -> Result<Self, String> {
        if let Some(field) = TEXT_FIELDS.iter().find(|field| **field == path) {
            return Ok(Self::Text(field));
        }
        let (field, name) = path.split_once('.').unwrap_or((path, ""));
        match field {
            "custom" | "privateAttributes" | "customIDs" | "statsigEnvironment"
                if name.is_empty() =>
            {
                Err(format!("`{field}` is an object: write `{field}.NAME`"))
            }
            "custom" => Ok(Self::Free("custom", name.to_owned())),
            "privateAttributes" => Ok(Self::Free("privateAttributes", name.to_owned())),
            "customIDs" => Ok(Self::CustomId(name.to_owned())),
            "statsigEnvironment" if name == "tier" => Ok(Self::Tier),
            // The API document allows other fields here.
            "statsigEnvironment" => Ok(Self::Free("statsigEnvironment", name.to_owned())),
            _ => Err(format!(
                "unknown attribute `{path}`, expected one of {}, custom.NAME, \
                 privateAttributes.NAME, customIDs.NAME, statsigEnvironment.NAME",
                TEXT_FIELDS.join(", "),
            )),
        }
    }
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(field) => f.write_str(field),
            Self::Free(field, name) => write!(f, "{field}.{name}"),
            Self::CustomId(name) => write!(f, "customIDs.{name}"),
            Self::Tier => f.write_str("statsigEnvironment.tier"),
        }
    }
}

/// The attributes that a user must have, each with its value.
pub(super) type Conditions = Unique<Attribute, Value>;

impl Key<Value> for Attribute {
    fn read_value<'de, A: MapAccess<'de>>(&self, map: &mut A) -> Result<Value, A::Error> {
        map.next_value_seed(Convert(|value| match self.accepts(&value) {
            true => Ok(value),
            false => Err(format!("`{self}` must be {}", self.expected())),
        }))
    }
}

impl<'de> Deserialize<'de> for Attribute {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn path_segment_may_have_a_dot_in_its_name() {
        let attribute: Attribute = "custom.a.b".parse().expect("it is an attribute");
        let user = json!({"custom": {"a.b": true}});

        assert!(attribute.equals(user.as_object().expect("an object"), &json!(true)));
    }

    #[test]
    fn environment_may_have_more_than_a_tier() {
        let region: Attribute = "statsigEnvironment.region".parse().expect("it is an attribute");
        let user = json!({"statsigEnvironment": {"tier": "staging", "region": 1}});

        assert!(region.accepts(&json!(1)) && !Attribute::Tier.accepts(&json!(1)));
        assert!(region.equals(user.as_object().expect("an object"), &json!(1)));
    }

    #[test]
    fn unknown_field_is_refused_with_the_known_ones() {
        for path in ["Country", "", "custom.", "statsigEnvironment", "customIDs"] {
            assert!(path.parse::<Attribute>().is_err(), "{path}");
        }
        let error = "contry".parse::<Attribute>().expect_err("a typo");
        assert!(error.contains("`contry`") && error.contains("country"), "{error}");
    }

    #[test]
    fn numbers_are_equal_by_value() {
        assert!(same(&json!(3), &json!(3.0)));
        assert!(!same(&json!(3), &json!(3.5)));
        assert!(!same(&json!(u64::MAX), &json!(u64::MAX - 1)));
        assert!(!same(&json!(1), &json!("1")));
    }
}

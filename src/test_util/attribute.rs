//! The user attributes a rule can ask for, by the API's field names.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

/// The user's fields that hold one string.
pub(super) const TEXT_FIELDS: [&str; 7] =
    ["userID", "email", "ip", "userAgent", "country", "locale", "appVersion"];

/// The environments the API knows.
pub(super) const TIERS: [&str; 3] = ["production", "staging", "development"];

/// One attribute of a user.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Attribute {
    /// A field that holds one string.
    Text(&'static str),
    /// `custom.NAME`, `privateAttributes.NAME` or `statsigEnvironment.NAME`: a string, number, boolean or array of strings.
    Free(&'static str, String),
    /// `customIDs.NAME`: a string.
    CustomId(String),
    /// `statsigEnvironment.tier`.
    Tier,
}

impl Attribute {
    /// Whether a user can have this value at all.
    pub(super) fn accepts(&self, value: &Value) -> bool {
        match self {
            Self::Text(_) | Self::CustomId(_) => value.is_string(),
            Self::Free(..) => is_free_value(value),
            Self::Tier => value.as_str().is_some_and(|tier| TIERS.contains(&tier)),
        }
    }

    /// What a value must be, for an error.
    pub(super) fn expected(&self) -> &'static str {
        match self {
            Self::Text(_) | Self::CustomId(_) => "a string",
            Self::Free(..) => FREE_VALUE,
            Self::Tier => TIER_VALUE,
        }
    }

    /// Whether the user has the attribute with exactly this value.
    pub(super) fn equals(&self, user: &Map<String, Value>, value: &Value) -> bool {
        let found = match self {
            Self::Text(field) => user.get(*field),
            Self::Free(field, name) => user.get(*field).and_then(|map| map.get(name)),
            Self::CustomId(name) => user.get("customIDs").and_then(|map| map.get(name)),
            Self::Tier => user.get("statsigEnvironment").and_then(|map| map.get("tier")),
        };
        found.is_some_and(|found| same(found, value))
    }
}

/// What `custom` and `privateAttributes` may hold, for an error.
pub(super) const FREE_VALUE: &str = "a string, a number, true, false or an array of strings";
/// What a tier may be, for an error.
pub(super) const TIER_VALUE: &str = "production, staging or development";

/// Whether `custom` and `privateAttributes` may hold this value.
pub(super) fn is_free_value(value: &Value) -> bool {
    match value {
        Value::String(_) | Value::Number(_) | Value::Bool(_) => true,
        Value::Array(items) => items.iter().all(Value::is_string),
        Value::Null | Value::Object(_) => false,
    }
}

/// `serde_json` holds 3 and 3.0 for different; JSON knows only one kind of number.
fn same(a: &Value, b: &Value) -> bool {
    a == b || (a.is_f64() != b.is_f64() && a.as_f64().is_some() && a.as_f64() == b.as_f64())
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
                Err(format!("`{field}` has parts: write `{field}.NAME`"))
            }
            "custom" => Ok(Self::Free("custom", name.to_owned())),
            "privateAttributes" => Ok(Self::Free("privateAttributes", name.to_owned())),
            "customIDs" => Ok(Self::CustomId(name.to_owned())),
            "statsigEnvironment" if name == "tier" => Ok(Self::Tier),
            // The API document leaves this object open.
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

/// Attributes, each with a value a user could have.
#[derive(Default)]
pub(super) struct When(pub(super) BTreeMap<Attribute, Value>);

impl<'de> Deserialize<'de> for When {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WhenVisitor;

        impl<'de> Visitor<'de> for WhenVisitor {
            type Value = When;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of attributes and values")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<When, A::Error> {
                let mut when = BTreeMap::new();
                while let Some(attribute) = map.next_key::<Attribute>()? {
                    if when.contains_key(&attribute) {
                        return Err(de::Error::custom(format_args!(
                            "`{attribute}` is there twice"
                        )));
                    }
                    let value = map.next_value_seed(ValueOf(&attribute))?;
                    when.insert(attribute, value);
                }
                Ok(When(when))
            }
        }

        deserializer.deserialize_map(WhenVisitor)
    }
}

impl<'de> Deserialize<'de> for Attribute {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PathVisitor;

        impl Visitor<'_> for PathVisitor {
            type Value = Attribute;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an attribute")
            }

            fn visit_str<E: de::Error>(self, path: &str) -> Result<Attribute, E> {
                path.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_str(PathVisitor)
    }
}

/// Reads a value that a user's attribute can have.
struct ValueOf<'a>(&'a Attribute);

impl ValueOf<'_> {
    fn accept<E: de::Error>(self, value: Value) -> Result<Value, E> {
        if self.0.accepts(&value) {
            Ok(value)
        } else {
            Err(E::custom(format_args!("`{}` must be {}", self.0, self.0.expected())))
        }
    }
}

impl<'de> DeserializeSeed<'de> for ValueOf<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueOf<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for `{}`", self.0.expected(), self.0)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        self.accept(text.into())
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        self.accept(value.into())
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Value, E> {
        self.accept(number.into())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Value, E> {
        self.accept(number.into())
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Value, E> {
        self.accept(number.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element::<String>()? {
            items.push(Value::String(item));
        }
        self.accept(Value::Array(items))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_part_may_have_a_dot_in_its_name() {
        let attribute: Attribute = "custom.a.b".parse().expect("it is an attribute");
        let user = json!({"custom": {"a.b": true}});

        assert!(attribute.equals(user.as_object().expect("an object"), &json!(true)));
    }

    #[test]
    fn an_environment_may_say_more_than_its_tier() {
        let region: Attribute = "statsigEnvironment.region".parse().expect("it is an attribute");
        let user = json!({"statsigEnvironment": {"tier": "staging", "region": 1}});

        assert!(region.accepts(&json!(1)) && !Attribute::Tier.accepts(&json!("prod")));
        assert!(region.equals(user.as_object().expect("an object"), &json!(1)));
    }

    #[test]
    fn what_the_api_lacks_is_refused_with_what_it_has() {
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

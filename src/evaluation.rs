//! What Statsig says about a gate or a config.

mod config_value;

use std::{any::type_name as rust_type, sync::Arc, time::Duration};

use serde::{
    Serialize, Serializer,
    de::{DeserializeOwned, Error as _},
    ser::SerializeStruct,
};
use serde_json::{Map, Value, value::RawValue};
use smol_str::SmolStr;

pub(crate) use self::config_value::ConfigValue;
use crate::{error::Error, json};

/// Where an evaluation came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// From Statsig, for this request or for one it was joined with.
    #[default]
    Network,
    /// Kept from an earlier answer, not longer than [`cache_ttl`](crate::Config::cache_ttl).
    Cache {
        /// The time since that answer, in whole milliseconds.
        age: Duration,
    },
    /// Kept for longer than that, and given because Statsig fails
    /// ([`stale_if_error`](crate::Config::stale_if_error)).
    Stale {
        /// The time since that answer, in whole milliseconds.
        age: Duration,
    },
}

/// [`Source`] in a third of its size: every waiter's evaluation has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Network,
    Cache { age_ms: u32 },
    Stale { age_ms: u32 },
}

impl From<Origin> for Source {
    fn from(origin: Origin) -> Self {
        let age = |ms: u32| Duration::from_millis(ms.into());
        match origin {
            Origin::Network => Self::Network,
            Origin::Cache { age_ms } => Self::Cache { age: age(age_ms) },
            Origin::Stale { age_ms } => Self::Stale { age: age(age_ms) },
        }
    }
}

/// A feature gate's evaluation for one user (`CheckGateResponse` of the API).
///
/// A clone shares what the server said; nothing is copied for each caller of a batch. Two are equal
/// when the server said the same, wherever they came from.
///
/// ```
/// use actix_statsig::GateEvaluation;
///
/// let gate = GateEvaluation::new("new_checkout", true).with_rule("2RamGs", "Test Group");
/// assert!(gate.value());
/// assert_eq!(gate.group_name(), Some("Test Group"));
/// ```
#[derive(Clone, Debug)]
pub struct GateEvaluation(Arc<Evaluated<bool>>, Origin);

/// A dynamic config's or experiment's evaluation for one user (`GetConfigResponse` of the API).
///
/// Its value is the JSON text that the server wrote, and the getters read from that text: no number
/// loses a digit, and keys keep their order. A clone shares the text.
///
/// Two are equal when the server said the same, wherever they came from. Values are compared as JSON:
/// the order of keys does not matter, and `1` equals `1.0`.
///
/// ```
/// use actix_statsig::ConfigEvaluation;
/// use serde_json::json;
///
/// let homepage = ConfigEvaluation::new("homepage", json!({"theme": "dark"}).as_object().cloned().unwrap());
/// assert_eq!(homepage.get::<String>("theme")?, "dark");
/// assert_eq!(homepage.get_or("columns", 3), 3);
/// # Ok::<(), actix_statsig::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ConfigEvaluation(Arc<Evaluated<ConfigValue>>, Origin);

#[derive(Clone, Debug, PartialEq)]
struct Evaluated<T> {
    name: Arc<str>,
    value: T,
    /// In place, for rules' ids and groups' names are nearly always short.
    rule_id: Option<SmolStr>,
    group_name: Option<SmolStr>,
}

impl<T> Evaluated<T> {
    fn ids_len(&self) -> usize {
        [&self.rule_id, &self.group_name].into_iter().flatten().map(SmolStr::len).sum()
    }
}

macro_rules! shared_parts {
    ($type:ident, $value:ty) => {
        impl $type {
            /// The same, decided by this rule and group.
            #[must_use]
            pub fn with_rule(self, rule_id: impl AsRef<str>, group_name: impl AsRef<str>) -> Self {
                let Evaluated { name, value, .. } = Arc::unwrap_or_clone(self.0);
                let (rule_id, group_name) = (rule_id.as_ref().into(), group_name.as_ref().into());
                Self::from_parts(name, value, Some(rule_id), Some(group_name))
            }

            pub(crate) fn from_parts(
                name: Arc<str>,
                value: $value,
                rule_id: Option<SmolStr>,
                group_name: Option<SmolStr>,
            ) -> Self {
                let evaluated = Evaluated { name, value, rule_id, group_name };
                Self(Arc::new(evaluated), Origin::Network)
            }

            /// The same evaluation, from elsewhere.
            pub(crate) fn with_origin(&self, origin: Origin) -> Self {
                Self(Arc::clone(&self.0), origin)
            }

            /// Where it came from.
            pub fn source(&self) -> Source {
                self.1.into()
            }

            /// The name that was asked for.
            pub fn name(&self) -> &str {
                &self.0.name
            }

            /// The id of the rule that decided, if one did.
            pub fn rule_id(&self) -> Option<&str> {
                self.0.rule_id.as_deref()
            }

            /// The name of the group the user fell into, if there is one.
            pub fn group_name(&self) -> Option<&str> {
                self.0.group_name.as_deref()
            }
        }

        impl PartialEq for $type {
            fn eq(&self, other: &Self) -> bool {
                self.0 == other.0
            }
        }
    };
}

shared_parts!(GateEvaluation, bool);
shared_parts!(ConfigEvaluation, ConfigValue);

impl GateEvaluation {
    /// An evaluation that no rule decided; for tests and scripted transports.
    pub fn new(name: impl Into<Arc<str>>, value: bool) -> Self {
        Self::from_parts(name.into(), value, None, None)
    }

    /// Whether the gate is open for the user. Statsig answers `false` for a gate it does not know.
    pub fn value(&self) -> bool {
        self.0.value
    }
}

impl ConfigEvaluation {
    /// An evaluation that no rule decided; for tests and scripted transports.
    pub fn new(name: impl Into<Arc<str>>, value: Map<String, Value>) -> Self {
        Self::from_parts(name.into(), ConfigValue::new(&value), None, None)
    }

    /// The same, with the JSON text of its value.
    ///
    /// # Errors
    /// If the text is not a JSON object, or has more than 126 levels of nesting.
    ///
    /// ```
    /// use actix_statsig::ConfigEvaluation;
    ///
    /// let limits = ConfigEvaluation::from_json("limits", r#"{"most": 12345678901234567890123}"#)?;
    /// assert_eq!(limits.get::<u128>("most")?, 12_345_678_901_234_567_890_123);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_json(name: impl Into<Arc<str>>, value: &str) -> Result<Self, serde_json::Error> {
        let value = json::replace_lone_surrogates(value);
        Ok(Self::from_parts(name.into(), serde_json::from_str(&value)?, None, None))
    }

    /// The whole value, a JSON object, as Statsig wrote it. It is `{}` for a config that Statsig does
    /// not know.
    ///
    /// [`RawValue::get`] is the text; as a field of a struct that is serialised it is written unchanged.
    /// [`deserialize`](Self::deserialize) reads it, as a `serde_json::Map` too.
    pub fn json(&self) -> &RawValue {
        &self.0.value
    }

    /// Whether the value has no key.
    #[cfg(feature = "open-feature")]
    pub(crate) fn is_empty(&self) -> bool {
        let text = self.0.value.get();
        text.strip_prefix('{').is_some_and(|text| text.trim_start() == "}")
    }

    /// The value of one key. Of a key that stands twice the last counts, as in JavaScript.
    ///
    /// A number that the type cannot hold is an error. `serde_json::value::RawValue` (boxed) holds all.
    ///
    /// # Errors
    /// [`Error::MissingKey`] if the config has no such key, [`Error::WrongType`] if it is of
    /// another type.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<T, Error> {
        let value = json::get(&self.0.value, key).ok_or_else(|| Error::MissingKey {
            config: self.0.name.clone(),
            key: beginning(key, KEY).to_owned(),
        })?;
        serde_json::from_str(value.get()).map_err(|source| {
            let at = format!("key `{}`", beginning(key, KEY));
            self.wrong_type::<T>(at, value, source)
        })
    }

    /// The value of one key, or the default where the key is missing or of another type. The
    /// latter, which is a mistake on one of the two sides, is logged as a warning.
    pub fn get_or<T: DeserializeOwned>(&self, key: &str, default: T) -> T {
        self.get(key).unwrap_or_else(|error| {
            if matches!(error, Error::WrongType { .. }) {
                tracing::warn!(%error, "a default stands in for a config's value");
            }
            default
        })
    }

    /// The whole value as a type of the app's.
    ///
    /// # Errors
    /// [`Error::WrongType`], whose source names the field that does not fit.
    ///
    /// ```
    /// # use actix_statsig::ConfigEvaluation;
    /// # use serde_json::json;
    /// #[derive(serde::Deserialize)]
    /// struct Homepage { theme: String }
    ///
    /// let config = ConfigEvaluation::new("homepage", json!({"theme": 1}).as_object().cloned().unwrap());
    /// let error = config.deserialize::<Homepage>().err().unwrap();
    /// assert!(error.to_string().starts_with("config \"homepage\", the whole value: found an object"));
    /// ```
    pub fn deserialize<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let value = &*self.0.value;
        serde_json::from_str(value.get())
            .map_err(|source| self.wrong_type::<T>("the whole value".to_owned(), value, source))
    }

    fn wrong_type<T>(&self, at: String, found: &RawValue, source: serde_json::Error) -> Error {
        Error::WrongType {
            config: self.0.name.clone(),
            at,
            found: json::type_name(found.get()),
            wanted: rust_type::<T>(),
            source: Arc::new(short(source)),
        }
    }
}

/// The most of a key that an error repeats, in bytes: an error may be kept, and keys come from anywhere.
const KEY: usize = 200;

/// What serde says quotes the value, which may be 2 MiB.
fn short(error: serde_json::Error) -> serde_json::Error {
    const LONGEST: usize = 1_000;
    let text = error.to_string();
    if text.len() <= LONGEST { error } else { serde_json::Error::custom(beginning(&text, LONGEST)) }
}

/// As many of the text's first bytes, and no part of a character.
pub(crate) fn beginning(text: &str, longest: usize) -> &str {
    let is_end = |at: &usize| text.is_char_boundary(*at);
    &text[..(0..=longest.min(text.len())).rev().find(is_end).unwrap_or(0)]
}

/// Writes the API's JSON form, `CheckGateResponse`.
impl Serialize for GateEvaluation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("GateEvaluation", 4)?;
        fields.serialize_field("name", &*self.0.name)?;
        fields.serialize_field("value", &self.0.value)?;
        fields.serialize_field("rule_id", &self.0.rule_id)?;
        fields.serialize_field("group_name", &self.0.group_name)?;
        fields.end()
    }
}

/// Writes the API's JSON form, `GetConfigResponse`, with the deprecated `group` (the rule id, or
/// the empty string).
impl Serialize for ConfigEvaluation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("ConfigEvaluation", 5)?;
        fields.serialize_field("name", &*self.0.name)?;
        fields.serialize_field("value", &self.0.value)?;
        fields.serialize_field("group", self.rule_id().unwrap_or_default())?;
        fields.serialize_field("rule_id", &self.0.rule_id)?;
        fields.serialize_field("group_name", &self.0.group_name)?;
        fields.end()
    }
}

/// Either kind: what travels through the batch, which treats both alike.
#[derive(Clone, Debug, PartialEq)]
pub enum Evaluation {
    /// Of a gate.
    Gate(GateEvaluation),
    /// Of a config.
    Config(ConfigEvaluation),
}

impl Evaluation {
    /// The same evaluation, from elsewhere.
    pub(crate) fn with_origin(&self, origin: Origin) -> Self {
        match self {
            Self::Gate(gate) => Self::Gate(gate.with_origin(origin)),
            Self::Config(config) => Self::Config(config.with_origin(origin)),
        }
    }

    pub(crate) fn origin(&self) -> Origin {
        match self {
            Self::Gate(gate) => gate.1,
            Self::Config(config) => config.1,
        }
    }

    /// A config's value.
    pub(crate) fn value(&self) -> Option<&ConfigValue> {
        match self {
            Self::Gate(_) => None,
            Self::Config(config) => Some(&config.0.value),
        }
    }

    /// A config's evaluation with another copy of its value.
    pub(crate) fn with_value(&self, value: ConfigValue) -> Self {
        match self {
            Self::Gate(gate) => gate.clone().into(),
            Self::Config(ConfigEvaluation(evaluated, origin)) => {
                let evaluated = Evaluated { value, ..Evaluated::clone(evaluated) };
                ConfigEvaluation(Arc::new(evaluated), *origin).into()
            }
        }
    }

    /// The bytes of all that the server may make as long as it likes.
    pub(crate) fn text_len(&self) -> usize {
        self.ids_len() + self.value().map_or(0, |value| value.get().len())
    }

    /// Where the larger part of it lies: a clone's is the same.
    pub(crate) fn address(&self) -> usize {
        match self {
            Self::Gate(gate) => Arc::as_ptr(&gate.0).addr(),
            // Equal values are one in the cache, whatever ids stand beside them.
            Self::Config(config) if config.0.value.get().len() > self.ids_len() => {
                config.0.value.get().as_ptr().addr()
            }
            Self::Config(config) => Arc::as_ptr(&config.0).addr(),
        }
    }

    /// The bytes of the rule's id and the group's name, which may be of any length.
    pub(crate) fn ids_len(&self) -> usize {
        match self {
            Self::Gate(gate) => gate.0.ids_len(),
            Self::Config(config) => config.0.ids_len(),
        }
    }
}

impl From<GateEvaluation> for Evaluation {
    fn from(gate: GateEvaluation) -> Self {
        Self::Gate(gate)
    }
}

impl From<ConfigEvaluation> for Evaluation {
    fn from(config: ConfigEvaluation) -> Self {
        Self::Config(config)
    }
}

impl TryFrom<Evaluation> for GateEvaluation {
    type Error = Error;

    fn try_from(evaluation: Evaluation) -> Result<Self, Error> {
        match evaluation {
            Evaluation::Gate(gate) => Ok(gate),
            Evaluation::Config(_) => Err(Error::Internal { detail: WRONG_KIND }),
        }
    }
}

impl TryFrom<Evaluation> for ConfigEvaluation {
    type Error = Error;

    fn try_from(evaluation: Evaluation) -> Result<Self, Error> {
        match evaluation {
            Evaluation::Config(config) => Ok(config),
            Evaluation::Gate(_) => Err(Error::Internal { detail: WRONG_KIND }),
        }
    }
}

const WRONG_KIND: &str = "an evaluation of the wrong kind, which only another transport can make";

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    fn config(value: Value) -> ConfigEvaluation {
        ConfigEvaluation::new("homepage", value.as_object().cloned().expect("an object"))
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Homepage {
        theme: String,
        columns: u8,
    }

    #[test]
    fn typed_getters_read_what_fits() {
        let homepage = config(json!({"theme": "dark", "columns": 3}));

        assert_eq!(homepage.get::<String>("theme").unwrap(), "dark");
        assert_eq!(homepage.get_or("columns", 1u8), 3);
        assert_eq!(homepage.get_or("rows", 2u8), 2);
        let whole: Homepage = homepage.deserialize().unwrap();
        assert_eq!(whole, Homepage { theme: "dark".into(), columns: 3 });
    }

    #[test]
    fn an_error_says_which_key_had_which_type() {
        let homepage = config(json!({"theme": 7}));

        let wrong = homepage.get::<String>("theme").unwrap_err().to_string();
        assert_eq!(
            wrong,
            "config \"homepage\", key `theme`: found a number, which is no alloc::string::String"
        );
        let missing = homepage.get::<u8>("columns").unwrap_err().to_string();
        assert_eq!(missing, "config \"homepage\" has no key \"columns\"");
        assert_eq!(homepage.get_or("theme", "light".to_owned()), "light");
        let whole = homepage.deserialize::<Homepage>().unwrap_err();
        let source = std::error::Error::source(&whole).unwrap().to_string();
        assert!(source.contains("expected a string"), "{source}");
    }

    #[test]
    fn error_is_short_however_long_the_key_and_the_value() {
        let key = "é".repeat(100_000);
        let homepage = config(json!({&key: "v".repeat(100_000)}));

        let wrong = homepage.get::<u8>(&key).unwrap_err();
        let source = std::error::Error::source(&wrong).unwrap().to_string();
        assert!(source.starts_with("invalid type: string \"vvv") && source.len() <= 1_000);
        for error in [wrong, homepage.get::<u8>(&key[2..]).unwrap_err()] {
            let text = error.to_string();
            assert!(text.contains("ééé") && text.len() < 400, "{text}");
        }
    }

    #[test]
    fn evaluations_are_written_in_the_apis_form() {
        let gate = GateEvaluation::new("beta", true).with_rule("r", "g");
        assert_eq!(
            serde_json::to_value(&gate).unwrap(),
            json!({"name": "beta", "value": true, "rule_id": "r", "group_name": "g"})
        );
        assert_eq!(
            serde_json::to_value(config(json!({}))).unwrap(),
            json!({"name": "homepage", "value": {}, "group": "", "rule_id": null, "group_name": null})
        );
    }
}

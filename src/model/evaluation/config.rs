//! A config's evaluation, and reading its value.

use std::{any::type_name, sync::Arc};

use serde::{
    Serialize, Serializer,
    de::{DeserializeOwned, Error as _},
    ser::SerializeStruct,
};
use serde_json::{Map, Value, value::RawValue};

use super::{ConfigEvaluation, ConfigValue};
use crate::model::{error::Error, json, text::beginning};

impl ConfigEvaluation {
    /// Makes an evaluation that no rule decided, for tests and for a transport of your own.
    pub fn new(name: impl Into<Arc<str>>, value: Map<String, Value>) -> Self {
        Self::from_parts(name.into(), ConfigValue::new(&value), None, None)
    }

    /// Makes an evaluation from the JSON text of its value.
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

    /// Returns the whole value, a JSON object, as Statsig wrote it. The value of an unknown config is `{}`.
    ///
    /// [`RawValue::get`] returns the text. A serialised struct with this field writes it unchanged.
    /// [`deserialize`](Self::deserialize) reads it into your type, or into a `serde_json::Map`.
    pub fn json(&self) -> &RawValue {
        &self.0.value
    }

    /// Whether the value has no key.
    #[cfg(feature = "open-feature")]
    pub(crate) fn is_empty(&self) -> bool {
        let text = self.0.value.get();
        text.strip_prefix('{').is_some_and(|text| text.trim_start() == "}")
    }

    /// Returns the value of one key. If the key is repeated, the last one counts, as in JavaScript.
    ///
    /// A number that does not fit the type is an error. `Box<serde_json::value::RawValue>` fits every
    /// value.
    ///
    /// # Errors
    /// [`Error::MissingKey`] if the config has no such key, [`Error::WrongType`] if its value has another
    /// type.
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

    /// Returns the value of one key, or the default if the key is missing or has another type. Another type
    /// is a mistake in the app or the config, and is logged as a warning.
    pub fn get_or<T: DeserializeOwned>(&self, key: &str, default: T) -> T {
        self.get(key).unwrap_or_else(|error| {
            if matches!(error, Error::WrongType { .. }) {
                tracing::warn!(%error, "a config's value has another type: the default is used");
            }
            default
        })
    }

    /// Returns the whole value as a type of the app.
    ///
    /// A derived struct refuses a repeated key, as serde does; a map takes the last value.
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
    /// assert!(error.to_string().starts_with("config \"homepage\", the whole value: expected Homepage"));
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
            expected: expected::<T>(),
            source: Arc::new(short(source)),
        }
    }
}

/// Names a Rust type for an error. Types without parameters are named without their modules.
fn expected<T>() -> &'static str {
    match type_name::<T>() {
        "alloc::string::String" | "alloc::sync::Arc<str>" | "alloc::boxed::Box<str>" => "a string",
        "bool" => "a boolean",
        name if name.contains(['<', '[', '(', '&']) => name,
        name => name.rsplit_once("::").map_or(name, |(_, last)| last),
    }
}

/// The most bytes of a key that an error repeats: errors may be stored, and a key may be long.
const KEY: usize = 200;

/// Shortens serde's error, which quotes the value: that may have 2 MiB.
fn short(error: serde_json::Error) -> serde_json::Error {
    const LONGEST: usize = 1_000;
    let text = error.to_string();
    if text.len() <= LONGEST { error } else { serde_json::Error::custom(beginning(&text, LONGEST)) }
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
    fn error_names_the_key_and_its_type() {
        let homepage = config(json!({"theme": 7}));

        let wrong = homepage.get::<String>("theme").unwrap_err().to_string();
        assert_eq!(wrong, "config \"homepage\", key `theme`: expected a string, found a number");
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
}

//! A config's value: the text of a JSON object, as it was received.

use std::{ops::Deref, sync::Arc};

use serde::{
    Deserialize, Serialize, Serializer,
    de::{Deserializer, Error as _},
};
use serde_json::{Map, Value, value::RawValue};

use crate::model::json;

/// The text of a JSON object. A clone shares it.
///
/// A parsed value takes about 16 times the memory of its text, and loses numbers beyond 64 bits and
/// the order of keys. Two values are equal if their texts are the same JSON value, however each is
/// written.
#[derive(Clone, Debug)]
pub(crate) struct ConfigValue(Arc<RawValue>);

impl ConfigValue {
    pub(crate) fn new(value: &Map<String, Value>) -> Self {
        let text = serde_json::value::to_raw_value(value).expect("keys are strings");
        Self(text.into())
    }

    /// Returns the text if it is an object that any JSON reader can read.
    fn read(text: &RawValue) -> Result<Self, &'static str> {
        if !text.get().starts_with('{') {
            return Err("expected a map as a config's value");
        }
        if json::depth(text.get()) > MAX_DEPTH {
            return Err("recursion limit exceeded in a config's value");
        }
        Ok(Self(text.to_owned().into()))
    }
}

/// The maximum nesting of a value: serde_json reads no deeper value within an answer.
const MAX_DEPTH: usize = 126;

impl Deref for ConfigValue {
    type Target = RawValue;

    fn deref(&self) -> &RawValue {
        &self.0
    }
}

impl PartialEq for ConfigValue {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || json::is_same(self.get(), other.get())
    }
}

impl<'de> Deserialize<'de> for ConfigValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::read(<&RawValue>::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl Serialize for ConfigValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

//! What the API allows in a user's fields. Pure.

use serde_json::{Map, Value};

use super::Tier;
use crate::error::Error;

/// The deepest user the component takes: a part of a request, whose readers have limits, and written
/// and read by code that calls itself for each level.
pub(super) const MAX_DEPTH: usize = 64;

pub(super) const PRIVATE: &str = "privateAttributes";

/// The API's rule for a field of this name.
pub(super) fn check(field: &str, value: &Value) -> Result<(), Error> {
    match field {
        "country" => match value.as_str() {
            Some(c) if c.len() == 2 && c.bytes().all(|b| b.is_ascii_alphabetic()) => Ok(()),
            _ => Err(invalid(field, "must be two letters")),
        },
        "userID" | "email" | "ip" | "userAgent" | "locale" | "appVersion" => {
            require(value.is_string(), field, "must be a string")
        }
        "custom" | PRIVATE => entries(field, value)?.try_for_each(|(key, value)| {
            let rule = "must be a string, a finite number, a boolean or a list of strings";
            require(is_attribute(value), &format!("{field}.{key}"), rule)
        }),
        "customIDs" => entries(field, value)?.try_for_each(|(key, value)| {
            require(value.is_string(), &format!("{field}.{key}"), "must be a string")
        }),
        "statsigEnvironment" => entries(field, value)?.try_for_each(|(key, value)| {
            let known = key != "tier" || Tier::ALL.iter().any(|tier| value == tier.as_str());
            let rule = "must be production, staging or development";
            require(known, &format!("{field}.{key}"), rule)
        }),
        _ => Ok(()),
    }
}

pub(super) fn is_deeper(value: &Value, depth: usize) -> bool {
    let below = |value| is_deeper(value, depth - 1);
    match value {
        Value::Array(list) => depth == 0 || list.iter().any(below),
        Value::Object(object) => depth == 0 || object.values().any(below),
        _ => false,
    }
}

fn entries<'a>(
    field: &str,
    value: &'a Value,
) -> Result<impl Iterator<Item = (&'a String, &'a Value)>, Error> {
    match value {
        Value::Object(object) => Ok(object.iter()),
        _ => Err(invalid(field, "must be an object")),
    }
}

fn is_attribute(value: &Value) -> bool {
    match value {
        Value::String(_) | Value::Number(_) | Value::Bool(_) => true,
        Value::Array(list) => list.iter().all(Value::is_string),
        Value::Null | Value::Object(_) => false,
    }
}

pub(super) fn is_identified(fields: &Map<String, Value>) -> bool {
    let is_id = |value: &Value| value.as_str().is_some_and(|id| !id.is_empty());
    let custom_ids = fields.get("customIDs").and_then(Value::as_object);
    fields.get("userID").is_some_and(is_id) || custom_ids.is_some_and(|ids| ids.values().any(is_id))
}

pub(super) fn require(holds: bool, field: &str, rule: &'static str) -> Result<(), Error> {
    if holds { Ok(()) } else { Err(invalid(field, rule)) }
}

/// The error of a field, which names it by its beginning if it is long.
pub(crate) fn invalid(field: &str, rule: &'static str) -> Error {
    Error::InvalidUser { field: field.chars().take(MAX_FIELD).collect(), rule }
}

/// The longest part of a field's name that goes into an error, in characters.
const MAX_FIELD: usize = 100;

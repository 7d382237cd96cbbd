//! An evaluation context as a user.

use std::any::Any;

use open_feature::{
    EvaluationContext, EvaluationContextFieldValue as Field, StructValue, Value as FlagValue,
};
use serde_json::{Map, Number, Value};
use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};

use crate::{
    error::Error,
    user::{User, invalid},
};

/// The attributes that are fields of the user; every other is one of its `custom` attributes.
const FIELDS: [&str; 10] = [
    "email",
    "ip",
    "userAgent",
    "country",
    "locale",
    "appVersion",
    CUSTOM,
    "privateAttributes",
    "customIDs",
    "statsigEnvironment",
];

const CUSTOM: &str = "custom";

/// # Errors
/// [`Error::InvalidUser`]: of the field `userID` if nobody is named, and of no other.
pub(super) fn user(context: &EvaluationContext) -> Result<User, Error> {
    let (mut fields, mut custom) = (Map::new(), Map::new());
    for (name, value) in &context.custom_fields {
        let is_field = FIELDS.contains(&name.as_str());
        let value = json(value).map_err(|rule| {
            let field = if is_field { name.clone() } else { format!("{CUSTOM}.{name}") };
            invalid(&field, rule)
        })?;
        let attributes = if is_field { &mut fields } else { &mut custom };
        attributes.insert(name.clone(), value);
    }
    add_custom(&mut fields, custom);
    if let Some(key) = context.targeting_key.as_ref().filter(|key| !key.is_empty()) {
        fields.insert("userID".to_owned(), Value::from(key.as_str()));
    }
    User::from_json(Value::Object(fields))
}

/// Adds attributes to what there may be already as a struct; where both have one, these count.
fn add_custom(fields: &mut Map<String, Value>, custom: Map<String, Value>) {
    if custom.is_empty() {
        return;
    }
    match fields.get_mut(CUSTOM) {
        Some(Value::Object(attributes)) => attributes.extend(custom),
        None | Some(Value::Null) => {
            fields.insert(CUSTOM.to_owned(), Value::Object(custom));
        }
        // Is refused with the user.
        Some(_) => {}
    }
}

fn json(field: &Field) -> Result<Value, &'static str> {
    match field {
        Field::Bool(value) => Ok(Value::from(*value)),
        Field::Int(value) => Ok(Value::from(*value)),
        Field::Float(value) => {
            Number::from_f64(*value).map(Value::Number).ok_or("must be a finite number")
        }
        Field::String(value) => Ok(Value::from(value.as_str())),
        Field::DateTime(value) => {
            timestamp(*value).map(Value::String).ok_or("must be a date of the years 0 to 9999")
        }
        Field::Struct(value) => structure(&**value)
            .ok_or("must be a StructValue, a Value of the SDK or of serde_json, or a Vec<String>"),
    }
}

/// In UTC, so that the same moment makes the same user.
fn timestamp(moment: OffsetDateTime) -> Option<String> {
    moment.checked_to_offset(UtcOffset::UTC)?.format(&Rfc3339).ok()
}

fn structure(value: &(dyn Any + Send + Sync)) -> Option<Value> {
    if let Some(value) = value.downcast_ref::<StructValue>() {
        Some(object(value))
    } else if let Some(value) = value.downcast_ref::<FlagValue>() {
        Some(from_flag_value(value))
    } else if let Some(value) = value.downcast_ref::<Value>() {
        Some(value.clone())
    } else if let Some(value) = value.downcast_ref::<Map<String, Value>>() {
        Some(Value::Object(value.clone()))
    } else {
        value.downcast_ref::<Vec<String>>().map(|list| Value::from(list.as_slice()))
    }
}

fn object(value: &StructValue) -> Value {
    value.fields.iter().map(|(key, value)| (key.clone(), from_flag_value(value))).collect()
}

fn from_flag_value(value: &FlagValue) -> Value {
    match value {
        FlagValue::Bool(value) => Value::from(*value),
        FlagValue::Int(value) => Value::from(*value),
        FlagValue::Float(value) => Value::from(*value),
        FlagValue::String(value) => Value::from(value.as_str()),
        FlagValue::Array(list) => list.iter().map(from_flag_value).collect(),
        FlagValue::Struct(value) => object(value),
    }
}

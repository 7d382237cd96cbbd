//! Converts an evaluation context into a user.

use std::any::Any;

use open_feature::{
    EvaluationContext, EvaluationContextFieldValue as Field, StructValue, Value as FlagValue,
};
use serde_json::{Map, Number, Value};
use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};

use crate::model::{
    error::Error,
    user::{CUSTOM, User, invalid, is_field},
};

/// Converts a context into a user.
///
/// # Errors
/// [`Error::InvalidUser`]. It names the field `userID` only if the user has no id.
pub(super) fn user(context: &EvaluationContext) -> Result<User, Error> {
    let (mut fields, mut custom) = (Map::new(), Map::new());
    for (name, value) in &context.custom_fields {
        // An attribute that is not a field becomes an entry of the user's `custom`.
        let is_field = is_field(name);
        let path = || if is_field { name.clone() } else { format!("{CUSTOM}.{name}") };
        let value = json(value, &path)?;
        let attributes = if is_field { &mut fields } else { &mut custom };
        attributes.insert(name.clone(), value);
    }
    add_custom(&mut fields, custom);
    if let Some(key) = context.targeting_key.as_ref().filter(|key| !key.is_empty()) {
        fields.insert("userID".to_owned(), Value::from(key.as_str()));
    }
    User::from_json(Value::Object(fields))
}

/// Adds attributes to the struct `custom` of the context, if any, and replaces those with equal names.
fn add_custom(fields: &mut Map<String, Value>, custom: Map<String, Value>) {
    if custom.is_empty() {
        return;
    }
    match fields.get_mut(CUSTOM) {
        Some(Value::Object(attributes)) => attributes.extend(custom),
        None | Some(Value::Null) => {
            fields.insert(CUSTOM.to_owned(), Value::Object(custom));
        }
        // Building the user refuses this value.
        Some(_) => {}
    }
}

/// Returns the path of a field in the user, for an error.
type FieldPath<'a> = &'a dyn Fn() -> String;

fn json(field: &Field, path: FieldPath<'_>) -> Result<Value, Error> {
    match field {
        Field::Bool(value) => Ok(Value::from(*value)),
        Field::Int(value) => Ok(Value::from(*value)),
        Field::Float(value) => number(*value, path),
        Field::String(value) => Ok(Value::from(value.as_str())),
        Field::DateTime(value) => timestamp(*value)
            .map(Value::String)
            .ok_or_else(|| invalid(&path(), "must be a date of the years 0 to 9999")),
        Field::Struct(value) => structure(&**value, path),
    }
}

fn number(value: f64, path: FieldPath<'_>) -> Result<Value, Error> {
    let number = Number::from_f64(value).map(Value::Number);
    number.ok_or_else(|| invalid(&path(), "must be a finite number"))
}

/// Formats a moment in UTC, so that equal moments make equal users.
fn timestamp(moment: OffsetDateTime) -> Option<String> {
    moment.checked_to_offset(UtcOffset::UTC)?.format(&Rfc3339).ok()
}

fn structure(value: &(dyn Any + Send + Sync), path: FieldPath<'_>) -> Result<Value, Error> {
    if let Some(value) = value.downcast_ref::<StructValue>() {
        object(value, path)
    } else if let Some(value) = value.downcast_ref::<FlagValue>() {
        from_flag_value(value, path)
    } else if let Some(value) = value.downcast_ref::<Value>() {
        Ok(value.clone())
    } else if let Some(value) = value.downcast_ref::<Map<String, Value>>() {
        Ok(Value::Object(value.clone()))
    } else if let Some(list) = value.downcast_ref::<Vec<String>>() {
        Ok(Value::from(list.as_slice()))
    } else {
        let rule = "must be a StructValue, a Value of the SDK or of serde_json, or a Vec<String>";
        Err(invalid(&path(), rule))
    }
}

fn object(value: &StructValue, path: FieldPath<'_>) -> Result<Value, Error> {
    let fields = value.fields.iter().map(|(key, value)| {
        let path = || format!("{}.{key}", path());
        Ok((key.clone(), from_flag_value(value, &path)?))
    });
    fields.collect()
}

fn from_flag_value(value: &FlagValue, path: FieldPath<'_>) -> Result<Value, Error> {
    match value {
        FlagValue::Bool(value) => Ok(Value::from(*value)),
        FlagValue::Int(value) => Ok(Value::from(*value)),
        FlagValue::Float(value) => number(*value, path),
        FlagValue::String(value) => Ok(Value::from(value.as_str())),
        FlagValue::Array(list) => list.iter().map(|value| from_flag_value(value, path)).collect(),
        FlagValue::Struct(value) => object(value, path),
    }
}

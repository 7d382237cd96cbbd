//! The rules for a user's fields. Pure.
//!
//! A field that Statsig may evaluate is sent: a bad user fails only its own calls. A field that Statsig
//! certainly refuses is refused here, because Statsig's refusal would seem to concern the names.

use std::mem;

use crate::model::{
    error::Error,
    json::{Fields, Node, sort},
    text::beginning,
};

/// The maximum nesting of a user. Readers of requests limit nesting, and recursive code reads and
/// writes users.
pub(super) const MAX_DEPTH: usize = 64;

pub(super) const PRIVATE: &str = "privateAttributes";

pub(super) const ENVIRONMENT: &str = "statsigEnvironment";

pub(crate) const CUSTOM: &str = "custom";

const CUSTOM_IDS: &str = "customIDs";

const USER_ID: &str = "userID";

/// The fields with a single value, except the user id.
const TEXT_FIELDS: [&str; 6] = ["email", "ip", "userAgent", "country", "locale", "appVersion"];

/// Returns whether the API has a field of this name, other than the user id.
#[cfg(feature = "open-feature")]
pub(crate) fn is_field(name: &str) -> bool {
    TEXT_FIELDS.contains(&name) || [CUSTOM, PRIVATE, CUSTOM_IDS, ENVIRONMENT].contains(&name)
}

/// Normalizes the fields for comparison and sending: keys sorted, no repeated keys, no nulls,
/// integer ids as strings. Returns an error for the first field that breaks a rule.
pub(super) fn normalize(fields: &mut Fields<'_>) -> Result<(), Error> {
    sort_without_nulls(fields);
    let mut is_identified = false;
    for (field, node) in &mut *fields {
        match &**field {
            USER_ID => is_identified |= normalize_id(node).ok_or_else(|| id_type_error(USER_ID))?,
            text if TEXT_FIELDS.contains(&text) => {
                let is_scalar = matches!(node, Node::String(_) | Node::Number(_) | Node::Bool(_));
                require(is_scalar, field, "must be a string, a number or a boolean")?;
            }
            CUSTOM | PRIVATE => {
                entries(field, node)?.iter_mut().for_each(|(_, node)| node.normalize());
            }
            CUSTOM_IDS => {
                for (key, node) in entries(field, node)? {
                    let id_error = || id_type_error(&format!("{CUSTOM_IDS}.{key}"));
                    is_identified |= normalize_id(node).ok_or_else(id_error)?;
                }
            }
            ENVIRONMENT => {
                for (key, node) in entries(field, node)? {
                    let is_fit = key != "tier" || matches!(node, Node::String(_));
                    require(is_fit, "statsigEnvironment.tier", "must be a string")?;
                    node.normalize();
                }
            }
            _ => node.normalize(),
        }
    }
    if !fields.iter().any(|(field, _)| field == USER_ID)
        && let Some((field, _)) = fields.iter().find(|(field, _)| is_misspelt_user_id(field))
    {
        return Err(invalid(field, "must be spelt `userID`"));
    }
    require(is_identified, USER_ID, "must not be empty unless a custom id is given")
}

fn entries<'a, 'b>(field: &str, node: &'a mut Node<'b>) -> Result<&'a mut Fields<'b>, Error> {
    let Node::Object(entries) = node else { return Err(invalid(field, "must be an object")) };
    sort_without_nulls(entries);
    Ok(entries)
}

fn sort_without_nulls(fields: &mut Fields<'_>) {
    sort(fields);
    fields.retain(|(_, node)| *node != Node::Null);
}

/// Turns an integer id into a string. Returns whether the id is not empty; `None` if the type
/// cannot be an id.
fn normalize_id(node: &mut Node<'_>) -> Option<bool> {
    match node {
        Node::String(id) => Some(!id.is_empty()),
        // As JavaScript writes negative zero.
        Node::Number(number) if number == "-0" => {
            *node = Node::String("0".into());
            Some(true)
        }
        Node::Number(number) => {
            if is_integer(number) {
                *node = Node::String(mem::take(number));
            }
            Some(true)
        }
        _ => None,
    }
}

fn id_type_error(field: &str) -> Error {
    invalid(field, "must be a string or a number")
}

fn is_integer(number: &str) -> bool {
    number.strip_prefix('-').unwrap_or(number).bytes().all(|byte| byte.is_ascii_digit())
}

/// `userId`, `user_id`, `UserID` and so on.
fn is_misspelt_user_id(field: &str) -> bool {
    let letters = field.bytes().filter(|byte| !matches!(byte, b'_' | b'-' | b' '));
    letters.map(|byte| byte.to_ascii_lowercase()).eq(*b"userid")
}

fn require(holds: bool, field: &str, rule: &'static str) -> Result<(), Error> {
    if holds { Ok(()) } else { Err(invalid(field, rule)) }
}

/// Makes the error of a field, with at most the first 100 bytes of its name.
pub(crate) fn invalid(field: &str, rule: &'static str) -> Error {
    Error::InvalidUser { field: beginning(field, MAX_FIELD).to_owned(), rule }
}

/// The maximum bytes of a field's name in an error.
const MAX_FIELD: usize = 100;

//! What a user's fields may be. Pure.
//!
//! What Statsig may evaluate is passed on: a user breaks no call but its own. Refused is what Statsig
//! surely refuses, for then its names would seem to be at fault.

use std::mem;

use crate::model::{
    error::Error,
    json::{Fields, Node, sort},
};

/// The deepest user the component takes: a part of a request, whose readers have limits, and written
/// and read by code that calls itself for each level.
pub(super) const MAX_DEPTH: usize = 64;

pub(super) const PRIVATE: &str = "privateAttributes";

pub(super) const ENVIRONMENT: &str = "statsigEnvironment";

pub(crate) const CUSTOM: &str = "custom";

const CUSTOM_IDS: &str = "customIDs";

const USER_ID: &str = "userID";

/// The fields that hold one text, besides the id.
const TEXT_FIELDS: [&str; 6] = ["email", "ip", "userAgent", "country", "locale", "appVersion"];

/// Whether this is one of the API's fields, other than the user id.
#[cfg(feature = "open-feature")]
pub(crate) fn is_field(name: &str) -> bool {
    TEXT_FIELDS.contains(&name) || [CUSTOM, PRIVATE, CUSTOM_IDS, ENVIRONMENT].contains(&name)
}

/// Puts the fields into the form that is compared and sent, or says which of them cannot be: keys in
/// order, each there once, none that is null, ids as strings.
pub(super) fn settle(fields: &mut Fields<'_>) -> Result<(), Error> {
    sort_without_nulls(fields);
    let mut is_identified = false;
    for (field, node) in &mut *fields {
        match &**field {
            USER_ID => is_identified |= settle_id(node).ok_or_else(|| no_id(USER_ID))?,
            text if TEXT_FIELDS.contains(&text) => {
                let is_scalar = matches!(node, Node::String(_) | Node::Number(_) | Node::Bool(_));
                require(is_scalar, field, "must be a string, a number or a boolean")?;
            }
            CUSTOM | PRIVATE => {
                entries(field, node)?.iter_mut().for_each(|(_, node)| node.settle());
            }
            CUSTOM_IDS => {
                for (key, node) in entries(field, node)? {
                    let no_id = || no_id(&format!("{CUSTOM_IDS}.{key}"));
                    is_identified |= settle_id(node).ok_or_else(no_id)?;
                }
            }
            ENVIRONMENT => {
                for (key, node) in entries(field, node)? {
                    let is_fit = key != "tier" || matches!(node, Node::String(_));
                    require(is_fit, "statsigEnvironment.tier", "must be a string")?;
                    node.settle();
                }
            }
            _ => node.settle(),
        }
    }
    if !fields.iter().any(|(field, _)| field == USER_ID)
        && let Some((field, _)) = fields.iter().find(|(field, _)| is_misspelt_user_id(field))
    {
        return Err(invalid(field, "must be spelt `userID`"));
    }
    require(is_identified, USER_ID, "must not be empty where no custom id is given")
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

/// Makes a string of an id that is an integer. Says whether it identifies anybody, unless it cannot
/// be an id.
fn settle_id(node: &mut Node<'_>) -> Option<bool> {
    match node {
        Node::String(id) => Some(!id.is_empty()),
        // As JavaScript writes it.
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

fn no_id(field: &str) -> Error {
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

/// The error of a field, which names it by its beginning if it is long.
pub(crate) fn invalid(field: &str, rule: &'static str) -> Error {
    Error::InvalidUser { field: field.chars().take(MAX_FIELD).collect(), rule }
}

/// The longest part of a field's name that goes into an error, in characters.
const MAX_FIELD: usize = 100;

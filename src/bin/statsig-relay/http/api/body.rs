//! Parses a request's body into a message to the component.
//!
//! A message borrows nothing from the body. No limit covers the text of a decompressed body, so
//! drop the text before asking Statsig.

use std::{borrow::Cow, fmt, marker::PhantomData};

use actix_statsig::{CheckGates, GetConfigs, User};
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::{error::Category, value::RawValue};

use crate::http::problem::Problem;

pub(super) const GATE_NAME: &str = "gateName";
pub(super) const CONFIG_NAME: &str = "configName";
const GATE_NAMES: &str = "gateNames";
const USER: &str = "user";
const METADATA: &str = "statsigMetadata";
const EXPOSURE_DISABLED: &str = "exposureLoggingDisabled";

/// The fields that are read, of a body and of its metadata.
const FIELDS: [&str; 6] = [GATE_NAME, GATE_NAMES, CONFIG_NAME, USER, METADATA, EXPOSURE_DISABLED];

/// The most names in one request, by the API document.
const MAX_NAMES: usize = 100;

/// Parses a body of `check_gate`. Also returns which field has the names.
pub(super) fn parse_gates(text: &str) -> Result<(&'static str, CheckGates), Problem> {
    let body = Body::parse(text)?;
    let (field, names) = match (body.name(GATE_NAME)?, body.names(GATE_NAMES)?) {
        (Some(name), None) => (GATE_NAME, vec![name]),
        (None, Some(names)) => (GATE_NAMES, names),
        (None, None) => return Err(Problem::bad_request("gateName or gateNames is missing")),
        (Some(_), Some(_)) => {
            return Err(Problem::bad_request("send gateName or gateNames, not both"));
        }
    };
    let exposure = body.exposure()?;
    let message = CheckGates::new(body.user()?, names);
    Ok((
        field,
        match exposure {
            None => message,
            Some(true) => message.with_exposure(),
            Some(false) => message.without_exposure(),
        },
    ))
}

/// Parses a body of `get_config`.
pub(super) fn parse_config(text: &str) -> Result<GetConfigs, Problem> {
    let body = Body::parse(text)?;
    let missing = || Problem::bad_request("configName is missing");
    let name = body.name(CONFIG_NAME)?.ok_or_else(missing)?;
    let exposure = body.exposure()?;
    let message = GetConfigs::new(body.user()?, [name]);
    Ok(match exposure {
        None => message,
        Some(true) => message.with_exposure(),
        Some(false) => message.without_exposure(),
    })
}

/// The values of [`FIELDS`], as raw text, because a number may have any length. If a field is
/// repeated, the last one wins.
#[derive(Default)]
struct Body<'a>([Option<&'a RawValue>; FIELDS.len()]);

impl<'a> Body<'a> {
    fn parse(text: &'a str) -> Result<Self, Problem> {
        serde_json::from_str(text).map_err(|error| match error.classify() {
            Category::Data => Problem::bad_request("the body must be an object"),
            _ => Problem::not_json(&error),
        })
    }

    /// Returns a field, unless it is `null`.
    fn raw(&self, field: &str) -> Option<&'a RawValue> {
        let at = FIELDS.iter().position(|name| *name == field)?;
        self.0[at].filter(|value| value.get() != "null")
    }

    fn text(&self, field: &str) -> Option<&'a str> {
        self.raw(field).map(RawValue::get)
    }

    fn name(&self, field: &str) -> Result<Option<String>, Problem> {
        let name = self.text(field).map(serde_json::from_str).transpose();
        name.map_err(|_| Problem::bad_request(format!("{field} must be a string")))
    }

    fn names(&self, field: &str) -> Result<Option<Vec<String>>, Problem> {
        let Some(text) = self.text(field) else { return Ok(None) };
        let names = serde_json::from_str::<Vec<String>>(text).ok();
        let names = names.filter(|names| (1..=MAX_NAMES).contains(&names.len()));
        let rule = || Problem::bad_request(format!("{field} must be a list of 1 to 100 strings"));
        names.ok_or_else(rule).map(Some)
    }

    fn user(&self) -> Result<User, Problem> {
        let missing = || Problem::bad_request("user is missing");
        Ok(User::try_from(self.raw(USER).ok_or_else(missing)?)?)
    }

    /// Returns whether Statsig logs exposures; `None` leaves that to the configuration.
    fn exposure(&self) -> Result<Option<bool>, Problem> {
        let Some(metadata) = self.text(METADATA) else { return Ok(None) };
        let metadata = serde_json::from_str::<Body<'_>>(metadata);
        let metadata =
            metadata.map_err(|_| Problem::bad_request("statsigMetadata must be an object"))?;
        match metadata.text(EXPOSURE_DISABLED) {
            None => Ok(None),
            Some("true") => Ok(Some(false)),
            Some("false") => Ok(Some(true)),
            Some(_) => Err(Problem::bad_request(
                "statsigMetadata.exposureLoggingDisabled must be a boolean",
            )),
        }
    }
}

/// Not derived, because a derived implementation accepts arrays and refuses repeated fields. A map
/// would keep every key that a client makes up.
impl<'de: 'a, 'a> Deserialize<'de> for Body<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(BodyVisitor(PhantomData))
    }
}

struct BodyVisitor<'a>(PhantomData<&'a ()>);

impl<'de: 'a, 'a> Visitor<'de> for BodyVisitor<'a> {
    type Value = Body<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut body = Body::default();
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            match FIELDS.iter().position(|name| *name == key) {
                Some(at) => body.0[at] = Some(map.next_value()?),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(body)
    }
}

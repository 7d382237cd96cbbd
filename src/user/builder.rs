//! Setting a user's fields one by one.

use std::fmt;

use serde_json::{Map, Value};

use super::{User, fields::PRIVATE};
use crate::error::Error;

/// Sets the fields of a [`User`]; nothing is checked before [`build`](Self::build).
#[derive(Clone, Default)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct UserBuilder {
    fields: Map<String, Value>,
}

impl UserBuilder {
    /// `userID`: the primary identifier.
    pub fn user_id(self, user_id: impl Into<String>) -> Self {
        self.field("userID", user_id.into())
    }

    /// `email`.
    pub fn email(self, email: impl Into<String>) -> Self {
        self.field("email", email.into())
    }

    /// `ip`: the address that geographical rules look at.
    pub fn ip(self, ip: impl Into<String>) -> Self {
        self.field("ip", ip.into())
    }

    /// `userAgent`: what device and browser rules look at.
    pub fn user_agent(self, user_agent: impl Into<String>) -> Self {
        self.field("userAgent", user_agent.into())
    }

    /// `country`: two letters (ISO 3166-1 alpha-2).
    pub fn country(self, country: impl Into<String>) -> Self {
        self.field("country", country.into())
    }

    /// `locale`, for example `en_US`.
    pub fn locale(self, locale: impl Into<String>) -> Self {
        self.field("locale", locale.into())
    }

    /// `appVersion`, for example `1.2.3`.
    pub fn app_version(self, app_version: impl Into<String>) -> Self {
        self.field("appVersion", app_version.into())
    }

    /// One attribute of `custom`; a later value for the same key replaces the earlier.
    pub fn custom(self, key: impl Into<String>, value: impl Into<Attribute>) -> Self {
        self.entry("custom", key.into(), value.into().0)
    }

    /// One attribute of `privateAttributes`: used in the evaluation, logged neither by Statsig nor
    /// by this crate.
    pub fn private_attribute(self, key: impl Into<String>, value: impl Into<Attribute>) -> Self {
        self.entry(PRIVATE, key.into(), value.into().0)
    }

    /// One identifier of `customIDs`, for example `companyID`.
    pub fn custom_id(self, key: impl Into<String>, id: impl Into<String>) -> Self {
        self.entry("customIDs", key.into(), Value::from(id.into()))
    }

    /// `statsigEnvironment.tier`.
    pub fn environment(self, tier: Tier) -> Self {
        self.entry("statsigEnvironment", "tier".to_owned(), Value::from(tier.as_str()))
    }

    /// Checks every field and makes the user.
    ///
    /// # Errors
    /// [`Error::InvalidUser`] for the first field that breaks a rule of the API: an identifier is
    /// needed (a user id or a custom id that is not empty), a country has two letters, an attribute
    /// is a string, a finite number, a boolean or a list of strings. The whole user has at most
    /// 64 KiB as JSON and 64 levels of nesting.
    pub fn build(self) -> Result<User, Error> {
        User::from_fields(self.fields)
    }

    fn field(mut self, field: &'static str, value: String) -> Self {
        self.fields.insert(field.to_owned(), Value::from(value));
        self
    }

    fn entry(mut self, field: &'static str, key: String, value: Value) -> Self {
        let object = self.fields.entry(field).or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(object) = object {
            object.insert(key, value);
        }
        self
    }
}

/// Shows which fields are set, not what they hold.
impl fmt::Debug for UserBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.fields.keys()).finish()
    }
}

/// A value of `custom` or `privateAttributes`: a string, a number, a boolean or a list of strings.
///
/// Made with `into()` from any of these. A number that is not finite is refused when the user is
/// built.
#[derive(Clone, PartialEq)]
pub struct Attribute(Value);

macro_rules! attribute_from {
    ($($from:ty),*) => {$(
        impl From<$from> for Attribute {
            fn from(value: $from) -> Self {
                Self(Value::from(value))
            }
        }
    )*};
}

attribute_from!(&str, String, bool, i32, i64, u32, u64, f64, Vec<String>, Vec<&str>, &[&str]);

impl<const N: usize> From<[&str; N]> for Attribute {
    fn from(list: [&str; N]) -> Self {
        Self::from(&list[..])
    }
}

/// Shows the type only: the value may be private.
impl fmt::Debug for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Attribute({})", crate::evaluation::type_name(&self.0))
    }
}

/// The environment's tier: `statsigEnvironment.tier` of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tier {
    /// `production`
    Production,
    /// `staging`
    Staging,
    /// `development`
    Development,
}

impl Tier {
    pub(super) const ALL: [Self; 3] = [Self::Production, Self::Staging, Self::Development];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Production => "production",
            Self::Staging => "staging",
            Self::Development => "development",
        }
    }
}

//! The builder of users.

use std::{collections::BTreeSet, fmt};

use super::{
    Tier, User,
    fields::{ENVIRONMENT, PRIVATE, invalid},
};
use crate::model::{
    error::Error,
    json::{Fields, Node},
};

/// Sets the fields of a [`User`]. [`build`](Self::build) checks them.
#[derive(Clone, Default)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct UserBuilder {
    fields: Fields<'static>,
    /// The error of the first value that is not valid.
    refused: Option<Error>,
    /// Whether the user agent and the locale come from a request's headers.
    has_headers: bool,
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

    /// `ip`: the address for geographical rules.
    pub fn ip(self, ip: impl Into<String>) -> Self {
        self.field("ip", ip.into())
    }

    /// `userAgent`: for device and browser rules.
    pub fn user_agent(self, user_agent: impl Into<String>) -> Self {
        self.field("userAgent", user_agent.into())
    }

    /// `country`, for example `NL`: Statsig's rules compare it with two letters (ISO 3166-1 alpha-2).
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

    /// One attribute of `custom`; a later value for the same key replaces the earlier one.
    pub fn custom(self, key: impl Into<String>, value: impl Into<Attribute>) -> Self {
        self.attribute("custom", key.into(), value.into())
    }

    /// One attribute of `privateAttributes`: used in the evaluation, logged neither by Statsig nor
    /// by this crate.
    pub fn private_attribute(self, key: impl Into<String>, value: impl Into<Attribute>) -> Self {
        self.attribute(PRIVATE, key.into(), value.into())
    }

    /// One identifier of `customIDs`, for example `companyID`.
    pub fn custom_id(self, key: impl Into<String>, id: impl Into<String>) -> Self {
        self.entry("customIDs", key.into(), Node::String(id.into().into()))
    }

    /// `statsigEnvironment.tier`, in place of the component's
    /// [`environment`](crate::ConfigBuilder::environment).
    pub fn environment(self, tier: impl Into<Tier>) -> Self {
        let tier = Node::String(tier.into().as_str().to_owned().into());
        self.entry(ENVIRONMENT, "tier".to_owned(), tier)
    }

    /// Checks every field and makes the user.
    ///
    /// # Errors
    /// [`Error::InvalidUser`] for the first field that breaks a rule. A user needs an identifier: a
    /// user id or a custom id that is not empty. Numbers must be finite. The whole user may have at
    /// most 64 KiB as JSON.
    pub fn build(mut self) -> Result<User, Error> {
        if let Some(error) = self.refused {
            return Err(error);
        }
        let user = User::from_fields(&mut self.fields);
        if user.is_ok() || !self.has_headers {
            return user;
        }
        // The headers may have made the user too long.
        self.fields.retain(|(field, _)| field != "userAgent" && field != "locale");
        User::from_fields(&mut self.fields)
    }

    /// Marks the user agent and the locale as a request's headers: `build` drops them if it would
    /// fail with them.
    #[cfg(feature = "web")]
    pub(crate) fn with_headers(mut self) -> Self {
        self.has_headers = true;
        self
    }

    fn field(mut self, field: &'static str, value: String) -> Self {
        self.fields.push((field.into(), Node::String(value.into())));
        self
    }

    fn attribute(mut self, field: &'static str, key: String, value: Attribute) -> Self {
        match value.0 {
            Some(node) => self.entry(field, key, node),
            None => {
                let error = || invalid(&format!("{field}.{key}"), "must be a finite number");
                self.refused.get_or_insert_with(error);
                self
            }
        }
    }

    fn entry(mut self, field: &'static str, key: String, node: Node<'static>) -> Self {
        let entry = (key.into(), node);
        let known = self.fields.iter_mut().find(|(known, _)| known == field);
        if let Some((_, Node::Object(entries))) = known {
            entries.push(entry);
        } else {
            self.fields.push((field.into(), Node::Object(vec![entry])));
        }
        self
    }
}

/// Shows the names of the fields, without their values.
impl fmt::Debug for UserBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields: BTreeSet<_> = self.fields.iter().map(|(field, _)| field).collect();
        f.debug_set().entries(fields).finish()
    }
}

/// A value of `custom` or `privateAttributes`: a string, a number, a boolean or a list of strings.
///
/// Made with `into()` from any of these. [`UserBuilder::build`] refuses a number that is not finite.
#[derive(Clone, PartialEq)]
pub struct Attribute(Option<Node<'static>>);

macro_rules! number_from {
    ($($from:ty),*) => {$(
        impl From<$from> for Attribute {
            fn from(value: $from) -> Self {
                Self(Some(Node::Number(value.to_string().into())))
            }
        }
    )*};
}

number_from!(i32, i64, u32, u64);

impl From<f64> for Attribute {
    fn from(value: f64) -> Self {
        Self(Node::from_f64(value))
    }
}

impl From<bool> for Attribute {
    fn from(value: bool) -> Self {
        Self(Some(Node::Bool(value)))
    }
}

impl From<String> for Attribute {
    fn from(value: String) -> Self {
        Self(Some(Node::String(value.into())))
    }
}

impl From<&str> for Attribute {
    fn from(value: &str) -> Self {
        Self::from(value.to_owned())
    }
}

impl From<Vec<String>> for Attribute {
    fn from(list: Vec<String>) -> Self {
        Self(Some(Node::List(list.into_iter().map(|value| Node::String(value.into())).collect())))
    }
}

impl From<&[&str]> for Attribute {
    fn from(list: &[&str]) -> Self {
        Self::from(list.iter().map(|&value| value.to_owned()).collect::<Vec<_>>())
    }
}

impl From<Vec<&str>> for Attribute {
    fn from(list: Vec<&str>) -> Self {
        Self::from(&list[..])
    }
}

impl<const N: usize> From<[&str; N]> for Attribute {
    fn from(list: [&str; N]) -> Self {
        Self::from(&list[..])
    }
}

/// Shows only the type: the value may be private.
impl fmt::Debug for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Attribute({})", self.0.as_ref().map_or("no number", Node::type_name))
    }
}

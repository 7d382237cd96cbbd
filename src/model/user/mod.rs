//! The user of a check.

mod builder;
mod environment;
mod fields;
mod formats;
#[cfg(test)]
mod tests;
mod tier;

use std::{
    collections::hash_map::RandomState,
    fmt,
    hash::{BuildHasher, Hash, Hasher},
    sync::{Arc, LazyLock},
};

use serde_json::{Value, value::RawValue};

#[cfg(feature = "open-feature")]
pub(crate) use self::fields::{CUSTOM, is_field};
pub use self::{
    builder::{Attribute, UserBuilder},
    tier::Tier,
};
pub(crate) use self::{environment::Environment, fields::invalid};
use self::{
    environment::{InEnvironment, MissingTier, write},
    fields::{MAX_DEPTH, PRIVATE, normalize},
};
use super::{
    error::Error,
    json::{Fields, Node, ReadError, replace_lone_surrogates},
};

/// The longest user the component takes, in bytes of JSON: far above what an evaluation needs, low
/// enough that `max_pending` bounds memory.
pub(crate) const MAX_USER_BYTES: usize = 64 * 1024;

/// The user of a check: `StatsigUser` of Statsig's HTTP API.
///
/// Two users are equal only when every field is equal, because every field can change an
/// evaluation. A `User` is checked and serialised once, when it is built; a clone shares it.
///
/// ```
/// use actix_statsig::User;
///
/// let user = User::builder()
///     .user_id("u-1")
///     .country("NL")
///     .custom("plan", "pro")
///     .private_attribute("salary", 30_000)
///     .build()?;
///
/// assert_eq!(user, user.clone());
/// assert_ne!(user, User::new("u-1")?);
/// # Ok::<(), actix_statsig::Error>(())
/// ```
///
/// # JSON
///
/// Read a `User` from JSON with [`from_json_text`](Self::from_json_text), with serde, or from a
/// value with [`from_json`](Self::from_json). Everything that Statsig may evaluate is sent, by
/// these rules:
///
/// - A field that is `null` counts as not set, and so does an entry of `custom`, `customIDs`,
///   `privateAttributes` or `statsigEnvironment`. Inside lists and nested objects, `null` stays.
/// - An id (`userID`, or one of `customIDs`) is a string or a number. An integer becomes the string of
///   its digits.
/// - `email`, `ip`, `userAgent`, `country`, `locale` and `appVersion` are strings, numbers or booleans,
///   of any form: a country may be `""`, `T1` or `NLD`.
/// - `custom` and `privateAttributes` hold any JSON, and the tier of `statsigEnvironment` is any string.
/// - Numbers that are read from text keep their text: `100000000000000000001` and
///   `100000000000000000002` are different users. So are `1` and `1.0`.
/// - A lone surrogate, such as `"\ud800"`, becomes U+FFFD.
/// - If a key is repeated, its last value counts. Any other field is sent unchanged.
///
/// An [`Error::InvalidUser`] names the field and the rule it breaks. These users are refused:
///
/// - a user without an identifier, which is a user id or custom id that is not empty
/// - a field with a type that is not listed above
/// - a `userId` or `user_id` without a `userID`
/// - a user of more than 64 KiB as JSON, or more than 64 levels of nesting
#[derive(Clone)]
pub struct User(Arc<Inner>);

struct Inner {
    hash: u64,
    is_private: bool,
    missing_tier: MissingTier,
    json: Box<str>,
    in_environment: InEnvironment,
}

impl User {
    /// Makes a user with a user id only.
    ///
    /// # Errors
    /// [`Error::InvalidUser`] if the id is empty.
    pub fn new(user_id: impl Into<String>) -> Result<Self, Error> {
        Self::builder().user_id(user_id).build()
    }

    /// Returns a builder without fields.
    pub fn builder() -> UserBuilder {
        UserBuilder::default()
    }

    /// Reads a user from text in the API's JSON form, `{"userID": "u-1", …}`.
    ///
    /// Numbers keep their text, however long they are.
    ///
    /// # Errors
    /// [`Error::InvalidUser`] if the text is not JSON or breaks a rule. The error names the field
    /// and the rule.
    ///
    /// ```
    /// use actix_statsig::User;
    ///
    /// let user = User::from_json_text(r#"{"country": "NL", "userID": 4711}"#)?;
    /// assert_eq!(user, User::builder().user_id("4711").country("NL").build()?);
    ///
    /// let error = User::from_json_text(r#"{"userId": "u-1"}"#).unwrap_err();
    /// assert_eq!(error.to_string(), "user field `userId` must be spelt `userID`");
    /// # Ok::<(), actix_statsig::Error>(())
    /// ```
    pub fn from_json_text(json: &str) -> Result<Self, Error> {
        let json: &RawValue =
            serde_json::from_str(json).map_err(|_| read_error(ReadError::NotJson))?;
        Self::try_from(json)
    }

    /// Makes a user from a value in the API's JSON form, `{"userID": "u-1", …}`.
    ///
    /// A [`Value`] holds numbers in 64 bits, and numbers that are not finite as `null`. If you have
    /// the text, use [`from_json_text`](Self::from_json_text).
    ///
    /// # Errors
    /// [`Error::InvalidUser`] names the field and the rule it breaks.
    ///
    /// ```
    /// use actix_statsig::User;
    ///
    /// let user = User::from_json(serde_json::json!({"userID": "u-1", "country": "NL"}))?;
    /// assert_eq!(user, User::builder().country("NL").user_id("u-1").build()?);
    ///
    /// let error = User::from_json(serde_json::json!({"userID": "u-1", "custom": "pro"}));
    /// assert_eq!(error.unwrap_err().to_string(), "user field `custom` must be an object");
    /// # Ok::<(), actix_statsig::Error>(())
    /// ```
    pub fn from_json(json: Value) -> Result<Self, Error> {
        Self::from_node(Node::from_value(json, MAX_DEPTH))
    }

    fn from_node(node: Result<Node<'_>, ReadError>) -> Result<Self, Error> {
        match node.map_err(read_error)? {
            Node::Object(mut fields) => Self::from_fields(&mut fields),
            _ => Err(invalid("user", "must be an object")),
        }
    }

    fn from_fields(fields: &mut Fields<'_>) -> Result<Self, Error> {
        normalize(fields)?;
        let is_private = fields.iter().any(|(field, _)| field == PRIVATE);
        let (json, missing_tier) = write(fields);
        if json.len() > MAX_USER_BYTES {
            return Err(read_error(ReadError::TooLong));
        }
        Ok(Self::of(json, is_private, missing_tier))
    }

    fn of(json: String, is_private: bool, missing_tier: MissingTier) -> Self {
        let (hash, json) = (HASHER.hash_one(&*json), json.into_boxed_str());
        Self(Arc::new(Inner {
            hash,
            is_private,
            missing_tier,
            json,
            in_environment: Default::default(),
        }))
    }

    /// Returns the user in the API's JSON form, **private attributes included**. Do not write the
    /// text to a log or a page.
    ///
    /// [`from_json_text`](Self::from_json_text) reads it back as an equal user. `User` does not
    /// implement `Serialize`, so that no derived `Serialize` writes private attributes by accident:
    ///
    /// ```compile_fail,E0277
    /// #[derive(serde::Serialize)]
    /// struct LogLine {
    ///     user: actix_statsig::User,
    /// }
    /// ```
    ///
    /// `Debug` leaves the private attributes out.
    ///
    /// ```
    /// use actix_statsig::User;
    ///
    /// let user = User::builder().user_id("u-1").private_attribute("salary", 30_000).build()?;
    /// assert_eq!(user.to_json(), r#"{"privateAttributes":{"salary":30000},"userID":"u-1"}"#);
    /// # Ok::<(), actix_statsig::Error>(())
    /// ```
    pub fn to_json(&self) -> String {
        self.json().to_owned()
    }

    /// Returns the canonical JSON, which is compared, hashed and sent.
    pub(crate) fn json(&self) -> &str {
        &self.0.json
    }

    /// Returns whether a text that repeats the user's fields may contain a secret.
    pub(crate) fn has_private_attributes(&self) -> bool {
        self.0.is_private
    }
}

impl TryFrom<&RawValue> for User {
    type Error = Error;

    /// Does the same as [`User::from_json_text`], for valid JSON.
    fn try_from(json: &RawValue) -> Result<Self, Error> {
        let json = replace_lone_surrogates(json.get());
        Self::from_node(Node::read(&json, MAX_DEPTH, MAX_USER_BYTES))
    }
}

fn read_error(why: ReadError) -> Error {
    let rule = match why {
        ReadError::NotJson => "must be JSON",
        ReadError::TooDeep => "must have at most 64 levels of nesting",
        ReadError::TooLong => "must have at most 65536 bytes as JSON",
    };
    invalid("user", rule)
}

impl PartialEq for User {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
            || (self.0.hash == other.0.hash && self.0.json == other.0.json)
    }
}

impl Eq for User {}

impl Hash for User {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.hash);
    }
}

/// Shows the fields as JSON, without the private attributes.
impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut node = Node::read(self.json(), MAX_DEPTH, usize::MAX).map_err(|_| fmt::Error)?;
        if let Node::Object(fields) = &mut node {
            let private = fields.iter_mut().filter(|(field, _)| field == PRIVATE);
            private.for_each(|(_, node)| *node = Node::String("[redacted]".into()));
        }
        let mut shown = String::new();
        node.write(&mut shown);
        write!(f, "User({shown})")
    }
}

/// Seeded once per process, so that no client can choose users whose hashes collide.
static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);

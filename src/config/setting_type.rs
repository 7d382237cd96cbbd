//! The types of settings: reading each from text, and showing it as text.

use std::{fmt, ops::RangeInclusive, time::Duration};

use secrecy::{ExposeSecret, SecretString};

use super::{FlushPolicy, invalid, parse, proxy};
use crate::model::{error::Error, user::Tier};

/// A type that a setting can have. Its `Debug` output shows no secret.
pub(super) trait SettingType: fmt::Debug + Sized {
    /// Reads a setting of this type.
    fn parse(setting: &'static str, text: &str) -> Result<Self, Error>;

    /// Returns text that [`parse`](Self::parse) reads, or `None` for a secret or no value.
    fn text(&self) -> Option<String>;

    /// Shows the value in an error.
    fn shown(&self) -> String {
        self.text().unwrap_or_else(|| format!("{self:?}"))
    }
}

/// Checks a number, a duration or a size against its bounds.
pub(super) fn bounded<T: SettingType + PartialOrd>(
    setting: &'static str,
    value: &T,
    bounds: RangeInclusive<T>,
) -> Result<(), Error> {
    if bounds.contains(value) {
        return Ok(());
    }
    let rule = format!("must be from {} to {}", bounds.start().shown(), bounds.end().shown());
    Err(invalid(setting, value.shown(), rule))
}

/// Implements [`SettingType`] with a function for each of its two methods.
macro_rules! setting_types {
    ($($type:ty: $parse:expr, $text:expr;)+) => {$(
        impl SettingType for $type {
            fn parse(setting: &'static str, text: &str) -> Result<Self, Error> {
                $parse(setting, text)
            }

            fn text(&self) -> Option<String> {
                $text(self)
            }
        }
    )+};
}

setting_types! {
    usize: parse::number, some_text;
    u32: parse::number, some_text;
    bool: parse::flag, some_text;
    FlushPolicy: parse::flush_policy, some_text;
    String: |_, text: &str| Ok(text.to_owned()), some_text;
    // A size in bytes.
    u64: parse::bytes, |bytes: &u64| Some(parse::bytes_text(*bytes));
    Option<Tier>: |_, text| Ok(parse::tier(text)), |tier: &Self| tier.as_ref().map(Tier::to_string);
    ApiKey: |_, text: &str| Ok(ApiKey::new(text)), |_| None;
    ProxyUrl: |_, text: &str| Ok(ProxyUrl::new(text)), |url: &Self| url.text_without_secret();
    Pem: |setting, text| parse::pem(setting, text).map(Pem), |_| None;
}

fn some_text(value: &impl ToString) -> Option<String> {
    Some(value.to_string())
}

impl SettingType for Duration {
    fn parse(setting: &'static str, text: &str) -> Result<Self, Error> {
        parse::duration(setting, text)
    }

    fn text(&self) -> Option<String> {
        Some(parse::duration_text(*self))
    }

    fn shown(&self) -> String {
        let is_whole = self.subsec_nanos().is_multiple_of(1_000_000);
        if is_whole { parse::duration_text(*self) } else { format!("{self:?}") }
    }
}

/// The server secret key.
#[derive(Clone, Default)]
pub(super) struct ApiKey(pub(super) SecretString);

impl ApiKey {
    pub(super) fn new(key: impl Into<String>) -> Self {
        Self(SecretString::from(key.into()))
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", "[redacted]")
    }
}

/// A proxy's URL, which may contain credentials, or `env`, or `none`.
#[derive(Clone)]
pub(super) struct ProxyUrl(pub(super) SecretString);

impl ProxyUrl {
    pub(super) fn new(url: impl Into<String>) -> Self {
        Self(SecretString::from(url.into()))
    }

    /// Returns the URL, unless it has credentials.
    fn text_without_secret(&self) -> Option<String> {
        let url = self.0.expose_secret();
        (proxy::redacted(url) == url).then(|| url.to_owned())
    }
}

impl From<&str> for ProxyUrl {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", proxy::redacted(self.0.expose_secret()))
    }
}

/// Certificates as PEM.
#[derive(Clone, Default)]
pub(super) struct Pem(pub(super) Vec<u8>);

impl Pem {
    pub(super) fn new(pem: impl Into<Vec<u8>>) -> Self {
        Self(pem.into())
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.len())
    }
}

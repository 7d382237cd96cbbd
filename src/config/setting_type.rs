//! The types of settings: how each is read from text, and shown as text.

use std::{fmt, ops::RangeInclusive, time::Duration};

use secrecy::{ExposeSecret, SecretString};

use super::{FlushPolicy, invalid, parse, proxy};
use crate::model::{error::Error, user::Tier};

/// A type that a setting can have. Its `Debug` output shows no secret.
pub(super) trait SettingType: fmt::Debug + Sized {
    /// Reads a setting of this type.
    fn parse(setting: &'static str, text: &str) -> Result<Self, Error>;

    /// Returns text that [`parse`](Self::parse) reads. None for a secret, and for no value.
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

impl SettingType for usize {
    fn parse(setting: &'static str, text: &str) -> Result<Self, Error> {
        parse::number(setting, text)
    }

    fn text(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl SettingType for u32 {
    fn parse(setting: &'static str, text: &str) -> Result<Self, Error> {
        parse::number(setting, text)
    }

    fn text(&self) -> Option<String> {
        Some(self.to_string())
    }
}

/// A size in bytes.
impl SettingType for u64 {
    fn parse(setting: &'static str, text: &str) -> Result<Self, Error> {
        parse::bytes(setting, text)
    }

    fn text(&self) -> Option<String> {
        Some(parse::bytes_text(*self))
    }
}

impl SettingType for bool {
    fn parse(setting: &'static str, text: &str) -> Result<Self, Error> {
        parse::flag(setting, text)
    }

    fn text(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl SettingType for FlushPolicy {
    fn parse(setting: &'static str, text: &str) -> Result<Self, Error> {
        parse::flush_policy(setting, text)
    }

    fn text(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl SettingType for String {
    fn parse(_: &'static str, text: &str) -> Result<Self, Error> {
        Ok(text.to_owned())
    }

    fn text(&self) -> Option<String> {
        Some(self.clone())
    }
}

impl SettingType for Option<Tier> {
    fn parse(_: &'static str, text: &str) -> Result<Self, Error> {
        Ok(parse::tier(text))
    }

    fn text(&self) -> Option<String> {
        self.as_ref().map(ToString::to_string)
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

impl SettingType for ApiKey {
    fn parse(_: &'static str, text: &str) -> Result<Self, Error> {
        Ok(Self::new(text))
    }

    fn text(&self) -> Option<String> {
        None
    }
}

/// A proxy's URL, which may have credentials in it; or `env`, or `none`.
#[derive(Clone)]
pub(super) struct ProxyUrl(pub(super) SecretString);

impl ProxyUrl {
    pub(super) fn new(url: impl Into<String>) -> Self {
        Self(SecretString::from(url.into()))
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

impl SettingType for ProxyUrl {
    fn parse(_: &'static str, text: &str) -> Result<Self, Error> {
        Ok(Self::new(text))
    }

    fn text(&self) -> Option<String> {
        let url = self.0.expose_secret();
        (proxy::redacted(url) == url).then(|| url.to_owned())
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

impl SettingType for Pem {
    fn parse(setting: &'static str, text: &str) -> Result<Self, Error> {
        parse::pem(setting, text).map(Self)
    }

    fn text(&self) -> Option<String> {
        None
    }
}

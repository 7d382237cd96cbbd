//! The environments of a project.

use std::{
    fmt,
    hash::{Hash, Hasher},
};

/// The environment's tier: `statsigEnvironment.tier` of the API.
///
/// Every Statsig project has these three from the start, and may have others.
///
/// ```
/// use actix_statsig::Tier;
///
/// assert_eq!(Tier::from("staging"), Tier::Staging);
/// assert_eq!(Tier::from("qa"), Tier::Other("qa".to_owned()));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Tier {
    /// `production`
    Production,
    /// `staging`
    Staging,
    /// `development`
    Development,
    /// An environment with another name.
    Other(String),
}

impl Tier {
    /// Returns the tier's name on Statsig.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Production => "production",
            Self::Staging => "staging",
            Self::Development => "development",
            Self::Other(name) => name,
        }
    }
}

impl From<String> for Tier {
    fn from(name: String) -> Self {
        match &*name {
            "production" => Self::Production,
            "staging" => Self::Staging,
            "development" => Self::Development,
            _ => Self::Other(name),
        }
    }
}

impl From<&str> for Tier {
    fn from(name: &str) -> Self {
        Self::from(name.to_owned())
    }
}

/// Compares names: `Other("staging")` equals `Staging`.
impl PartialEq for Tier {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Tier {}

impl Hash for Tier {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

/// Writes the name.
impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

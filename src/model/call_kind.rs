//! The operations of Statsig's API that the component calls.

/// The API operation that a [`Call`](crate::transport::Call) performs.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CallKind {
    /// `checkGate`: POST `/v1/check_gate`, up to 100 names per call.
    CheckGate,
    /// `getConfig`: POST `/v1/get_config`, one name per call.
    GetConfig,
}

impl CallKind {
    /// Returns the operation's path.
    pub fn path(self) -> &'static str {
        match self {
            Self::CheckGate => "/v1/check_gate",
            Self::GetConfig => "/v1/get_config",
        }
    }

    /// Returns the operation as a word, for spans and metrics.
    pub(crate) fn operation(self) -> &'static str {
        match self {
            Self::CheckGate => "check_gate",
            Self::GetConfig => "get_config",
        }
    }

    /// Returns the maximum number of names in one call.
    pub fn max_names(self) -> usize {
        match self {
            Self::CheckGate => 100,
            Self::GetConfig => 1,
        }
    }
}

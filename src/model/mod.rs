//! Users, names, evaluations and errors: the values that everything else passes around.

pub(crate) mod call_kind;
pub(crate) mod error;
pub(crate) mod evaluation;
pub(crate) mod json;
pub(crate) mod name;
pub(crate) mod user;

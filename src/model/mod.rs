//! The vocabulary: users, names, evaluations, errors, and JSON as text.

pub(crate) mod call_kind;
pub(crate) mod error;
pub(crate) mod evaluation;
pub(crate) mod json;
pub(crate) mod name;
pub(crate) mod text;
pub(crate) mod user;

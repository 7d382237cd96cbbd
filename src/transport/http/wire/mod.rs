//! The API's JSON: operations `checkGate` and `getConfig` of the OpenAPI document "Statsig SDK HTTP
//! API" 1.0.0. Unknown fields are ignored, and the types of known fields are checked.

mod decode;
mod encode;
#[cfg(test)]
mod tests;

pub(crate) use self::decode::decode;
pub(super) use self::{decode::Decoded, encode::encode};

//! Encodes the bodies of requests.

use serde::{Serializer, ser::Error as _};

use crate::{message::call::CallRequest, model::call_kind::CallKind};

/// Returns the body of a call's request.
pub(crate) fn encode(call: &CallRequest) -> Result<Vec<u8>, serde_json::Error> {
    let user = call.user.json();
    let names = call.names.iter().map(|name| name.len() + r#""","#.len()).sum::<usize>();
    let mut body = Vec::with_capacity(names + user.len() + REST_CAPACITY);
    match (call.kind, &*call.names) {
        (CallKind::CheckGate, [name]) => {
            body.extend_from_slice(br#"{"gateName":"#);
            serde_json::to_writer(&mut body, &**name)?;
        }
        (CallKind::CheckGate, names) => {
            body.extend_from_slice(br#"{"gateNames":"#);
            serde_json::Serializer::new(&mut body).collect_seq(names.iter().map(|name| &**name))?;
        }
        (CallKind::GetConfig, [name, ..]) => {
            body.extend_from_slice(br#"{"configName":"#);
            serde_json::to_writer(&mut body, &**name)?;
        }
        (CallKind::GetConfig, []) => {
            return Err(serde_json::Error::custom("expected the name of a config, found none"));
        }
    }
    body.extend_from_slice(br#","user":"#);
    body.extend_from_slice(user.as_bytes());
    body.extend_from_slice(METADATA.as_bytes());
    body.extend_from_slice(if call.exposure { b"false}}" } else { b"true}}" });
    Ok(body)
}

/// The metadata up to the value of `exposureLoggingDisabled`.
const METADATA: &str = concat!(
    r#","statsigMetadata":{"sdkType":""#,
    env!("CARGO_PKG_NAME"),
    r#"","sdkVersion":""#,
    env!("CARGO_PKG_VERSION"),
    r#"","exposureLoggingDisabled":"#
);

const REST_CAPACITY: usize = METADATA.len() + 64;

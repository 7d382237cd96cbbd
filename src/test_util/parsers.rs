//! The parsers of network input, without I/O, for fuzzing.

use std::sync::Arc;

use serde_json::Value;

use super::{api, body::parse, rules::Rules};
use crate::{
    model::{call_kind::CallKind, evaluation::Evaluation},
    transport,
};

/// Reads the body of an answer in the same way as the transport, for a call with these distinct
/// names. Returns an evaluation for each name in order, or `None` if the answer leaves it out. Not
/// part of the stable interface.
///
/// # Errors
/// Returns a description of the fault in the body.
pub fn parse_answer(
    kind: CallKind,
    names: &[&str],
    body: &[u8],
) -> Result<Vec<Option<Evaluation>>, String> {
    let names: Vec<Arc<str>> = names.iter().map(|name| Arc::from(*name)).collect();
    let decoded = transport::decode(kind, &names, body);
    decoded.map(|decoded| decoded.evaluations).map_err(|error| error.to_string())
}

/// Frames an answer in the same way as the transport, from a connection's bytes in these parts.
/// Returns the bytes that the HTTP client sees, and whether the connection may be reused. Not part
/// of the stable interface.
///
/// # Errors
/// Returns the reason why the bytes are not an answer.
pub fn frame_answer<'a>(
    parts: impl IntoIterator<Item = &'a [u8]>,
) -> Result<(Vec<u8>, bool), String> {
    transport::frame(parts)
}

/// Reads the body of a request in the same way as [`LocalStatsig`](super::LocalStatsig). Returns
/// the names, and the answer from these rules. Not part of the stable interface.
///
/// # Errors
/// Returns the reason for refusing the request.
pub fn answer_request(
    rules: &Rules,
    kind: CallKind,
    body: &[u8],
) -> Result<(Vec<String>, Value), String> {
    let request = api::read(kind, &parse(body)).map_err(|refusal| refusal.message)?;
    let answer = api::answer(&request, rules, &[]);
    Ok((request.names, answer))
}

//! The parsers of what comes over the network, by themselves, for fuzzing.

use std::sync::Arc;

use serde_json::Value;

use super::{api, body::parse, rules::Rules};
use crate::{
    model::{call_kind::CallKind, evaluation::Evaluation},
    transport,
};

/// What the transport makes of the body of an answer to a call for these names, which are distinct:
/// an evaluation for each, in their order, or `None` where it was left out. Not part of the stable
/// interface.
///
/// # Errors
/// What is wrong with the body.
pub fn parse_answer(
    kind: CallKind,
    names: &[&str],
    body: &[u8],
) -> Result<Vec<Option<Evaluation>>, String> {
    let names: Vec<Arc<str>> = names.iter().map(|name| Arc::from(*name)).collect();
    let decoded = transport::decode(kind, &names, body);
    decoded.map(|decoded| decoded.evaluations).map_err(|error| error.to_string())
}

/// What the transport takes for the answer of a connection whose bytes come in these parts: what of
/// them the HTTP client sees, and whether the connection may be used again. Not part of the stable
/// interface.
///
/// # Errors
/// Why they are no answer.
pub fn frame_answer<'a>(
    parts: impl IntoIterator<Item = &'a [u8]>,
) -> Result<(Vec<u8>, bool), String> {
    transport::frame(parts)
}

/// What [`LocalStatsig`](super::LocalStatsig) makes of the body of a request: the names it asks for,
/// and the answer from these rules. Not part of the stable interface.
///
/// # Errors
/// Why it is refused.
pub fn answer_request(
    rules: &Rules,
    kind: CallKind,
    body: &[u8],
) -> Result<(Vec<String>, Value), String> {
    let request = api::read(kind, &parse(body)).map_err(|refusal| refusal.message)?;
    let answer = api::answer(&request, rules, &[]);
    Ok((request.names, answer))
}

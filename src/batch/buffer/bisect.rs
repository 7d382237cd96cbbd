//! Finds the refused names of a call, by bisection unless they are known already. Pure.

use std::sync::Arc;

use super::refused_names::RefusedNames;
use crate::{message::call::CallRequest, model::error::Error};

/// Whether the server refused a call without saying which of its names is to blame.
pub(super) fn refuses_whole_call(error: &Error) -> bool {
    matches!(error, Error::Refused { status: 400 | 413, .. })
}

/// Splits a refused call into parts to retry. Each part is a list of name positions.
///
/// Each name that has since become known as refused is a part of its own, and the other names are
/// one part. If none or all of the names are known, the parts are two halves.
pub(super) fn split(call: &CallRequest, refused: &RefusedNames) -> Vec<Vec<usize>> {
    let count = call.names.len();
    let is_refused = |at: &usize| refused.contains(call.kind, &call.names[*at]);
    let (known, rest): (Vec<_>, Vec<_>) = (0..count).partition(is_refused);
    if known.is_empty() || rest.is_empty() {
        let (first, second) = (0..count / 2, count / 2..count);
        return vec![first.collect(), second.collect()];
    }
    std::iter::once(rest).chain(known.into_iter().map(|at| vec![at])).collect()
}

/// Returns the call that retries the names at these positions.
pub(super) fn part(call: &CallRequest, refusal: &Error, positions: &[usize]) -> CallRequest {
    let names = positions.iter().map(|at| Arc::clone(&call.names[*at])).collect();
    CallRequest { names, refusal: Some(refusal.clone()), ..call.clone() }
}

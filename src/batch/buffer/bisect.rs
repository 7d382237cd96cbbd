//! How a refused name is found among others: by halving, unless it is known. Pure.

use std::sync::Arc;

use crate::{message::call::CallRequest, model::error::Error};

/// Whether the server has refused a call without saying for which of its names.
pub(super) fn refuses_whole_call(error: &Error) -> bool {
    matches!(error, Error::Refused { status: 400 | 413, .. })
}

/// The positions of the names of a refused call, in the parts in which to ask again. Where it has
/// names that are known to be refused, which was not known when it left, each of them is a part, and
/// the rest is one; otherwise there are two halves.
pub(super) fn parts(call: &CallRequest, is_known: impl Fn(&Arc<str>) -> bool) -> Vec<Vec<usize>> {
    let count = call.names.len();
    let (known, rest): (Vec<_>, Vec<_>) = (0..count).partition(|at| is_known(&call.names[*at]));
    if known.is_empty() || rest.is_empty() {
        let (first, second) = (0..count / 2, count / 2..count);
        return vec![first.collect(), second.collect()];
    }
    std::iter::once(rest).chain(known.into_iter().map(|at| vec![at])).collect()
}

/// The call that asks again for the names at these positions.
pub(super) fn part(call: &CallRequest, refusal: &Error, positions: &[usize]) -> CallRequest {
    let names = positions.iter().map(|at| Arc::clone(&call.names[*at])).collect();
    CallRequest { names, refusal: Some(refusal.clone()), ..call.clone() }
}

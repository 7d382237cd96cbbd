//! How a refused name is found among others: by halving. Pure.

use crate::{call::CallRequest, error::Error};

/// Whether the server has refused a call without saying for which of its names.
pub(super) fn is_for_the_whole(error: &Error) -> bool {
    matches!(error, Error::Refused { status: 400 | 413, .. })
}

pub(super) fn halves(call: &CallRequest, refusal: &Error) -> [CallRequest; 2] {
    let (first, second) = call.names.split_at(call.names.len() / 2);
    [first, second].map(|names| CallRequest {
        names: names.into(),
        refusal: Some(refusal.clone()),
        ..call.clone()
    })
}

//! What a request, a flush, a call and an attempt are in a trace. Their levels, names and fields
//! stand here, and nowhere else; the crate's documentation lists them.

use tracing::{Span, debug_span, field::Empty, level_filters::LevelFilter};

use crate::error::Error;

/// A span, or one word where there is none: a span is five, and travels with each request.
pub(crate) type Slim = Option<Box<Span>>;

/// The caller's span, if a request's could be seen at all.
///
/// The level is only looked at: where layers filter for themselves, `tracing::enabled!` with no span
/// or event after it has them drop the next one, which is the app's (tokio-rs/tracing#2519).
pub(crate) fn current() -> Slim {
    (LevelFilter::current() >= LevelFilter::DEBUG)
        .then(Span::current)
        .filter(|span| !span.is_disabled())
        .map(Box::new)
}

/// From a request's acceptance to its answer, within the span in which its message was made.
pub(crate) fn request(parent: &Slim, operation: &'static str, names: usize) -> Slim {
    let parent = parent.as_ref().and_then(|parent| parent.id());
    let span = debug_span!(parent: parent, "statsig.request", operation, names, outcome = Empty);
    (!span.is_disabled()).then(|| Box::new(span))
}

/// The making of calls; it follows from the requests that they serve.
pub(crate) fn flush(calls: usize) -> Span {
    debug_span!(parent: None, "statsig.flush", calls)
}

/// From the `BatchActor` to the outcome, within the flush, or within the call whose names it asks
/// for again. It follows from the requests that it serves, those that joined it included.
pub(crate) fn call(parent: &Span, operation: &'static str, names: usize) -> Span {
    debug_span!(parent: parent, "statsig.call", operation, names, outcome = Empty)
}

/// One HTTP attempt of a call.
pub(crate) fn attempt(call: &Span, operation: &'static str, number: u32) -> Span {
    debug_span!(parent: call, "statsig.attempt", operation, number, outcome = Empty)
}

/// Its caller has left.
pub(crate) fn abandoned(request: &Slim) {
    if let Some(request) = request {
        request.record("outcome", "abandoned");
    }
}

/// The transport lost it, and gets it again.
pub(crate) fn lost(call: &Span) {
    call.record("outcome", "lost");
}

/// A request has its answer.
pub(crate) fn answered<T>(request: &Slim, result: Result<T, &Error>) {
    if let Some(request) = request {
        ended(request, result);
    }
}

/// `ok`, or the kind of the error.
pub(crate) fn ended<T>(span: &Span, result: Result<T, &Error>) {
    span.record("outcome", result.err().map_or("ok", Error::kind));
}

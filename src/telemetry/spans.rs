//! The spans of a request, a flush, a call and an attempt. Only this file defines their levels,
//! names and fields; the crate's documentation lists them.

use std::{future::poll_fn, mem, ops::Deref, pin::pin};

use tracing::{
    Dispatch, Id, Span, debug_span, dispatcher::with_default, field::Empty,
    level_filters::LevelFilter,
};

/// A span that begins and ends under the subscriber of its parent, on any thread. The current thread may
/// have another subscriber, which would look for the parent among its own spans and panic.
#[derive(Debug)]
pub(crate) struct OwnedSpan(Span);

/// An optional span in one word: each request carries one, and a span has five words.
pub(crate) type MaybeSpan = Option<Box<OwnedSpan>>;

impl OwnedSpan {
    pub(crate) fn none() -> Self {
        Self(Span::none())
    }

    fn within(parent: &Span, span: impl FnOnce() -> Span) -> Self {
        Self(under(parent, span))
    }

    fn into_maybe(self) -> MaybeSpan {
        (!self.is_disabled()).then(|| Box::new(self))
    }
}

impl Deref for OwnedSpan {
    type Target = Span;

    fn deref(&self) -> &Span {
        &self.0
    }
}

impl Drop for OwnedSpan {
    fn drop(&mut self) {
        let span = mem::replace(&mut self.0, Span::none());
        as_default(subscriber(&span), || drop(span));
    }
}

/// Runs work under the subscriber of the span.
pub(crate) fn under<T>(span: &Span, work: impl FnOnce() -> T) -> T {
    as_default(subscriber(span), work)
}

/// Runs work within the span, under its subscriber.
pub(crate) fn within<T>(span: &Span, work: impl FnOnce() -> T) -> T {
    under(span, || span.in_scope(work))
}

/// Runs a future within the span, under its subscriber.
pub(crate) async fn inside<T>(span: &Span, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    poll_fn(|context| within(span, || work.as_mut().poll(context))).await
}

fn subscriber(span: &Span) -> Option<Dispatch> {
    span.with_subscriber(|(_, subscriber)| subscriber.clone())
}

fn as_default<T>(subscriber: Option<Dispatch>, work: impl FnOnce() -> T) -> T {
    match subscriber {
        Some(subscriber) => with_default(&subscriber, work),
        None => work(),
    }
}

/// Returns the caller's span, if a subscriber may record spans at DEBUG.
///
/// Only the level is checked: `tracing::enabled!` without a span or event after it makes layers with
/// filters drop the app's next one (tokio-rs/tracing#2519).
pub(crate) fn current() -> MaybeSpan {
    (LevelFilter::current() >= LevelFilter::DEBUG)
        .then(|| OwnedSpan(Span::current()))
        .and_then(OwnedSpan::into_maybe)
}

/// Makes the span of a request, from its acceptance to its answer. Its parent is the span in which the
/// message was made.
pub(crate) fn request(parent: &MaybeSpan, operation: &'static str, names: usize) -> MaybeSpan {
    let parent = parent.as_deref().map_or_else(Span::none, |parent| parent.0.clone());
    let span =
        || debug_span!(parent: &parent, "statsig.request", operation, names, outcome = Empty);
    OwnedSpan::within(&parent, span).into_maybe()
}

/// Makes the span of a flush. It follows from the requests whose calls it makes.
pub(crate) fn flush(calls: usize) -> OwnedSpan {
    OwnedSpan(debug_span!(parent: None, "statsig.flush", calls))
}

/// Makes the span of a call, from the `BatchActor` to the outcome. Its parent is the flush, or the
/// call whose names it retries. It follows from its requests, including those that join later.
pub(crate) fn call(parent: &Span, operation: &'static str, names: usize) -> OwnedSpan {
    let span = || debug_span!(parent: parent, "statsig.call", operation, names, outcome = Empty);
    OwnedSpan::within(parent, span)
}

/// Makes the span of one HTTP attempt of a call.
pub(crate) fn attempt(call: &Span, operation: &'static str, number: u32) -> OwnedSpan {
    let span = || debug_span!(parent: call, "statsig.attempt", operation, number, outcome = Empty);
    OwnedSpan::within(call, span)
}

/// Records that the span follows from these requests, if they have the same subscriber. Subscribers
/// cannot be compared, but only the span's own subscriber reports the span as entered.
pub(crate) fn follow<'a>(span: &Span, requests: impl Iterator<Item = &'a Span>) {
    let entered = |(_, subscriber): (&Id, &Dispatch)| subscriber.current_span().id().cloned();
    let known = |request: &&Span| request.with_subscriber(entered).flatten() == span.id();
    let follow = || {
        requests.filter(known).for_each(|request| {
            span.follows_from(request);
        })
    };
    within(span, follow);
}

/// The outcome when all callers have left.
pub(crate) const ABANDONED: &str = "abandoned";

/// The outcome when the transport lost the call, which is then sent again.
pub(crate) const LOST: &str = "lost";

/// Records the end of a request, with an [`outcome`](crate::model::error::outcome) or one of the above.
pub(crate) fn request_ended(request: &MaybeSpan, outcome: &'static str) {
    if let Some(request) = request {
        ended(request, outcome);
    }
}

/// Records the end of a call or an attempt.
pub(crate) fn ended(span: &Span, outcome: &'static str) {
    span.record("outcome", outcome);
}

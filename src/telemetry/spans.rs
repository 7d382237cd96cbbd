//! What a request, a flush, a call and an attempt are in a trace. Their levels, names and fields
//! stand here, and nowhere else; the crate's documentation lists them.

use std::{future::poll_fn, mem, ops::Deref, pin::pin};

use tracing::{
    Dispatch, Id, Span, debug_span, dispatcher::with_default, field::Empty,
    level_filters::LevelFilter,
};

/// A span that begins and ends under one subscriber, its parent's, on whatever thread. Another, which
/// that thread may have, would look among its own spans for the parent, and panic if there is none.
#[derive(Debug)]
pub(crate) struct OwnedSpan(Span);

/// A span, or one word where there is none: a span is five, and travels with each request.
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

/// Does this under the subscriber that has the span.
pub(crate) fn under<T>(span: &Span, work: impl FnOnce() -> T) -> T {
    as_default(subscriber(span), work)
}

/// The same within the span.
pub(crate) fn within<T>(span: &Span, work: impl FnOnce() -> T) -> T {
    under(span, || span.in_scope(work))
}

/// The same for work that takes longer, which stands within the span.
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

/// The caller's span, if a request's could be seen at all.
///
/// The level is only looked at: where layers filter for themselves, `tracing::enabled!` with no span
/// or event after it has them drop the next one, which is the app's (tokio-rs/tracing#2519).
pub(crate) fn current() -> MaybeSpan {
    (LevelFilter::current() >= LevelFilter::DEBUG)
        .then(|| OwnedSpan(Span::current()))
        .and_then(OwnedSpan::into_maybe)
}

/// From a request's acceptance to its answer, within the span in which its message was made.
pub(crate) fn request(parent: &MaybeSpan, operation: &'static str, names: usize) -> MaybeSpan {
    let parent = parent.as_deref().map_or_else(Span::none, |parent| parent.0.clone());
    let span =
        || debug_span!(parent: &parent, "statsig.request", operation, names, outcome = Empty);
    OwnedSpan::within(&parent, span).into_maybe()
}

/// The making of calls; it follows from the requests that they serve.
pub(crate) fn flush(calls: usize) -> OwnedSpan {
    OwnedSpan(debug_span!(parent: None, "statsig.flush", calls))
}

/// From the `BatchActor` to the outcome, within the flush, or within the call whose names it asks
/// for again. It follows from the requests that it is made for, and from those that join it.
pub(crate) fn call(parent: &Span, operation: &'static str, names: usize) -> OwnedSpan {
    let span = || debug_span!(parent: parent, "statsig.call", operation, names, outcome = Empty);
    OwnedSpan::within(parent, span)
}

/// One HTTP attempt of a call.
pub(crate) fn attempt(call: &Span, operation: &'static str, number: u32) -> OwnedSpan {
    let span = || debug_span!(parent: call, "statsig.attempt", operation, number, outcome = Empty);
    OwnedSpan::within(call, span)
}

/// Notes that the span follows from these requests, as far as its own subscriber has them. Two can't
/// be compared, but it is the one that finds the span entered.
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

/// Nobody waits for it any more.
pub(crate) const ABANDONED: &str = "abandoned";

/// The transport lost it, and gets it again.
pub(crate) const LOST: &str = "lost";

/// A request has ended: with an [`outcome`](crate::model::error::outcome), or as above.
pub(crate) fn request_ended(request: &MaybeSpan, outcome: &'static str) {
    if let Some(request) = request {
        ended(request, outcome);
    }
}

/// The same of a call or an attempt.
pub(crate) fn ended(span: &Span, outcome: &'static str) {
    span.record("outcome", outcome);
}

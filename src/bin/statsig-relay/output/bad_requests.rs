//! Counts requests that are not HTTP instead of logging them. The HTTP library logs an error for
//! each, so any client that reaches the port could fill the log.

use std::fmt;

use tracing::{
    Event, Id, Level, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span::{Attributes, Record},
    subscriber::Interest,
};
use tracing_subscriber::{EnvFilter, Layer, layer::Context};

const METRIC: &str = "statsig_relay_bad_requests_total";

/// The target of the HTTP library's events.
const TARGET: &str = "actix_http";

/// How the log message of a bad request begins. The library's other errors are faults of the relay.
const BEGINNINGS: [&str; 2] = ["stream error", "MAX_BUFFER_SIZE"];

pub(crate) fn describe() {
    metrics::describe_counter!(METRIC, "Requests that were not HTTP, or broke off");
    // Register the counter at startup, so that a rate shows the first burst.
    metrics::counter!(METRIC).increment(0);
}

/// Filters the log, and counts bad requests whatever the filter. Logs bad requests only if the
/// filter names their target.
///
/// This is a layer above all others, because per-layer filters panic if one event is logged within
/// another.
pub(crate) struct BadRequestFilter {
    filter: EnvFilter,
    shows_bad_requests: bool,
}

impl BadRequestFilter {
    /// `text` is the filter's source.
    pub(crate) fn new(filter: EnvFilter, text: &str) -> Self {
        Self { filter, shows_bad_requests: text.contains(TARGET) }
    }
}

impl<S: Subscriber> Layer<S> for BadRequestFilter {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        let interest = Layer::<S>::register_callsite(&self.filter, metadata);
        if may_be_bad_request(metadata) { Interest::sometimes() } else { interest }
    }

    fn enabled(&self, metadata: &Metadata<'_>, context: Context<'_, S>) -> bool {
        may_be_bad_request(metadata) || Layer::<S>::enabled(&self.filter, metadata, context)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let hint = Layer::<S>::max_level_hint(&self.filter)?;
        Some(hint.max(LevelFilter::ERROR))
    }

    fn event_enabled(&self, event: &Event<'_>, context: Context<'_, S>) -> bool {
        if !may_be_bad_request(event.metadata()) {
            return true;
        }
        let is_bad = is_bad_request(event);
        if is_bad {
            metrics::counter!(METRIC).increment(1);
        }
        let is_enabled = Layer::<S>::enabled(&self.filter, event.metadata(), context);
        is_enabled && (self.shows_bad_requests || !is_bad)
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        Layer::<S>::on_new_span(&self.filter, attributes, id, context);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        Layer::<S>::on_record(&self.filter, id, values, context);
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        Layer::<S>::on_enter(&self.filter, id, context);
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        Layer::<S>::on_exit(&self.filter, id, context);
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        Layer::<S>::on_close(&self.filter, id, context);
    }
}

fn may_be_bad_request(metadata: &Metadata<'_>) -> bool {
    metadata.is_event()
        && *metadata.level() == Level::ERROR
        && metadata.target().starts_with(TARGET)
}

fn is_bad_request(event: &Event<'_>) -> bool {
    struct Beginning(bool);

    impl Visit for Beginning {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            if field.name() == "message" {
                let message = format!("{value:?}");
                self.0 = BEGINNINGS.iter().any(|beginning| message.starts_with(beginning));
            }
        }
    }

    let mut beginning = Beginning(false);
    if may_be_bad_request(event.metadata()) {
        event.record(&mut beginning);
    }
    beginning.0
}

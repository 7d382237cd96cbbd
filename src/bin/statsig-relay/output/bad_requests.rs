//! Requests that are no HTTP. The HTTP library logs an error for each, so that any stranger who
//! reaches the port could fill the log: here they are counted instead.

use std::fmt;

use tracing::{
    Event, Id, Level, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span::{Attributes, Record},
    subscriber::Interest,
};
use tracing_subscriber::{EnvFilter, Layer, layer::Context};

const COUNTED: &str = "statsig_relay_bad_requests_total";

/// Where the HTTP library says it.
const TARGET: &str = "actix_http";

/// How such a line begins. Other errors of the library are faults of the relay.
const BEGINNINGS: [&str; 2] = ["stream error", "MAX_BUFFER_SIZE"];

pub(crate) fn describe() {
    metrics::describe_counter!(COUNTED, "Requests that were not HTTP, or broke off");
    // Seen from the start, so that the first burst is one.
    metrics::counter!(COUNTED).increment(0);
}

/// Filters the log, and counts bad requests whatever is logged. Their lines are left out, unless
/// the filter names their target.
///
/// A layer above all others, for filters of single layers panic where one event is within another.
pub(crate) struct Counting {
    filter: EnvFilter,
    shows: bool,
}

impl Counting {
    /// `text` is what the filter was made of.
    pub(crate) fn new(filter: EnvFilter, text: &str) -> Self {
        Self { filter, shows: text.contains(TARGET) }
    }
}

impl<S: Subscriber> Layer<S> for Counting {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        let interest = Layer::<S>::register_callsite(&self.filter, metadata);
        if may_be_one(metadata) { Interest::sometimes() } else { interest }
    }

    fn enabled(&self, metadata: &Metadata<'_>, context: Context<'_, S>) -> bool {
        may_be_one(metadata) || Layer::<S>::enabled(&self.filter, metadata, context)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let hint = Layer::<S>::max_level_hint(&self.filter)?;
        Some(hint.max(LevelFilter::ERROR))
    }

    fn event_enabled(&self, event: &Event<'_>, context: Context<'_, S>) -> bool {
        if !may_be_one(event.metadata()) {
            return true;
        }
        let is_one = is_one(event);
        if is_one {
            metrics::counter!(COUNTED).increment(1);
        }
        let is_wanted = Layer::<S>::enabled(&self.filter, event.metadata(), context);
        is_wanted && (self.shows || !is_one)
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

fn may_be_one(metadata: &Metadata<'_>) -> bool {
    metadata.is_event()
        && *metadata.level() == Level::ERROR
        && metadata.target().starts_with(TARGET)
}

fn is_one(event: &Event<'_>) -> bool {
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
    if may_be_one(event.metadata()) {
        event.record(&mut beginning);
    }
    beginning.0
}

//! A subscriber that records spans and events.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{Arc, Mutex, MutexGuard, Once, PoisonError},
};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
    subscriber::DefaultGuard,
};
use tracing_subscriber::{
    Layer, Registry,
    layer::{Context, SubscriberExt},
    registry::LookupSpan,
};

/// The target of a test's own events, which are recorded beside the component's.
pub const APP: &str = "actix_statsig_app";

/// The recorded spans and events of the component and of the test.
#[derive(Clone, Default)]
pub struct Trace(Arc<Mutex<Seen>>);

#[derive(Default)]
pub struct Seen {
    pub spans: Vec<SeenSpan>,
    pub events: Vec<SeenEvent>,
}

#[derive(Clone, Debug)]
pub struct SeenSpan {
    pub id: u64,
    pub name: &'static str,
    pub level: Level,
    pub parent: Option<u64>,
    pub follows: Vec<u64>,
    pub fields: Fields,
    pub is_closed: bool,
}

#[derive(Clone, Debug)]
pub struct SeenEvent {
    pub level: Level,
    pub within: Option<u64>,
    pub fields: Fields,
}

#[derive(Clone, Debug, Default)]
pub struct Fields(pub BTreeMap<&'static str, String>);

impl Trace {
    /// Records what happens on this thread for as long as the guard lives.
    pub fn of_this_thread() -> (Self, DefaultGuard) {
        subscribe_other_threads();
        let trace = Self::default();
        let guard = tracing::subscriber::set_default(Registry::default().with(trace.clone()));
        (trace, guard)
    }

    /// Records what happens on every thread without a subscriber of its own. Works once per
    /// process.
    pub fn of_the_process() -> Self {
        let trace = Self::default();
        let subscriber = Registry::default().with(trace.clone());
        tracing::subscriber::set_global_default(subscriber).expect("the first of this process");
        trace
    }

    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The messages of the events at INFO or above.
    pub fn said(&self) -> Vec<String> {
        let seen = self.seen();
        let said = seen.events.iter().filter(|event| event.level <= Level::INFO);
        said.map(|event| event.fields.0["message"].clone()).collect()
    }

    /// The spans of this name, in the order in which they began.
    pub fn spans(&self, name: &str) -> Vec<SeenSpan> {
        self.seen().spans.iter().filter(|span| span.name == name).cloned().collect()
    }

    /// The only span of this name.
    pub fn span(&self, name: &str) -> SeenSpan {
        let [span] = &self.spans(name)[..] else { panic!("{:?}", self.spans(name)) };
        span.clone()
    }
}

/// Gives the threads of other tests a subscriber that does nothing.
///
/// While a process has one subscriber, the first thread to reach an event asks its own subscriber
/// whether the event is wanted. Without a subscriber on that thread, the event would be disabled
/// for all threads.
pub(super) fn subscribe_other_threads() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Fails if a test has set a subscriber for the process, which serves the same purpose.
        let _ = tracing::subscriber::set_global_default(Registry::default());
    });
}

impl Seen {
    /// Forgets all recorded spans and events.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// The open span with this id. A registry reuses ids.
    fn open(&mut self, id: &Id) -> Option<&mut SeenSpan> {
        self.spans.iter_mut().rev().find(|span| span.id == id.into_u64() && !span.is_closed)
    }
}

impl SeenSpan {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.0.get(name).map(String::as_str)
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Trace {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let metadata = attributes.metadata();
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let parent = context.span(id).and_then(|span| span.parent().map(|parent| parent.id()));
        self.seen().spans.push(SeenSpan {
            id: id.into_u64(),
            name: metadata.name(),
            level: *metadata.level(),
            parent: parent.map(|id| id.into_u64()),
            follows: Vec::new(),
            fields,
            is_closed: false,
        });
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        if let Some(span) = self.seen().open(id) {
            values.record(&mut span.fields);
        }
    }

    fn on_follows_from(&self, id: &Id, follows: &Id, _: Context<'_, S>) {
        if let Some(span) = self.seen().open(id) {
            span.follows.push(follows.into_u64());
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if !event.metadata().target().starts_with("actix_statsig") {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let within = context.event_span(event).map(|span| span.id().into_u64());
        self.seen().events.push(SeenEvent { level: *event.metadata().level(), within, fields });
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        if let Some(span) = self.seen().open(&id) {
            span.is_closed = true;
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

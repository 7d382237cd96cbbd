//! Runs the app's hooks on their own thread. A hook that blocks or panics delays only other hooks.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};

use super::fallback::Fallback;
use crate::model::error::Error;

/// The hooks that the app has set.
#[derive(Clone, Default)]
pub(crate) struct Hooks {
    pub(crate) on_error: Option<Hook<Error>>,
    pub(crate) on_fallback: Option<Hook<Fallback>>,
}

pub(crate) type Hook<T> = Arc<dyn Fn(&T) + Send + Sync>;

/// Sends events to the hooks. Its thread starts with the first event, and ends when the dispatcher
/// is dropped.
#[derive(Debug, Default)]
pub(crate) struct HookDispatcher {
    hooks: Hooks,
    events: OnceLock<Option<SyncSender<Event>>>,
    dropped: AtomicU64,
}

enum Event {
    Error(Error),
    Fallback(Fallback),
}

/// The maximum number of events that wait for the hooks. Further events are dropped and counted.
const MAX_WAITING: usize = 1024;

impl HookDispatcher {
    pub(crate) fn new(hooks: Hooks) -> Self {
        Self { hooks, ..Self::default() }
    }

    pub(crate) fn error(&self, error: &Error) {
        if self.hooks.on_error.is_some() {
            self.send(Event::Error(error.clone()));
        }
    }

    pub(crate) fn fallback(&self, fallback: Fallback) {
        if self.hooks.on_fallback.is_some() {
            self.send(Event::Fallback(fallback));
        }
    }

    /// Returns the number of events that were dropped because the hooks could not keep up.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    fn send(&self, event: Event) {
        let events = self.events.get_or_init(|| self.start());
        if events.as_ref().is_none_or(|events| events.try_send(event).is_err()) {
            self.dropped.fetch_add(1, Relaxed);
        }
    }

    fn start(&self) -> Option<SyncSender<Event>> {
        let (events, receiver) = sync_channel(MAX_WAITING);
        let hooks = self.hooks.clone();
        let run = move || hooks.run(&receiver);
        let started = thread::Builder::new().name("statsig-hooks".to_owned()).spawn(run);
        if let Err(error) = &started {
            tracing::error!(%error, "the thread for hooks could not be started: no hook is called");
        }
        started.ok().map(|_| events)
    }
}

impl Hooks {
    fn run(&self, events: &Receiver<Event>) {
        for event in events {
            let called = catch_unwind(AssertUnwindSafe(|| self.call(&event)));
            if called.is_err() {
                tracing::error!("a hook panicked");
            }
        }
    }

    fn call(&self, event: &Event) {
        match event {
            Event::Error(error) => self.on_error.iter().for_each(|hook| hook(error)),
            Event::Fallback(fallback) => self.on_fallback.iter().for_each(|hook| hook(fallback)),
        }
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks")
            .field("on_error", &self.on_error.is_some())
            .field("on_fallback", &self.on_fallback.is_some())
            .finish()
    }
}

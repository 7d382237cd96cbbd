//! What the app wants to be told of, told on a thread of its own: a hook that blocks or panics
//! keeps nobody but the next hook waiting.

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

/// The functions that the app gave; none where it gave none.
#[derive(Clone, Default)]
pub(crate) struct Hooks {
    pub(crate) on_error: Option<Hook<Error>>,
    pub(crate) on_fallback: Option<Hook<Fallback>>,
}

pub(crate) type Hook<T> = Arc<dyn Fn(&T) + Send + Sync>;

/// Tells the hooks. Its thread starts with the first event, and ends with this.
#[derive(Debug, Default)]
pub(crate) struct HookDispatcher {
    hooks: Hooks,
    events: OnceLock<Option<SyncSender<Event>>>,
    missed: AtomicU64,
}

enum Event {
    Error(Error),
    Fallback(Fallback),
}

/// Events that may wait for the hooks; beyond these they are dropped and counted.
const WAITING: usize = 1024;

impl HookDispatcher {
    pub(crate) fn new(hooks: Hooks) -> Self {
        Self { hooks, ..Self::default() }
    }

    pub(crate) fn error(&self, error: &Error) {
        if self.hooks.on_error.is_some() {
            self.tell(Event::Error(error.clone()));
        }
    }

    pub(crate) fn fallback(&self, fallback: Fallback) {
        if self.hooks.on_fallback.is_some() {
            self.tell(Event::Fallback(fallback));
        }
    }

    /// Events that no hook was told of, because it could not keep up.
    pub(crate) fn missed(&self) -> u64 {
        self.missed.load(Relaxed)
    }

    fn tell(&self, event: Event) {
        let events = self.events.get_or_init(|| self.start());
        if events.as_ref().is_none_or(|events| events.try_send(event).is_err()) {
            self.missed.fetch_add(1, Relaxed);
        }
    }

    fn start(&self) -> Option<SyncSender<Event>> {
        let (events, receiver) = sync_channel(WAITING);
        let hooks = self.hooks.clone();
        let run = move || hooks.run(&receiver);
        let started = thread::Builder::new().name("statsig-hooks".to_owned()).spawn(run);
        if let Err(error) = &started {
            tracing::error!(%error, "the thread of the hooks could not be started");
        }
        started.ok().map(|_| events)
    }
}

impl Hooks {
    fn run(&self, events: &Receiver<Event>) {
        for event in events {
            let told = catch_unwind(AssertUnwindSafe(|| self.call(&event)));
            if told.is_err() {
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

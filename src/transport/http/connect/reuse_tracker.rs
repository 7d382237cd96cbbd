//! Which connection an attempt has, and what is known of it: awc does not say.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use tokio::task_local;

task_local! {
    static TRACKER: RefCell<Option<Rc<ReuseTracker>>>;
}

/// A connection, as its attempts know it.
#[derive(Debug)]
pub(in crate::transport) struct ReuseTracker {
    generation: u64,
    requests: Cell<u64>,
    is_discarded: Cell<bool>,
}

/// Runs an attempt; tells which connection it had, if it came to have one.
pub(in crate::transport) async fn track_reuse<F: Future>(
    attempt: F,
) -> (F::Output, Option<Rc<ReuseTracker>>) {
    let tracked = async {
        let output = attempt.await;
        (output, TRACKER.with(RefCell::take))
    };
    TRACKER.scope(RefCell::default(), tracked).await
}

impl ReuseTracker {
    pub(super) fn new(generation: u64) -> Rc<Self> {
        Rc::new(Self { generation, requests: Cell::new(0), is_discarded: Cell::new(false) })
    }

    /// A request is about to be sent: awc writes in the attempt's own task.
    pub(super) fn on_request(self: &Rc<Self>) {
        self.requests.set(self.requests.get() + 1);
        // Outside of an attempt there is nobody to note it for.
        let _ = TRACKER.try_with(|used| used.replace(Some(Rc::clone(self))));
    }

    /// It cannot be trusted with its last request, nor with another.
    pub(in crate::transport) fn discard(&self) {
        self.is_discarded.set(true);
    }

    /// Which generation of connections it is of.
    pub(in crate::transport) fn generation(&self) -> u64 {
        self.generation
    }

    /// It had requests before this one.
    pub(in crate::transport) fn is_reused(&self) -> bool {
        self.requests.get() > 1
    }

    /// Its last request has to go out again on another.
    pub(in crate::transport) fn is_discarded(&self) -> bool {
        self.is_discarded.get()
    }
}

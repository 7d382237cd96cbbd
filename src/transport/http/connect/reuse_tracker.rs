//! Tells an attempt which connection it used, and whether that connection was reused. awc does not
//! report this.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use tokio::task_local;

task_local! {
    static TRACKER: RefCell<Option<Rc<ReuseTracker>>>;
}

/// What an attempt knows about its connection.
#[derive(Debug)]
pub(crate) struct ReuseTracker {
    generation: u64,
    requests: Cell<u64>,
    is_discarded: Cell<bool>,
}

/// Runs an attempt, and returns the tracker of the connection that it used, if any.
pub(crate) async fn track_reuse<F: Future>(attempt: F) -> (F::Output, Option<Rc<ReuseTracker>>) {
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

    /// Records that a request starts. awc writes requests in the attempt's own task.
    pub(super) fn on_request(self: &Rc<Self>) {
        self.requests.set(self.requests.get() + 1);
        // An error means that no attempt tracks this task.
        let _ = TRACKER.try_with(|tracker| tracker.replace(Some(Rc::clone(self))));
    }

    /// Discards the connection: it gets no further request, and its last answer is not trusted.
    pub(crate) fn discard(&self) {
        self.is_discarded.set(true);
    }

    /// The generation of connections to which this one belongs.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether the connection had requests before this one.
    pub(crate) fn is_reused(&self) -> bool {
        self.requests.get() > 1
    }

    pub(crate) fn is_discarded(&self) -> bool {
        self.is_discarded.get()
    }
}

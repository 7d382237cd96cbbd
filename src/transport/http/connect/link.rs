//! Which connection an attempt has, and what is known of it: awc does not say.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use tokio::task_local;

task_local! {
    static USED: RefCell<Option<Rc<Link>>>;
}

/// A connection, as its attempts know it.
#[derive(Debug)]
pub(in crate::transport) struct Link {
    generation: u64,
    requests: Cell<u64>,
    is_unusable: Cell<bool>,
}

/// Runs an attempt; tells which connection it had, if it came to have one.
pub(in crate::transport) async fn noting_link<F: Future>(
    attempt: F,
) -> (F::Output, Option<Rc<Link>>) {
    let noting = async {
        let output = attempt.await;
        (output, USED.with(RefCell::take))
    };
    USED.scope(RefCell::default(), noting).await
}

impl Link {
    pub(super) fn new(generation: u64) -> Rc<Self> {
        Rc::new(Self { generation, requests: Cell::new(0), is_unusable: Cell::new(false) })
    }

    /// A request is about to be sent: awc writes in the attempt's own task.
    pub(super) fn begin(self: &Rc<Self>) {
        self.requests.set(self.requests.get() + 1);
        // Outside of an attempt there is nobody to note it for.
        let _ = USED.try_with(|used| used.replace(Some(Rc::clone(self))));
    }

    /// It cannot be trusted with its last request, nor with another.
    pub(in crate::transport) fn give_up(&self) {
        self.is_unusable.set(true);
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
    pub(in crate::transport) fn is_unusable(&self) -> bool {
        self.is_unusable.get()
    }
}

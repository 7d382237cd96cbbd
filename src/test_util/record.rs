//! What the server was asked.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use hyper::HeaderMap;
use serde_json::Value;
use tokio::sync::watch;

/// A request that the server received, refused or not.
#[derive(Clone)]
#[non_exhaustive]
pub struct Recorded {
    /// The path, for example `/v1/check_gate`.
    pub path: String,
    /// The body; `null` if it was not JSON.
    pub body: Value,
    /// The names asked for, in order; none if the request was refused.
    pub names: Vec<String>,
    /// The user object; `null` if there was none.
    pub user: Value,
    /// Whether the request has exposures logged; false if it was refused.
    pub exposure: bool,
    /// Why the request was refused, if it was.
    pub refusal: Option<String>,
    headers: HeaderMap,
}

impl Recorded {
    pub(super) fn new(path: &str, headers: HeaderMap, body: &[u8]) -> Self {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        Self {
            path: path.to_owned(),
            user: body.get("user").cloned().unwrap_or_default(),
            body,
            names: Vec::new(),
            exposure: false,
            refusal: None,
            headers,
        }
    }

    /// A header's value, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Shows neither the headers, where the key is, nor the body, where private attributes are.
impl fmt::Debug for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorded")
            .field("path", &self.path)
            .field("names", &self.names)
            .field("exposure", &self.exposure)
            .field("refusal", &self.refusal)
            .finish_non_exhaustive()
    }
}

/// Keeps the last requests, and counts all.
#[derive(Debug)]
pub(super) struct Recorder {
    kept: Mutex<VecDeque<Recorded>>,
    counts: watch::Sender<Counts>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) calls: usize,
    pub(super) refused: usize,
    pub(super) connections: usize,
    pub(super) open_connections: usize,
}

/// The most requests that are kept; of more, the oldest are forgotten.
const MAX_KEPT: usize = 100_000;

impl Recorder {
    pub(super) fn new() -> Self {
        Self { kept: Mutex::default(), counts: watch::Sender::default() }
    }

    pub(super) fn add(&self, recorded: Recorded) {
        let refused = usize::from(recorded.refusal.is_some());
        let mut kept = self.kept();
        if kept.len() == MAX_KEPT {
            kept.pop_front();
        }
        kept.push_back(recorded);
        drop(kept);
        self.count(|counts| {
            counts.calls += 1;
            counts.refused += refused;
        });
    }

    pub(super) fn count(&self, change: impl FnOnce(&mut Counts)) {
        self.counts.send_modify(change);
    }

    pub(super) fn counts(&self) -> watch::Receiver<Counts> {
        self.counts.subscribe()
    }

    pub(super) fn all(&self) -> Vec<Recorded> {
        self.kept().iter().cloned().collect()
    }

    pub(super) fn clear(&self) {
        self.kept().clear();
        self.count(|counts| (counts.calls, counts.refused) = (0, 0));
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<Recorded>> {
        // No code panics while it holds the lock; what was recorded is right in any case.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

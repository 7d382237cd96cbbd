//! The requests that the server received.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hyper::HeaderMap;
use serde_json::Value;
use tokio::sync::watch;

use super::api;

/// A request that the server received, refused or not.
#[derive(Clone)]
#[non_exhaustive]
pub struct RecordedRequest {
    /// The path, for example `/v1/check_gate`.
    pub path: String,
    /// The body; `null` if it was not JSON.
    pub body: Value,
    /// The names in the request, in order.
    pub names: Vec<String>,
    /// The user object; `null` if there was none.
    pub user: Value,
    /// Whether Statsig logs exposures for the request; false if it was refused.
    pub exposure: bool,
    /// The rule of the API that the request broke, if any. A [`Fault`](super::Fault) may have
    /// replaced the answer.
    pub refusal: Option<String>,
    /// The status of the answer. `None` while the request waits, or if a [`Fault`](super::Fault)
    /// left it without an answer.
    pub status: Option<u16>,
    headers: HeaderMap,
}

impl RecordedRequest {
    pub(super) fn new(path: &str, headers: HeaderMap, body: Option<Value>) -> Self {
        let body = body.unwrap_or_default();
        Self {
            path: path.to_owned(),
            names: api::names_in(&body),
            user: body.get("user").cloned().unwrap_or_default(),
            body,
            exposure: false,
            refusal: None,
            status: None,
            headers,
        }
    }

    /// Returns a header's value, or `None` if the header is missing or not text. The case of the
    /// name does not matter. To check the key without showing it, use [`has_key`](Self::has_key).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Returns whether the request had this key.
    pub fn has_key(&self, api_key: &str) -> bool {
        self.header("statsig-api-key") == Some(api_key)
    }
}

/// Shows neither headers nor body: they hold the key and private attributes.
impl fmt::Debug for RecordedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordedRequest")
            .field("path", &self.path)
            .field("names", &self.names)
            .field("exposure", &self.exposure)
            .field("refusal", &self.refusal)
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// Keeps the last requests, and counts all requests.
#[derive(Debug)]
pub(super) struct Recorder {
    log: Mutex<RequestLog>,
    counts: watch::Sender<Counts>,
    /// Wakes threads that wait for a request in `log`.
    changed: Condvar,
}

#[derive(Debug)]
struct RequestLog {
    requests: VecDeque<RecordedRequest>,
    /// The number of the oldest request in `requests`, from 0.
    oldest: u64,
    capacity: usize,
}

/// Identifies a request, to record its status later.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestNumber(u64);

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) calls: usize,
    pub(super) refused: usize,
    pub(super) connections: usize,
    pub(super) open_connections: usize,
}

/// The number of requests to keep by default.
const MAX_REQUESTS: usize = 100_000;

impl Recorder {
    pub(super) fn new() -> Self {
        let log = RequestLog { requests: VecDeque::new(), oldest: 0, capacity: MAX_REQUESTS };
        Self { log: Mutex::new(log), counts: watch::Sender::default(), changed: Condvar::new() }
    }

    pub(super) fn add(&self, recorded: RecordedRequest) -> RequestNumber {
        let call = usize::from(recorded.path.starts_with("/v1/"));
        let refused = usize::from(recorded.refusal.is_some());
        let mut log = self.log();
        let number = RequestNumber(log.oldest + log.requests.len() as u64);
        log.requests.push_back(recorded);
        log.trim();
        // Counted under the lock, so that a reader of the count finds the request.
        self.count(|counts| {
            counts.calls += call;
            counts.refused += refused;
        });
        drop(log);
        self.changed.notify_all();
        number
    }

    pub(super) fn set_status(&self, RequestNumber(number): RequestNumber, status: u16) {
        let mut log = self.log();
        let index = number.checked_sub(log.oldest).and_then(|index| usize::try_from(index).ok());
        // The log may have dropped the request already.
        if let Some(recorded) = index.and_then(|index| log.requests.get_mut(index)) {
            recorded.status = Some(status);
        }
    }

    pub(super) fn count(&self, change: impl FnOnce(&mut Counts)) {
        self.counts.send_modify(change);
    }

    pub(super) fn counts(&self) -> watch::Receiver<Counts> {
        self.counts.subscribe()
    }

    /// Blocks until there have been this many calls. Returns `false` if the time runs out first.
    pub(super) fn wait_for_calls(&self, calls: usize, timeout: Duration) -> bool {
        let too_few = |_: &mut RequestLog| self.counts.borrow().calls < calls;
        let waited = self.changed.wait_timeout_while(self.log(), timeout, too_few);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    pub(super) fn all(&self) -> Vec<RecordedRequest> {
        self.log().requests.iter().cloned().collect()
    }

    pub(super) fn keep(&self, capacity: usize) {
        let mut log = self.log();
        log.capacity = capacity;
        log.trim();
    }

    pub(super) fn clear(&self) {
        let mut log = self.log();
        log.oldest += log.requests.len() as u64;
        log.requests.clear();
        self.count(|counts| (counts.calls, counts.refused) = (0, 0));
    }

    fn log(&self) -> MutexGuard<'_, RequestLog> {
        // No code panics while it holds the lock.
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RequestLog {
    fn trim(&mut self) {
        while self.requests.len() > self.capacity {
            self.requests.pop_front();
            self.oldest += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn request(n: usize) -> RecordedRequest {
        let body =
            json!({"gateName": format!("gate-{n}"), "user": {"privateAttributes": {"a": "hush"}}});
        let headers = [("statsig-api-key", "secret-key")];
        let headers = headers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        RecordedRequest::new("/v1/check_gate", HeaderMap::from_iter(headers), Some(body))
    }

    #[test]
    fn recorder_forgets_the_oldest_and_counts_all() {
        let recorder = Recorder::new();
        recorder.keep(2);
        let numbers: Vec<_> = (0..4).map(|n| recorder.add(request(n))).collect();
        for (number, status) in numbers.into_iter().zip(200..) {
            recorder.set_status(number, status);
        }
        let requests: Vec<_> =
            recorder.all().into_iter().map(|request| (request.names, request.status)).collect();
        let expected =
            [(2, 202), (3, 203)].map(|(n, status)| (vec![format!("gate-{n}")], Some(status)));
        assert_eq!(requests, expected);
        assert_eq!(recorder.counts().borrow().calls, 4);
    }

    #[test]
    fn answer_to_a_forgotten_request_goes_to_no_other() {
        let recorder = Recorder::new();
        let forgotten = recorder.add(request(0));
        recorder.clear();
        recorder.add(request(1));
        recorder.set_status(forgotten, 503);
        assert_eq!(recorder.all()[0].status, None);
        assert_eq!(recorder.counts().borrow().calls, 1);
    }

    #[test]
    fn debug_shows_neither_the_key_nor_a_private_attribute() {
        let recorder = Recorder::new();
        recorder.add(request(0));
        let shown = format!("{:?} {recorder:?}", request(0));
        assert!(!shown.contains("secret-key") && !shown.contains("hush"), "{shown}");
        assert!(request(0).has_key("secret-key") && !request(0).has_key("secret"));
    }
}

//! A connection as awc sees it: one request, then its whole answer, and so on.

mod answer;
mod read_write;
mod request;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    rc::{Rc, Weak},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    cooldown::Cooldown, cooldown_pool::CooldownPool, framing::Framing, request_line::Rewrite,
    reuse_tracker::ReuseTracker, socket::Socket,
};
use crate::{rt::clock, shared::Shared};

/// A connection that gives each answer to the request that caused it.
pub(crate) struct Stream {
    /// `None` once no answer from it can be trusted.
    socket: Option<Socket>,
    tracker: Rc<ReuseTracker>,
    shared: Arc<Shared>,
    opened: Instant,
    phase: Phase,
    cooldown: Cooldown,
    framing: Framing,
    /// Bytes read for awc.
    read: Vec<u8>,
    /// How many bytes of `read` awc has got.
    delivered: usize,
    options: Options,
    /// Replaces the beginning of the request that awc is writing.
    rewrite: Option<Rewrite>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Options {
    /// The connection serves one request.
    pub(super) is_single_use: bool,
    /// `http://host:port` before the path, for a proxy that expects requests in absolute form.
    pub(super) absolute_form: Option<Rc<str>>,
    /// The pool in which the connection cools down.
    pub(super) cooldown_pool: Weak<CooldownPool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// There is no request.
    Idle,
    /// A request is being written.
    Writing,
    /// The answer is being read.
    Reading,
}

/// How long a connection gets requests. After that, a new connection resolves the host's name
/// again, and so follows a change of address.
const LIFETIME: Duration = Duration::from_secs(75);

/// How long a connection may be idle.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The largest buffer that is kept for the next answer.
const MAX_KEPT_BUFFER: usize = 16 * 1024;

impl Stream {
    pub(super) fn new(
        socket: Option<Socket>,
        generation: u64,
        shared: Arc<Shared>,
        options: Options,
    ) -> Self {
        Self {
            socket,
            tracker: ReuseTracker::new(generation),
            shared,
            opened: clock::now(),
            phase: Phase::Idle,
            cooldown: Cooldown::new(clock::now()),
            framing: Framing::new(),
            read: Vec::new(),
            delivered: 0,
            options,
            rewrite: None,
        }
    }

    fn is_old(&self) -> bool {
        clock::now().saturating_duration_since(self.opened) >= LIFETIME
    }

    /// Whether this connection may have mixed up answers, or another connection has since this one
    /// opened.
    fn is_suspect(&self) -> bool {
        self.tracker.is_discarded()
            || self.tracker.generation() != self.shared.connection_generation()
    }

    /// Whether awc has the whole answer.
    fn is_delivered(&self) -> bool {
        self.framing.is_complete() && self.delivered == self.read.len()
    }

    /// Ends an exchange. The connection then idles, if it may get another request.
    fn finish_exchange(&mut self) {
        if self.framing.is_ambiguous() || self.options.is_single_use {
            self.socket = None;
        }
        self.read.clear();
        self.read.shrink_to(MAX_KEPT_BUFFER);
        self.delivered = 0;
        self.phase = Phase::Idle;
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("phase", &self.phase).finish_non_exhaustive()
    }
}

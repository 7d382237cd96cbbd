//! What a connection is doing, and until when it may: a pure state machine.

use std::time::{Duration, Instant};

/// The longest a connection may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// To send its next request, after the answer to the last.
    pub(crate) keep_alive: Duration,
    /// To send a request, from its first byte to its last, and to take an answer.
    pub(crate) client: Duration,
    /// To send the rest of a request or to take an answer, once the server is shutting down.
    pub(crate) leave: Duration,
}

/// What becomes of a connection whose time is up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Due {
    /// It is closed.
    Close,
    /// It is closed, and the client is told that its request came too slowly.
    CloseSlow,
    /// Whoever reads the body gets an error instead of the rest.
    RefuseBody(Refusal),
    /// It is reset: the client does not read its answer.
    Abort,
}

/// Why the rest of a body is not read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Refusal {
    Slow,
    NoRoom,
    Leaving,
}

/// Whether more may be read from the client.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Reading {
    Allowed,
    /// Not before the request at hand is answered.
    Later,
    /// The request does not fit into the memory that all requests share.
    NoRoom,
}

#[derive(Debug)]
pub(crate) struct State {
    phase: Phase,
    /// Bytes read since the last answer.
    held: usize,
    /// When the client first failed to take the answer at hand.
    stalled: Option<Instant>,
    /// When the server began to shut down.
    leaving: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// Nothing was read yet.
    New { since: Instant },
    /// Answered, and nothing was read since.
    Idle { since: Instant },
    /// A head is arriving.
    Head { since: Instant },
    /// A request's handler has been called, and the rest of its body is arriving.
    Body { since: Instant, refused: bool },
    /// A request has been read; `ahead` bytes after it as well.
    Answering { ahead: usize },
    /// The last answer has been given; what else arrives is thrown away.
    Closing { since: Instant },
}

/// A connection has a buffer of this size in any case: what fits into it is not counted.
pub(crate) const FREE: usize = 8 * 1024;

/// The most that is read ahead of the request at hand. Reading is how the end of the connection is
/// noticed.
const AHEAD: usize = 4 * 1024;

impl State {
    pub(crate) fn new(now: Instant) -> Self {
        Self { phase: Phase::New { since: now }, held: 0, stalled: None, leaving: None }
    }

    /// Bytes have been read.
    pub(crate) fn read(&mut self, bytes: usize, now: impl FnOnce() -> Instant) {
        match &mut self.phase {
            Phase::New { .. } | Phase::Idle { .. } => self.phase = Phase::Head { since: now() },
            Phase::Answering { ahead } => *ahead += bytes,
            Phase::Head { .. } | Phase::Body { .. } => {}
            Phase::Closing { .. } => return,
        }
        self.held += bytes;
    }

    /// A request's handler has been called: its head is complete.
    pub(crate) fn began(&mut self, has_body: bool, now: impl FnOnce() -> Instant) {
        self.phase = match self.phase {
            _ if !has_body => Phase::Answering { ahead: 0 },
            // One limit for both: slow heads leave less time for their bodies.
            Phase::Head { since } => Phase::Body { since, refused: false },
            _ => Phase::Body { since: now(), refused: false },
        };
    }

    /// The request's body has been read to its end.
    pub(crate) fn body_read(&mut self) {
        if let Phase::Body { .. } = self.phase {
            self.phase = Phase::Answering { ahead: 0 };
        }
    }

    /// Whether a part of the request's body is still to be read.
    pub(crate) fn has_unread_body(&self) -> bool {
        matches!(self.phase, Phase::Body { .. })
    }

    /// The request has its answer, which is going to be written.
    pub(crate) fn answered(&mut self, closes: bool, now: Instant) {
        self.phase = match self.phase {
            _ if closes => Phase::Closing { since: now },
            Phase::Answering { ahead } if ahead > 0 => Phase::Head { since: now },
            _ => Phase::Idle { since: now },
        };
        self.held = 0;
    }

    /// The client does not take what is written.
    pub(crate) fn stalled(&mut self, now: impl FnOnce() -> Instant) {
        self.stalled.get_or_insert_with(now);
    }

    /// All that was to be written has been.
    pub(crate) fn flushed(&mut self) {
        self.stalled = None;
    }

    /// The server has begun to shut down.
    pub(crate) fn leave(&mut self, now: Instant) {
        self.leaving.get_or_insert(now);
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }

    /// The rest of the body is not read.
    pub(crate) fn refuse_body(&mut self) {
        if let Phase::Body { refused, .. } = &mut self.phase {
            *refused = true;
        }
    }

    /// How many bytes the connection takes of the memory that all requests share.
    pub(crate) fn shared(&self) -> usize {
        self.held.saturating_sub(FREE)
    }

    /// Whether more may be read, where the shared memory is full or not.
    pub(crate) fn reading(&self, is_full: bool) -> Reading {
        match self.phase {
            Phase::Closing { .. } => Reading::Allowed,
            Phase::Answering { ahead } if ahead >= AHEAD => Reading::Later,
            _ if is_full && self.held >= FREE => Reading::NoRoom,
            _ => Reading::Allowed,
        }
    }

    /// Whether a request's head is arriving, which has no handler yet to tell.
    pub(crate) fn is_in_head(&self) -> bool {
        matches!(self.phase, Phase::New { .. } | Phase::Idle { .. } | Phase::Head { .. })
    }

    /// Whether nothing was read since the last answer.
    pub(crate) fn is_at_rest(&self) -> bool {
        matches!(self.phase, Phase::New { .. } | Phase::Idle { .. })
    }

    pub(crate) fn is_stalled(&self) -> bool {
        self.stalled.is_some()
    }

    /// What is to be done next, and when. What happens until then may change it.
    pub(crate) fn next(&self, limits: &Limits) -> Option<(Instant, Due)> {
        let both = self.next_read(limits).into_iter().chain(self.next_write(limits));
        both.min_by_key(|(at, _)| *at)
    }

    /// The same, of the answer that is being written.
    pub(crate) fn next_write(&self, limits: &Limits) -> Option<(Instant, Due)> {
        self.stalled.map(|since| (self.end(since, limits), Due::Abort))
    }

    fn next_read(&self, limits: &Limits) -> Option<(Instant, Due)> {
        let end = |since| self.end(since, limits);
        match (self.phase, self.leaving) {
            (Phase::New { .. } | Phase::Idle { .. } | Phase::Head { .. }, Some(left)) => {
                Some((left, Due::Close))
            }
            (Phase::New { since }, None) => Some((end(since), Due::Close)),
            (Phase::Idle { since }, None) => Some((since + limits.keep_alive, Due::Close)),
            (Phase::Head { since }, None) => Some((end(since), Due::CloseSlow)),
            (Phase::Body { since, refused: false }, left) => {
                let why = if left.is_some() { Refusal::Leaving } else { Refusal::Slow };
                Some((end(since), Due::RefuseBody(why)))
            }
            (Phase::Closing { since }, _) => Some((end(since), Due::Close)),
            (Phase::Body { refused: true, .. } | Phase::Answering { .. }, _) => None,
        }
    }

    /// When what began at `since` must have ended.
    fn end(&self, since: Instant, limits: &Limits) -> Instant {
        let end = since + limits.client;
        self.leaving.map_or(end, |left| end.min(left + limits.leave))
    }
}

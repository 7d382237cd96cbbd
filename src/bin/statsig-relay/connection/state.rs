//! The state of a connection, and the deadline of its next action. Pure.

use std::time::{Duration, Instant};

/// The time limits of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// From an answer to the next request.
    pub(crate) keep_alive: Duration,
    /// To send a request, from its first byte to its last, and to read an answer.
    pub(crate) client: Duration,
    /// To send the rest of a request, or to read an answer, once the server shuts down.
    pub(crate) shutdown: Duration,
}

/// The action to take when a connection's time is up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Due {
    /// Close the connection.
    Close,
    /// Close the connection, and tell the client that its request was too slow.
    CloseTooSlow,
    /// Make the handler's read of the body fail.
    RefuseBody(Refusal),
    /// Reset the connection: the client does not read its answer.
    Abort,
}

/// Why the rest of a body is refused.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Refusal {
    TooSlow,
    BudgetFull,
    ShuttingDown,
}

/// Whether more may be read from the client.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Reading {
    Allowed,
    /// Not until the current request is answered.
    AfterAnswer,
    /// Requests use their whole budget.
    BudgetFull,
}

/// A connection's state.
#[derive(Debug)]
pub(crate) struct State {
    phase: Phase,
    /// Bytes read since the last answer.
    held: usize,
    /// Whether the current request has a long head.
    has_long_head: bool,
    /// When the client stopped reading the current answer.
    stalled: Option<Instant>,
    /// When the server began to shut down.
    shutdown: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// No byte has been read yet.
    New { since: Instant },
    /// A request was answered, and no byte has been read since.
    Idle { since: Instant },
    /// A head is arriving.
    Head { since: Instant },
    /// The handler was called, and the rest of the body is arriving.
    Body { since: Instant, refused: bool },
    /// A request was read in full, and `ahead` bytes after it.
    Answering { ahead: usize },
    /// The last answer was given. Later bytes are discarded.
    Closing { since: Instant },
}

/// The size of the buffer that every connection has. Only bytes beyond it are charged to the
/// budget.
pub(crate) const FREE_BYTES: usize = 8 * 1024;

/// The most bytes to read beyond the current request. Only reading detects that the client has
/// closed the connection.
const MAX_AHEAD: usize = 4 * 1024;

/// A longer head closes its connection, because the server library would keep the large buffer
/// while the connection is open.
const LONG_HEAD: usize = 16 * 1024;

impl State {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            phase: Phase::New { since: now },
            held: 0,
            has_long_head: false,
            stalled: None,
            shutdown: None,
        }
    }

    /// Records that bytes were read.
    pub(crate) fn bytes_read(&mut self, bytes: usize, now: impl FnOnce() -> Instant) {
        match &mut self.phase {
            Phase::New { .. } | Phase::Idle { .. } => self.phase = Phase::Head { since: now() },
            Phase::Answering { ahead } => *ahead += bytes,
            Phase::Head { .. } | Phase::Body { .. } => {}
            Phase::Closing { .. } => return,
        }
        self.held += bytes;
    }

    /// Records that a request's handler was called, so its head is complete.
    pub(crate) fn request_began(&mut self, has_body: bool, now: impl FnOnce() -> Instant) {
        self.has_long_head = self.held > LONG_HEAD;
        self.phase = match self.phase {
            _ if !has_body => Phase::Answering { ahead: 0 },
            // Head and body share one limit.
            Phase::Head { since } => Phase::Body { since, refused: false },
            _ => Phase::Body { since: now(), refused: false },
        };
    }

    /// Records that the body was read to its end.
    pub(crate) fn body_read(&mut self) {
        if let Phase::Body { .. } = self.phase {
            self.phase = Phase::Answering { ahead: 0 };
        }
    }

    /// Whether a part of the body was not read.
    pub(crate) fn has_unread_body(&self) -> bool {
        matches!(self.phase, Phase::Body { .. })
    }

    /// Whether the connection must close after the current request.
    pub(crate) fn must_close(&self) -> bool {
        self.shutdown.is_some() || self.has_unread_body() || self.has_long_head
    }

    /// Records that the request has an answer, which is about to be written.
    pub(crate) fn request_answered(&mut self, closes: bool, now: Instant) {
        self.phase = match self.phase {
            _ if closes => Phase::Closing { since: now },
            Phase::Answering { ahead } if ahead > 0 => Phase::Head { since: now },
            _ => Phase::Idle { since: now },
        };
        self.held = 0;
    }

    /// Records that the client does not read what is written.
    pub(crate) fn stalled(&mut self, now: impl FnOnce() -> Instant) {
        self.stalled.get_or_insert_with(now);
    }

    /// Records that the client has read everything that was written.
    pub(crate) fn flushed(&mut self) {
        self.stalled = None;
    }

    /// Records that the server has begun to shut down.
    pub(crate) fn shut_down(&mut self, now: Instant) {
        self.shutdown.get_or_insert(now);
    }

    /// Records that the rest of the body is refused.
    pub(crate) fn refuse_body(&mut self) {
        if let Phase::Body { refused, .. } = &mut self.phase {
            *refused = true;
        }
    }

    /// Returns the bytes that are charged to the budget of all requests.
    pub(crate) fn budgeted(&self) -> usize {
        self.held.saturating_sub(FREE_BYTES)
    }

    /// Whether more may be read.
    pub(crate) fn reading(&self, is_budget_full: bool) -> Reading {
        match self.phase {
            Phase::Closing { .. } => Reading::Allowed,
            Phase::Answering { ahead } if ahead >= MAX_AHEAD => Reading::AfterAnswer,
            _ if is_budget_full && self.held >= FREE_BYTES => Reading::BudgetFull,
            _ => Reading::Allowed,
        }
    }

    /// Whether a head is incomplete or has not begun, so that there is no handler to report to.
    pub(crate) fn is_in_head(&self) -> bool {
        matches!(self.phase, Phase::New { .. } | Phase::Idle { .. } | Phase::Head { .. })
    }

    /// Whether the time to discard bytes is over. This is checked before each read, because a
    /// client may send without a pause.
    pub(crate) fn is_over(&self, limits: &Limits, now: impl FnOnce() -> Instant) -> bool {
        matches!(self.phase, Phase::Closing { since } if self.end(since, limits) <= now())
    }

    /// Whether no byte was read since the last answer.
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::New { .. } | Phase::Idle { .. })
    }

    pub(crate) fn is_stalled(&self) -> bool {
        self.stalled.is_some()
    }

    /// Returns the next action and its time. Earlier events may change both.
    pub(crate) fn next(&self, limits: &Limits) -> Option<(Instant, Due)> {
        let both = self.next_read(limits).into_iter().chain(self.next_write(limits));
        both.min_by_key(|(at, _)| *at)
    }

    /// Returns the next action for the answer that is being written.
    pub(crate) fn next_write(&self, limits: &Limits) -> Option<(Instant, Due)> {
        self.stalled.map(|since| (self.end(since, limits), Due::Abort))
    }

    fn next_read(&self, limits: &Limits) -> Option<(Instant, Due)> {
        let end = |since| self.end(since, limits);
        match (self.phase, self.shutdown) {
            (Phase::New { .. } | Phase::Idle { .. } | Phase::Head { .. }, Some(shutdown)) => {
                Some((shutdown, Due::Close))
            }
            (Phase::New { since }, None) => Some((end(since), Due::Close)),
            (Phase::Idle { since }, None) => Some((since + limits.keep_alive, Due::Close)),
            (Phase::Head { since }, None) => Some((end(since), Due::CloseTooSlow)),
            (Phase::Body { since, refused: false }, shutdown) => {
                let is_shutdown = shutdown.is_some();
                let reason = if is_shutdown { Refusal::ShuttingDown } else { Refusal::TooSlow };
                Some((end(since), Due::RefuseBody(reason)))
            }
            (Phase::Closing { since }, _) => Some((end(since), Due::Close)),
            (Phase::Body { refused: true, .. } | Phase::Answering { .. }, _) => None,
        }
    }

    /// Returns the deadline of an activity that began at `since`.
    fn end(&self, since: Instant, limits: &Limits) -> Instant {
        let end = since + limits.client;
        self.shutdown.map_or(end, |shutdown| end.min(shutdown + limits.shutdown))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    const LIMITS: Limits = Limits {
        keep_alive: Duration::from_secs(120),
        client: Duration::from_secs(15),
        shutdown: SECOND,
    };

    /// A connection with a manual clock.
    struct Run {
        state: State,
        now: Instant,
        start: Instant,
    }

    impl Run {
        #[expect(clippy::disallowed_methods, reason = "the start of a manual clock")]
        fn new() -> Self {
            let start = Instant::now();
            Self { state: State::new(start), now: start, start }
        }

        fn wait(&mut self, seconds: u32) -> &mut Self {
            self.now += SECOND * seconds;
            self
        }

        fn read(&mut self, bytes: usize) -> &mut Self {
            let now = self.now;
            self.state.bytes_read(bytes, || now);
            self
        }

        fn began(&mut self, has_body: bool) -> &mut Self {
            let now = self.now;
            self.state.request_began(has_body, || now);
            self
        }

        fn answered(&mut self, closes: bool) -> &mut Self {
            self.state.request_answered(closes, self.now);
            self
        }

        fn stalled(&mut self) -> &mut Self {
            let now = self.now;
            self.state.stalled(|| now);
            self
        }

        fn shut_down(&mut self) -> &mut Self {
            self.state.shut_down(self.now);
            self
        }

        /// Returns the next action, and its second after the start.
        fn next(&self) -> Option<(u64, Due)> {
            let next = self.state.next(&LIMITS);
            next.map(|(at, due)| ((at - self.start).as_secs(), due))
        }
    }

    #[test]
    fn dripped_bytes_do_not_extend_the_limit_of_any_head() {
        let mut run = Run::new();
        assert_eq!(run.next(), Some((15, Due::Close)));
        run.wait(5).read(1);
        assert_eq!(run.next(), Some((20, Due::CloseTooSlow)));
        run.wait(14).read(1);
        assert_eq!(run.next(), Some((20, Due::CloseTooSlow)));

        run.began(false).answered(false);
        assert_eq!(run.next(), Some((19 + 120, Due::Close)));
        run.wait(100).read(1).wait(1).read(1);
        assert_eq!(run.next(), Some((119 + 15, Due::CloseTooSlow)));
    }

    #[test]
    fn head_and_body_share_a_limit_and_handlers_have_none() {
        let mut run = Run::new();
        run.read(100).wait(10).began(true).wait(1).read(1);
        assert_eq!(run.next(), Some((15, Due::RefuseBody(Refusal::TooSlow))));
        run.state.refuse_body();
        assert_eq!(run.next(), None);
        assert!(run.state.has_unread_body());

        let mut run = Run::new();
        run.read(100).began(true).state.body_read();
        assert_eq!(run.next(), None);
        assert!(!run.state.has_unread_body());
    }

    #[test]
    fn head_read_ahead_is_timed_from_the_answer() {
        let mut run = Run::new();
        run.read(100).began(false).wait(3).read(1).answered(false);
        assert_eq!(run.next(), Some((18, Due::CloseTooSlow)));
    }

    #[test]
    fn bytes_after_the_last_answer_do_not_extend_the_limit() {
        let mut run = Run::new();
        run.read(100).began(true).answered(true).wait(10).read(1_000_000);
        assert_eq!(run.next(), Some((15, Due::Close)));
        assert_eq!(run.state.budgeted(), 0);
        for (seconds, is_over) in [(4, false), (1, true)] {
            let now = run.wait(seconds).now;
            assert_eq!(run.state.is_over(&LIMITS, || now), is_over);
        }
    }

    #[test]
    fn answer_must_be_read_whole_in_time() {
        let mut run = Run::new();
        run.read(100).began(false).answered(false).wait(2).stalled().wait(10).stalled();
        assert_eq!(run.next(), Some((17, Due::Abort)));
        run.state.flushed();
        assert_eq!(run.next(), Some((120, Due::Close)));
    }

    #[test]
    fn shutdown_closes_idle_connections_first() {
        let at_5 = |run: &mut Run| run.wait(5).shut_down().next();
        assert_eq!(at_5(&mut Run::new()), Some((5, Due::Close)));
        assert_eq!(at_5(Run::new().read(1)), Some((5, Due::Close)));
        assert_eq!(at_5(Run::new().read(1).began(false).answered(false)), Some((5, Due::Close)));
        let body = Due::RefuseBody(Refusal::ShuttingDown);
        assert_eq!(at_5(Run::new().read(1).began(true)), Some((6, body)));
        assert_eq!(at_5(Run::new().read(1).began(false)), None);
        assert_eq!(at_5(Run::new().read(1).began(false).stalled()), Some((6, Due::Abort)));
        assert_eq!(at_5(Run::new().read(1).began(true).answered(true)), Some((6, Due::Close)));
    }

    #[test]
    fn only_large_requests_take_shared_memory() {
        let mut run = Run::new();
        run.read(FREE_BYTES - 1);
        assert_eq!((run.state.budgeted(), run.state.reading(true)), (0, Reading::Allowed));
        run.read(100);
        assert_eq!((run.state.budgeted(), run.state.reading(true)), (99, Reading::BudgetFull));
        assert_eq!(run.state.reading(false), Reading::Allowed);
        run.began(false).answered(false);
        assert_eq!((run.state.budgeted(), run.state.reading(true)), (0, Reading::Allowed));
    }

    #[test]
    fn little_is_read_ahead_of_the_request_at_hand() {
        let mut run = Run::new();
        run.read(100).began(false).read(MAX_AHEAD - 1);
        assert_eq!(run.state.reading(false), Reading::Allowed);
        run.read(1);
        assert_eq!(run.state.reading(false), Reading::AfterAnswer);
        run.answered(false);
        assert_eq!(run.state.reading(false), Reading::Allowed);
    }
}

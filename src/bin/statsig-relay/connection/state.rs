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
    /// The request at hand has a long head.
    has_long_head: bool,
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

/// A longer head ends its connection: the server library keeps the buffer for it as long as the
/// connection is open.
const LONG_HEAD: usize = 16 * 1024;

impl State {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            phase: Phase::New { since: now },
            held: 0,
            has_long_head: false,
            stalled: None,
            leaving: None,
        }
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
        self.has_long_head = self.held > LONG_HEAD;
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

    /// Whether the connection cannot be kept after the request at hand.
    pub(crate) fn must_close(&self) -> bool {
        self.is_leaving() || self.has_unread_body() || self.has_long_head
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

    /// Whether the time is up in which what arrives is thrown away. It is asked before each read:
    /// there may be more to read at any time.
    pub(crate) fn is_over(&self, limits: &Limits, now: impl FnOnce() -> Instant) -> bool {
        matches!(self.phase, Phase::Closing { since } if self.end(since, limits) <= now())
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

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    const LIMITS: Limits = Limits {
        keep_alive: Duration::from_secs(120),
        client: Duration::from_secs(15),
        leave: SECOND,
    };

    /// A connection, and a clock that goes only when it is told to.
    struct Run {
        state: State,
        now: Instant,
        start: Instant,
    }

    impl Run {
        #[expect(clippy::disallowed_methods, reason = "a beginning; it never goes by itself")]
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
            self.state.read(bytes, || now);
            self
        }

        fn began(&mut self, has_body: bool) -> &mut Self {
            let now = self.now;
            self.state.began(has_body, || now);
            self
        }

        fn answered(&mut self, closes: bool) -> &mut Self {
            self.state.answered(closes, self.now);
            self
        }

        fn stalled(&mut self) -> &mut Self {
            let now = self.now;
            self.state.stalled(|| now);
            self
        }

        fn leave(&mut self) -> &mut Self {
            self.state.leave(self.now);
            self
        }

        /// What is due next, and how many seconds after the beginning.
        fn next(&self) -> Option<(u64, Due)> {
            let next = self.state.next(&LIMITS);
            next.map(|(at, due)| ((at - self.start).as_secs(), due))
        }
    }

    #[test]
    fn bytes_now_and_then_win_no_time_in_the_first_head_or_a_later_one() {
        let mut run = Run::new();
        assert_eq!(run.next(), Some((15, Due::Close)));
        run.wait(5).read(1);
        assert_eq!(run.next(), Some((20, Due::CloseSlow)));
        run.wait(14).read(1);
        assert_eq!(run.next(), Some((20, Due::CloseSlow)));

        run.began(false).answered(false);
        assert_eq!(run.next(), Some((19 + 120, Due::Close)));
        run.wait(100).read(1).wait(1).read(1);
        assert_eq!(run.next(), Some((119 + 15, Due::CloseSlow)));
    }

    #[test]
    fn head_and_body_have_one_limit_and_a_handler_that_works_has_none() {
        let mut run = Run::new();
        run.read(100).wait(10).began(true).wait(1).read(1);
        assert_eq!(run.next(), Some((15, Due::RefuseBody(Refusal::Slow))));
        run.state.refuse_body();
        assert_eq!(run.next(), None);
        assert!(run.state.has_unread_body());

        let mut run = Run::new();
        run.read(100).began(true).state.body_read();
        assert_eq!(run.next(), None);
        assert!(!run.state.has_unread_body());
    }

    #[test]
    fn beginning_of_a_next_head_that_was_read_ahead_counts_from_the_answer() {
        let mut run = Run::new();
        run.read(100).began(false).wait(3).read(1).answered(false);
        assert_eq!(run.next(), Some((18, Due::CloseSlow)));
    }

    #[test]
    fn what_arrives_after_the_last_answer_wins_no_time() {
        let mut run = Run::new();
        run.read(100).began(true).answered(true).wait(10).read(1_000_000);
        assert_eq!(run.next(), Some((15, Due::Close)));
        assert_eq!(run.state.shared(), 0);
        for (seconds, is_over) in [(4, false), (1, true)] {
            let now = run.wait(seconds).now;
            assert_eq!(run.state.is_over(&LIMITS, || now), is_over);
        }
    }

    #[test]
    fn answer_is_to_be_taken_whole_in_time_and_not_a_byte_now_and_then() {
        let mut run = Run::new();
        run.read(100).began(false).answered(false).wait(2).stalled().wait(10).stalled();
        assert_eq!(run.next(), Some((17, Due::Abort)));
        run.state.flushed();
        assert_eq!(run.next(), Some((120, Due::Close)));
    }

    #[test]
    fn shutdown_closes_idle_connections_at_once_and_leaves_others_a_moment() {
        let at_5 = |run: &mut Run| run.wait(5).leave().next();
        assert_eq!(at_5(&mut Run::new()), Some((5, Due::Close)));
        assert_eq!(at_5(Run::new().read(1)), Some((5, Due::Close)));
        assert_eq!(at_5(Run::new().read(1).began(false).answered(false)), Some((5, Due::Close)));
        let body = Due::RefuseBody(Refusal::Leaving);
        assert_eq!(at_5(Run::new().read(1).began(true)), Some((6, body)));
        assert_eq!(at_5(Run::new().read(1).began(false)), None);
        assert_eq!(at_5(Run::new().read(1).began(false).stalled()), Some((6, Due::Abort)));
        assert_eq!(at_5(Run::new().read(1).began(true).answered(true)), Some((6, Due::Close)));
    }

    #[test]
    fn only_requests_beyond_a_buffers_size_take_shared_memory_until_they_are_answered() {
        let mut run = Run::new();
        run.read(FREE - 1);
        assert_eq!((run.state.shared(), run.state.reading(true)), (0, Reading::Allowed));
        run.read(100);
        assert_eq!((run.state.shared(), run.state.reading(true)), (99, Reading::NoRoom));
        assert_eq!(run.state.reading(false), Reading::Allowed);
        run.began(false).answered(false);
        assert_eq!((run.state.shared(), run.state.reading(true)), (0, Reading::Allowed));
    }

    #[test]
    fn little_is_read_ahead_of_the_request_at_hand() {
        let mut run = Run::new();
        run.read(100).began(false).read(AHEAD - 1);
        assert_eq!(run.state.reading(false), Reading::Allowed);
        run.read(1);
        assert_eq!(run.state.reading(false), Reading::Later);
        run.answered(false);
        assert_eq!(run.state.reading(false), Reading::Allowed);
    }
}

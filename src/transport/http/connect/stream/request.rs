//! Decides whether a request may be written.

use std::{
    io::{self, ErrorKind},
    task::Context,
};

use super::{Phase, Stream};
use crate::{
    rt::clock,
    transport::http::connect::{framing::Framing, request_line::Rewrite, socket::UnexpectedInput},
};

impl Stream {
    /// Starts a request, if the connection is idle and has no input.
    ///
    /// This is where answers are matched to requests. HTTP/1.1 answers have no ids: the next bytes
    /// are the next answer. That answer belongs to the next request only if the previous answer had
    /// an unambiguous end (`Framing`), and no byte has arrived since (`Socket::check_unexpected`).
    /// Otherwise the connection ends before a byte of the request is sent, and the call is retried
    /// on a fresh one. `continue_request` checks again before each further write. A stray answer
    /// that arrives after the last check cannot be distinguished from the expected one.
    pub(super) fn begin_request(&mut self, cx: &mut Context<'_>, request: &[u8]) -> io::Result<()> {
        self.tracker.on_request();
        if self.phase == Phase::Reading && self.is_delivered() {
            self.finish_exchange();
        }
        let is_idle = self.phase == Phase::Idle;
        let Some(socket) = self.socket.as_mut().filter(|_| is_idle) else {
            return Err(self.discard("the end of the previous answer is ambiguous"));
        };
        let unexpected = socket.check_unexpected(cx);
        self.accept(unexpected)?;
        if self.is_suspect() {
            return Err(self.discard("this or another connection has mixed up answers"));
        }
        self.framing = Framing::new();
        if let Some(form) = &self.options.absolute_form {
            self.rewrite = Some(Rewrite::new(request, form)?);
        }
        self.phase = Phase::Writing;
        self.cooldown.on_request(clock::now());
        Ok(())
    }

    /// Checks for input before a further part of a request is written. The server has not read the
    /// whole request, so the input cannot answer it. On a new connection, the input may refuse a
    /// request that is too long.
    pub(super) fn continue_request(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let is_reused = self.tracker.is_reused();
        let Some(socket) = self.socket.as_mut().filter(|_| is_reused) else { return Ok(()) };
        let unexpected = socket.check_unexpected(cx);
        self.accept(unexpected)
    }

    /// Returns an error if the request must not be written after this input.
    fn accept(&self, unexpected: UnexpectedInput) -> io::Result<()> {
        match (unexpected, self.tracker.is_reused()) {
            (UnexpectedInput::Nothing, _) | (UnexpectedInput::PartialRecord, false) => Ok(()),
            (UnexpectedInput::Bytes, _) | (UnexpectedInput::PartialRecord, true) => {
                Err(self.discard("bytes arrived before the request was sent"))
            }
            (UnexpectedInput::Eof | UnexpectedInput::Failed(_), true) => {
                Err(self.discard("the connection closed before the request was sent"))
            }
            // On a new connection, let the attempt itself find out how it ends.
            (UnexpectedInput::Eof, false) => Ok(()),
            (UnexpectedInput::Failed(error), false) => Err(error),
        }
    }

    /// Discards the connection. The returned error makes the transport retry the call on a fresh
    /// one.
    pub(super) fn discard(&self, reason: &'static str) -> io::Error {
        self.tracker.discard();
        io::Error::new(ErrorKind::ConnectionAborted, reason)
    }
}

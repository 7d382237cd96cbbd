//! Finds the end of an answer on its connection (RFC 9112, sections 6 and 7). Pure: bytes in, bytes
//! out.
//!
//! awc takes the first head as the answer's, and returns the connection to its pool at the end of
//! that answer. So awc gets only the final head, and nothing beyond the end of its body.

mod head;
#[cfg(test)]
mod tests;

use self::head::{BodyLength, Head};
use super::chunked::Chunked;

/// The position in the answer to one POST.
#[derive(Debug)]
pub(super) struct Framing {
    position: Position,
    /// The number of bytes of earlier heads.
    earlier_heads: usize,
    interim_responses: u32,
    status: Option<u16>,
    is_ambiguous: bool,
    has_extra_bytes: bool,
}

#[derive(Debug)]
enum Position {
    /// In a head, with the bytes read so far.
    Head(Vec<u8>),
    /// In a body with this many bytes left.
    Body(u64),
    Chunked(Chunked),
    UntilClose,
    Complete,
}

/// Why an answer cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FramingError {
    #[error("not an HTTP response ({0})")]
    Head(#[from] httparse::Error),
    #[error("not an HTTP response ({0})")]
    Malformed(&'static str),
    #[error("the connection closed before the end of {0}")]
    Truncated(&'static str),
}

/// The most bytes of all heads of an answer. Chunk extensions and trailers have the same limit.
pub(super) const MAX_HEAD_BYTES: usize = 64 * 1024;

/// The most interim responses before the answer.
const MAX_INTERIM_RESPONSES: u32 = 32;

/// The start of every head.
const HTTP_1: &[u8] = b"HTTP/1.";

/// Makes awc close the connection.
const CONNECTION_CLOSE: &[u8] = b"connection: close\r\n\r\n";

impl Framing {
    pub(super) fn new() -> Self {
        Self {
            position: Position::Head(Vec::new()),
            earlier_heads: 0,
            interim_responses: 0,
            status: None,
            is_ambiguous: false,
            has_extra_bytes: false,
        }
    }

    /// Reads bytes from the connection, and appends the bytes that awc may see to `out`.
    pub(super) fn read(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<(), FramingError> {
        while !bytes.is_empty() {
            let consumed = match &mut self.position {
                Position::Head(_) => self.read_head(bytes, out)?,
                Position::Body(remaining) => {
                    let limit = usize::try_from(*remaining).unwrap_or(usize::MAX);
                    let consumed = limit.min(bytes.len());
                    *remaining -= consumed as u64;
                    out.extend_from_slice(&bytes[..consumed]);
                    if *remaining == 0 {
                        self.position = Position::Complete;
                    }
                    consumed
                }
                Position::Chunked(chunks) => {
                    let consumed = chunks.read(bytes)?;
                    out.extend_from_slice(&bytes[..consumed]);
                    if chunks.is_complete() {
                        self.position = Position::Complete;
                    }
                    consumed
                }
                Position::UntilClose => {
                    out.extend_from_slice(bytes);
                    bytes.len()
                }
                Position::Complete => {
                    (self.is_ambiguous, self.has_extra_bytes) = (true, true);
                    bytes.len()
                }
            };
            bytes = &bytes[consumed..];
        }
        Ok(())
    }

    /// Records that the connection has closed.
    pub(super) fn end(&mut self) -> Result<(), FramingError> {
        self.is_ambiguous = true;
        match &self.position {
            Position::Head(head) if self.interim_responses == 0 && head.is_empty() => Ok(()),
            Position::Head(_) => Err(FramingError::Truncated("the head")),
            Position::Body(_) | Position::Chunked(_) => Err(FramingError::Truncated("the body")),
            Position::UntilClose | Position::Complete => {
                self.position = Position::Complete;
                Ok(())
            }
        }
    }

    /// The answer's status, once its head is complete.
    pub(super) fn status(&self) -> Option<u16> {
        self.status
    }

    pub(super) fn is_complete(&self) -> bool {
        matches!(self.position, Position::Complete)
    }

    /// Whether it is unclear where the next answer starts.
    pub(super) fn is_ambiguous(&self) -> bool {
        self.is_ambiguous
    }

    /// Whether bytes followed the answer.
    pub(super) fn has_extra_bytes(&self) -> bool {
        self.has_extra_bytes
    }

    /// Returns how many of the bytes belong to heads.
    fn read_head(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<usize, FramingError> {
        let Position::Head(head) = &mut self.position else { return Ok(0) };
        let room = MAX_HEAD_BYTES - self.earlier_heads - head.len();
        let bytes = &bytes[..bytes.len().min(room)];
        if bytes.is_empty() {
            return Err(FramingError::Malformed("head longer than 64 KiB"));
        }
        if head.is_empty()
            && let b'\r' | b'\n' = bytes[0]
        {
            // An empty line: harmless, unless an earlier answer left it behind.
            self.is_ambiguous = true;
            self.earlier_heads += 1;
            return Ok(1);
        }
        let before = head.len();
        head.extend_from_slice(bytes);
        if !head.iter().zip(HTTP_1).all(|(byte, expected)| byte == expected) {
            // Report this early, because the end of the line may never come.
            return Err(FramingError::Head(httparse::Error::Version));
        }
        // A head ends at the end of a line: bytes of an unfinished line cannot end it.
        let Some(line) = bytes.iter().rposition(|byte| *byte == b'\n') else {
            return Ok(bytes.len());
        };
        let Some(parsed) = Head::parse(&head[..before + line + 1])? else {
            return Ok(bytes.len());
        };
        let consumed = parsed.length - before;
        self.earlier_heads += parsed.length;
        if parsed.is_interim()? {
            self.interim_responses += 1;
            self.is_ambiguous = true;
            if self.interim_responses > MAX_INTERIM_RESPONSES {
                return Err(FramingError::Malformed("more than 32 interim responses"));
            }
            head.clear();
            return Ok(consumed);
        }
        self.status = Some(parsed.status);
        self.is_ambiguous |= !parsed.is_reusable;
        write_head(&head[..parsed.length], &parsed.body, self.is_ambiguous, out);
        self.position = match parsed.body {
            BodyLength::None | BodyLength::Known(0) => Position::Complete,
            BodyLength::Known(length) => Position::Body(length),
            BodyLength::Chunked => Position::Chunked(Chunked::default()),
            BodyLength::UntilClose => Position::UntilClose,
        };
        Ok(consumed)
    }
}

/// Writes a head for awc, so that awc sees the true end of the body and of the connection.
fn write_head(head: &[u8], body: &BodyLength, closes: bool, out: &mut Vec<u8>) {
    if !closes {
        return out.extend_from_slice(head);
    }
    let start = out.len();
    let head = head.strip_suffix(b"\n").unwrap_or(head);
    out.extend_from_slice(head.strip_suffix(b"\r").unwrap_or(head));
    out.extend_from_slice(CONNECTION_CLOSE);
    // Write HTTP/1.0 instead: awc reads HTTP/1.1 without a length as an empty body.
    if let (BodyLength::UntilClose, Some(minor)) = (body, out.get_mut(start + HTTP_1.len())) {
        *minor = b'0';
    }
}

//! Finds the end of a chunked body (RFC 9112, section 7.1). Pure.

use super::framing::{FramingError, MAX_HEAD_BYTES};

/// The position in a chunked body. Reading is as strict as in awc's decoder, which reads the same
/// bytes.
#[derive(Debug, Default)]
pub(super) struct Chunked {
    state: ChunkState,
    /// The bytes left in the chunk.
    remaining: u64,
    /// The digits of the chunk's size so far.
    size_digits: u32,
    /// The bytes of extensions and trailers so far.
    overhead: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ChunkState {
    #[default]
    Size,
    SpaceAfterSize,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// At the start of a line after the last chunk.
    TrailerStart,
    Trailer,
    TrailerLf,
    EndLf,
    Complete,
}

/// The most digits that fit into 64 bits.
const MAX_SIZE_DIGITS: u32 = 16;

impl Chunked {
    /// Returns how many of the bytes belong to the body: all of them, unless the body ends.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<usize, FramingError> {
        let mut consumed = 0;
        while consumed < bytes.len() && !self.is_complete() {
            if self.state == ChunkState::Data {
                let remaining = usize::try_from(self.remaining).unwrap_or(usize::MAX);
                let data = remaining.min(bytes.len() - consumed);
                self.remaining -= data as u64;
                consumed += data;
                if self.remaining == 0 {
                    self.state = ChunkState::DataCr;
                }
            } else {
                self.state = self.step(bytes[consumed])?;
                consumed += 1;
            }
        }
        Ok(consumed)
    }

    pub(super) fn is_complete(&self) -> bool {
        self.state == ChunkState::Complete
    }

    fn step(&mut self, byte: u8) -> Result<ChunkState, FramingError> {
        Ok(match (self.state, byte) {
            (ChunkState::Size, _) if byte.is_ascii_hexdigit() => {
                self.push_digit(byte)?;
                ChunkState::Size
            }
            (ChunkState::Size | ChunkState::SpaceAfterSize, b' ' | b'\t')
                if self.size_digits > 0 =>
            {
                self.count_overhead()?;
                ChunkState::SpaceAfterSize
            }
            (ChunkState::Size | ChunkState::SpaceAfterSize, b';') if self.size_digits > 0 => {
                ChunkState::Extension
            }
            (ChunkState::Size | ChunkState::SpaceAfterSize, b'\r') if self.size_digits > 0 => {
                ChunkState::SizeLf
            }
            (ChunkState::Extension, b'\r') => ChunkState::SizeLf,
            (ChunkState::Extension, b'\t' | b' '..=b'~' | 0x80..) => {
                self.count_overhead()?;
                ChunkState::Extension
            }
            (ChunkState::SizeLf, b'\n') => {
                self.size_digits = 0;
                if self.remaining == 0 { ChunkState::TrailerStart } else { ChunkState::Data }
            }
            (ChunkState::DataCr, b'\r') => ChunkState::DataLf,
            (ChunkState::DataLf, b'\n') => ChunkState::Size,
            (ChunkState::TrailerStart, b'\r') => ChunkState::EndLf,
            (ChunkState::Trailer, b'\r') => ChunkState::TrailerLf,
            (ChunkState::TrailerStart | ChunkState::Trailer, b'\t' | b' '..=b'~' | 0x80..) => {
                self.count_overhead()?;
                ChunkState::Trailer
            }
            (ChunkState::TrailerLf, b'\n') => ChunkState::TrailerStart,
            (ChunkState::EndLf, b'\n') => ChunkState::Complete,
            _ => return Err(FramingError::Malformed("malformed chunk")),
        })
    }

    fn push_digit(&mut self, byte: u8) -> Result<(), FramingError> {
        self.size_digits += 1;
        if self.size_digits > MAX_SIZE_DIGITS {
            return Err(FramingError::Malformed("the size of a chunk has more than 16 digits"));
        }
        let digit = char::from(byte).to_digit(16).unwrap_or_default();
        self.remaining = self.remaining << 4 | u64::from(digit);
        Ok(())
    }

    fn count_overhead(&mut self) -> Result<(), FramingError> {
        self.overhead += 1;
        if self.overhead > MAX_HEAD_BYTES {
            return Err(FramingError::Malformed(
                "chunk extensions and trailers longer than 64 KiB",
            ));
        }
        Ok(())
    }
}

//! Where a body in chunks ends: RFC 9112, section 7.1. Pure.

use super::framing::{FramingError, MAX_HEADS};

/// What was read of a chunked body. As strict as awc's decoder, which reads the same bytes.
#[derive(Debug, Default)]
pub(super) struct Chunked {
    state: ChunkState,
    /// The rest of the chunk.
    left: u64,
    /// The digits of its size.
    digits: u32,
    /// The bytes of extensions and trailers so far.
    extra: usize,
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
    /// The beginning of a line after the last chunk.
    TrailerStart,
    Trailer,
    TrailerLf,
    EndLf,
    Complete,
}

/// More does not fit 64 bits.
const MAX_DIGITS: u32 = 16;

impl Chunked {
    /// Returns how many of the bytes belong to the body: all of them, unless it is over.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<usize, FramingError> {
        let mut taken = 0;
        while taken < bytes.len() && !self.is_complete() {
            if self.state == ChunkState::Data {
                let left = usize::try_from(self.left).unwrap_or(usize::MAX);
                let data = left.min(bytes.len() - taken);
                self.left -= data as u64;
                taken += data;
                if self.left == 0 {
                    self.state = ChunkState::DataCr;
                }
            } else {
                self.state = self.step(bytes[taken])?;
                taken += 1;
            }
        }
        Ok(taken)
    }

    pub(super) fn is_complete(&self) -> bool {
        self.state == ChunkState::Complete
    }

    fn step(&mut self, byte: u8) -> Result<ChunkState, FramingError> {
        Ok(match (self.state, byte) {
            (ChunkState::Size, _) if byte.is_ascii_hexdigit() => {
                self.digit(byte)?;
                ChunkState::Size
            }
            (ChunkState::Size | ChunkState::SpaceAfterSize, b' ' | b'\t') if self.digits > 0 => {
                self.count()?;
                ChunkState::SpaceAfterSize
            }
            (ChunkState::Size | ChunkState::SpaceAfterSize, b';') if self.digits > 0 => {
                ChunkState::Extension
            }
            (ChunkState::Size | ChunkState::SpaceAfterSize, b'\r') if self.digits > 0 => {
                ChunkState::SizeLf
            }
            (ChunkState::Extension, b'\r') => ChunkState::SizeLf,
            (ChunkState::Extension, b'\t' | b' '..=b'~' | 0x80..) => {
                self.count()?;
                ChunkState::Extension
            }
            (ChunkState::SizeLf, b'\n') => {
                self.digits = 0;
                if self.left == 0 { ChunkState::TrailerStart } else { ChunkState::Data }
            }
            (ChunkState::DataCr, b'\r') => ChunkState::DataLf,
            (ChunkState::DataLf, b'\n') => ChunkState::Size,
            (ChunkState::TrailerStart, b'\r') => ChunkState::EndLf,
            (ChunkState::Trailer, b'\r') => ChunkState::TrailerLf,
            (ChunkState::TrailerStart | ChunkState::Trailer, b'\t' | b' '..=b'~' | 0x80..) => {
                self.count()?;
                ChunkState::Trailer
            }
            (ChunkState::TrailerLf, b'\n') => ChunkState::TrailerStart,
            (ChunkState::EndLf, b'\n') => ChunkState::Complete,
            _ => return Err(FramingError::Malformed("a body in chunks that are none")),
        })
    }

    fn digit(&mut self, byte: u8) -> Result<(), FramingError> {
        self.digits += 1;
        if self.digits > MAX_DIGITS {
            return Err(FramingError::Malformed("a chunk that is too long"));
        }
        let digit = char::from(byte).to_digit(16).unwrap_or_default();
        self.left = self.left << 4 | u64::from(digit);
        Ok(())
    }

    fn count(&mut self) -> Result<(), FramingError> {
        self.extra += 1;
        if self.extra > MAX_HEADS {
            return Err(FramingError::Malformed(
                "what its chunks are wrapped in is longer than 64 KiB",
            ));
        }
        Ok(())
    }
}

//! Where a body in chunks ends: RFC 9112, section 7.1. Pure.

use super::framing::{Fault, MAX_HEADS};

/// What was read of a chunked body. As strict as awc's decoder, which reads the same bytes.
#[derive(Debug, Default)]
pub(super) struct Chunked {
    at: At,
    /// The rest of the chunk.
    left: u64,
    /// The digits of its size.
    digits: u32,
    /// The bytes of extensions and trailers so far.
    extra: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
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
    Over,
}

/// More does not fit 64 bits.
const MAX_DIGITS: u32 = 16;

impl Chunked {
    /// Returns how many of the bytes belong to the body: all of them, unless it is over.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        let mut taken = 0;
        while taken < bytes.len() && !self.is_over() {
            if self.at == At::Data {
                let left = usize::try_from(self.left).unwrap_or(usize::MAX);
                let data = left.min(bytes.len() - taken);
                self.left -= data as u64;
                taken += data;
                if self.left == 0 {
                    self.at = At::DataCr;
                }
            } else {
                self.at = self.step(bytes[taken])?;
                taken += 1;
            }
        }
        Ok(taken)
    }

    pub(super) fn is_over(&self) -> bool {
        self.at == At::Over
    }

    fn step(&mut self, byte: u8) -> Result<At, Fault> {
        Ok(match (self.at, byte) {
            (At::Size, _) if byte.is_ascii_hexdigit() => {
                self.digit(byte)?;
                At::Size
            }
            (At::Size | At::SpaceAfterSize, b' ' | b'\t') if self.digits > 0 => {
                self.count()?;
                At::SpaceAfterSize
            }
            (At::Size | At::SpaceAfterSize, b';') if self.digits > 0 => At::Extension,
            (At::Size | At::SpaceAfterSize, b'\r') if self.digits > 0 => At::SizeLf,
            (At::Extension, b'\r') => At::SizeLf,
            (At::Extension, b'\t' | b' '..=b'~' | 0x80..) => {
                self.count()?;
                At::Extension
            }
            (At::SizeLf, b'\n') => {
                self.digits = 0;
                if self.left == 0 { At::TrailerStart } else { At::Data }
            }
            (At::DataCr, b'\r') => At::DataLf,
            (At::DataLf, b'\n') => At::Size,
            (At::TrailerStart, b'\r') => At::EndLf,
            (At::Trailer, b'\r') => At::TrailerLf,
            (At::TrailerStart | At::Trailer, b'\t' | b' '..=b'~' | 0x80..) => {
                self.count()?;
                At::Trailer
            }
            (At::TrailerLf, b'\n') => At::TrailerStart,
            (At::EndLf, b'\n') => At::Over,
            _ => return Err(Fault::Malformed("a body in chunks that are none")),
        })
    }

    fn digit(&mut self, byte: u8) -> Result<(), Fault> {
        self.digits += 1;
        if self.digits > MAX_DIGITS {
            return Err(Fault::Malformed("a chunk that is too long"));
        }
        let digit = char::from(byte).to_digit(16).unwrap_or_default();
        self.left = self.left << 4 | u64::from(digit);
        Ok(())
    }

    fn count(&mut self) -> Result<(), Fault> {
        self.extra += 1;
        if self.extra > MAX_HEADS {
            return Err(Fault::Malformed("what its chunks are wrapped in is longer than 64 KiB"));
        }
        Ok(())
    }
}

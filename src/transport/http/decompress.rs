//! Decompresses gzip bodies, because some proxies compress unasked. Pure.

use std::io::{ErrorKind, Read};

use flate2::bufread::GzDecoder;

/// Why a body could not be decompressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DecompressError {
    /// The decompressed body is longer than allowed.
    TooLong,
    Truncated,
    Corrupt,
}

/// Returns the decompressed body, up to the limit. A body without gzip is returned unchanged.
///
/// The body's first bytes decide, not `Content-Encoding`: a proxy that decompresses a body may keep
/// the header, and no JSON starts like gzip.
pub(super) fn decompress(body: Vec<u8>, limit: usize) -> Result<Vec<u8>, DecompressError> {
    let Some((decompressed, end)) = read(&body, limit) else { return Ok(body) };
    end?;
    if decompressed.len() > limit {
        return Err(DecompressError::TooLong);
    }
    Ok(decompressed)
}

/// Decompresses the beginning of a body as far as possible, up to the limit.
pub(super) fn decompress_prefix(body: Vec<u8>, limit: usize) -> Vec<u8> {
    match read(&body, limit) {
        None => body,
        Some((mut decompressed, _)) => {
            decompressed.truncate(limit);
            decompressed
        }
    }
}

/// Returns at most one byte more than the limit, and why decompression ended. `None` if the body is
/// not gzip.
fn read(body: &[u8], limit: usize) -> Option<(Vec<u8>, Result<(), DecompressError>)> {
    if !body.starts_with(GZIP) {
        return None;
    }
    let (mut decompressed, mut rest) = (Vec::new(), body);
    for _ in 0..MAX_MEMBERS {
        let left = limit.saturating_add(1).saturating_sub(decompressed.len());
        if rest.is_empty() || left == 0 {
            return Some((decompressed, Ok(())));
        }
        let mut member = GzDecoder::new(rest).take(left as u64);
        if let Err(error) = member.read_to_end(&mut decompressed) {
            let why = match error.kind() {
                ErrorKind::UnexpectedEof => DecompressError::Truncated,
                _ => DecompressError::Corrupt,
            };
            return Some((decompressed, Err(why)));
        }
        rest = member.into_inner().into_inner();
    }
    let end = if rest.is_empty() { Ok(()) } else { Err(DecompressError::Corrupt) };
    Some((decompressed, end))
}

/// The most gzip members in a body. Usually there is one. Each needs a new decoder.
const MAX_MEMBERS: usize = 100;

/// RFC 1952, section 2.3.1.
const GZIP: &[u8] = b"\x1f\x8b";

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};
    use proptest::prelude::*;

    use super::*;

    fn decompress(body: &[u8], limit: usize) -> Result<Vec<u8>, DecompressError> {
        super::decompress(body.to_vec(), limit)
    }

    fn gzip(body: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    /// Each member needs a new decoder: 2 MiB of empty members took a third of a second.
    #[test]
    fn promise_4_no_more_members_are_unpacked_than_allowed() {
        let json = gzip(b"{}");
        for (empty, expected) in [(99, Ok(&b"{}"[..])), (100, Err(DecompressError::Corrupt))] {
            let body = [gzip(b"").repeat(empty), json.clone()].concat();
            assert_eq!(decompress(&body, 10).as_deref().map_err(|why| *why), expected);
        }
    }

    #[test]
    fn promise_4_gzip_bomb_stops_at_the_limit() {
        let bomb = gzip(&vec![b' '; 64 << 20]);
        assert!(bomb.len() < 1 << 20);
        assert_eq!(decompress(&bomb, 2 << 20), Err(DecompressError::TooLong));
        assert_eq!(decompress_prefix(bomb, 16 << 10).len(), 16 << 10);
        assert_eq!(decompress(&gzip(&[b' '; 100]), 100).unwrap().len(), 100);
        assert_eq!(decompress(&gzip(&[b' '; 101]), 100), Err(DecompressError::TooLong));
    }

    #[test]
    fn truncated_and_corrupt_gzip_are_told_apart() {
        let whole = gzip(&[b'a'; 1_000]);
        assert_eq!(decompress(&whole[..whole.len() - 9], 2_000), Err(DecompressError::Truncated));
        let mut corrupt = whole.clone();
        corrupt[12] ^= 0xff;
        assert!(decompress(&corrupt, 2_000).is_err());
        assert_eq!(decompress(b"\x1f\x8b\x08\0", 2_000), Err(DecompressError::Truncated));
        assert_eq!(
            decompress(b"\x1f\x8b\x09\0\0\0\0\0\0\0\0", 2_000),
            Err(DecompressError::Corrupt)
        );
    }

    #[test]
    fn several_members_are_one_body() {
        let two = [gzip(b"{\"value\":"), gzip(b" true}")].concat();
        assert_eq!(&*decompress(&two, 100).unwrap(), b"{\"value\": true}");
    }

    proptest! {
        #[test]
        fn any_body_is_the_same_packed_or_not(body in proptest::collection::vec(any::<u8>(), 0..1_000)) {
            prop_assume!(!body.starts_with(GZIP));
            prop_assert_eq!(&*decompress(&body, 1_000).unwrap(), &*body);
            let gzipped = gzip(&body);
            prop_assert_eq!(&*decompress(&gzipped, 1_000).unwrap(), &*body);
        }

        #[test]
        fn no_bytes_panic_or_exceed_the_limit(rest in proptest::collection::vec(any::<u8>(), 0..1_000)) {
            let body = [GZIP, &[8], &*rest].concat();
            if let Ok(decompressed) = decompress(&body, 500) {
                prop_assert!(decompressed.len() <= 500);
            }
            prop_assert!(decompress_prefix(body, 100).len() <= 100);
        }
    }
}

//! Bodies that are compressed with gzip, though nobody asked for it: some proxies do so. Pure.

use std::{
    borrow::Cow,
    io::{ErrorKind, Read},
};

use flate2::bufread::GzDecoder;

/// Why a body could not be unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnpackError {
    /// It is longer than allowed.
    TooLong,
    /// It ends too early.
    Truncated,
    Corrupt,
}

/// The body without gzip, if it has any, and no longer than the limit.
///
/// The body's first bytes tell, not its header: a proxy that unpacks a body may leave the header, and
/// no JSON begins as gzip does.
pub(super) fn unpack(body: &[u8], limit: usize) -> Result<Cow<'_, [u8]>, UnpackError> {
    let Some(unpacked) = read(body, limit) else { return Ok(Cow::Borrowed(body)) };
    let (unpacked, end) = unpacked;
    end?;
    if unpacked.len() > limit {
        return Err(UnpackError::TooLong);
    }
    Ok(Cow::Owned(unpacked))
}

/// As much as can be had of a body that may be only the beginning of one, up to the limit.
pub(super) fn unpack_beginning(body: Vec<u8>, limit: usize) -> Vec<u8> {
    match read(&body, limit) {
        None => body,
        Some((mut unpacked, _)) => {
            unpacked.truncate(limit);
            unpacked
        }
    }
}

/// One byte more than the limit at the most, and why it is not more.
fn read(body: &[u8], limit: usize) -> Option<(Vec<u8>, Result<(), UnpackError>)> {
    if !body.starts_with(GZIP) {
        return None;
    }
    let (mut unpacked, mut rest) = (Vec::new(), body);
    for _ in 0..MAX_MEMBERS {
        let left = limit.saturating_add(1).saturating_sub(unpacked.len());
        if rest.is_empty() || left == 0 {
            return Some((unpacked, Ok(())));
        }
        let mut member = GzDecoder::new(rest).take(left as u64);
        if let Err(error) = member.read_to_end(&mut unpacked) {
            let why = match error.kind() {
                ErrorKind::UnexpectedEof => UnpackError::Truncated,
                _ => UnpackError::Corrupt,
            };
            return Some((unpacked, Err(why)));
        }
        rest = member.into_inner().into_inner();
    }
    let end = if rest.is_empty() { Ok(()) } else { Err(UnpackError::Corrupt) };
    Some((unpacked, end))
}

/// The most members of a body, which is one as a rule: each begins anew, however short it is.
const MAX_MEMBERS: usize = 100;

/// RFC 1952, section 2.3.1.
const GZIP: &[u8] = b"\x1f\x8b";

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};
    use proptest::prelude::*;

    use super::*;

    fn packed(body: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    /// Each costs a decoder its beginning: 2 MiB of nothing took a third of a second.
    #[test]
    fn promise_4_no_more_members_are_unpacked_than_allowed() {
        let json = packed(b"{}");
        for (empty, expected) in [(99, Ok(&b"{}"[..])), (100, Err(UnpackError::Corrupt))] {
            let body = [packed(b"").repeat(empty), json.clone()].concat();
            assert_eq!(unpack(&body, 10).as_deref().map_err(|why| *why), expected);
        }
    }

    #[test]
    fn promise_4_a_bomb_stops_at_the_limit() {
        let bomb = packed(&vec![b' '; 64 << 20]);
        assert!(bomb.len() < 1 << 20);
        assert_eq!(unpack(&bomb, 2 << 20), Err(UnpackError::TooLong));
        assert_eq!(unpack_beginning(bomb, 16 << 10).len(), 16 << 10);
        assert_eq!(unpack(&packed(&[b' '; 100]), 100).unwrap().len(), 100);
        assert_eq!(unpack(&packed(&[b' '; 101]), 100), Err(UnpackError::TooLong));
    }

    #[test]
    fn what_is_cut_or_corrupt_is_told_apart() {
        let whole = packed(&[b'a'; 1_000]);
        assert_eq!(unpack(&whole[..whole.len() - 9], 2_000), Err(UnpackError::Truncated));
        let mut corrupt = whole.clone();
        corrupt[12] ^= 0xff;
        assert!(unpack(&corrupt, 2_000).is_err());
        assert_eq!(unpack(b"\x1f\x8b\x08\0", 2_000), Err(UnpackError::Truncated));
        assert_eq!(unpack(b"\x1f\x8b\x09\0\0\0\0\0\0\0\0", 2_000), Err(UnpackError::Corrupt));
    }

    #[test]
    fn several_members_are_one_body() {
        let two = [packed(b"{\"value\":"), packed(b" true}")].concat();
        assert_eq!(&*unpack(&two, 100).unwrap(), b"{\"value\": true}");
    }

    proptest! {
        #[test]
        fn any_body_is_the_same_packed_or_not(body in proptest::collection::vec(any::<u8>(), 0..1_000)) {
            prop_assume!(!body.starts_with(GZIP));
            prop_assert_eq!(&*unpack(&body, 1_000).unwrap(), &*body);
            let packed = packed(&body);
            prop_assert_eq!(&*unpack(&packed, 1_000).unwrap(), &*body);
        }

        #[test]
        fn no_bytes_panic_or_exceed_the_limit(rest in proptest::collection::vec(any::<u8>(), 0..1_000)) {
            let body = [GZIP, &[8], &*rest].concat();
            if let Ok(unpacked) = unpack(&body, 500) {
                prop_assert!(unpacked.len() <= 500);
            }
            prop_assert!(unpack_beginning(body, 100).len() <= 100);
        }
    }
}

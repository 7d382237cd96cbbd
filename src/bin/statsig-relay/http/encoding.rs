//! Content encodings of bodies. Pure.

use std::{fmt::Display, io::Read};

use actix_web::{
    http::header::{CONTENT_ENCODING, HeaderMap},
    web::Bytes,
};
use flate2::bufread::GzDecoder;

use super::problem::Problem;

/// Some programs put this in front of UTF-8 text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The most gzip members in a body. Usually there is one. Each needs a new decoder, however short
/// it is. The component has the same limit for Statsig's answers.
const MAX_MEMBERS: usize = 100;

/// Returns the body's JSON, without a byte order mark. Decompresses gzip, up to `limit` bytes.
pub(crate) fn decode(body: Bytes, headers: &HeaderMap, limit: usize) -> Result<Bytes, Problem> {
    let json = if is_gzip(headers)? { unpack(&body, limit)? } else { body };
    Ok(if json.starts_with(BYTE_ORDER_MARK) { json.slice(BYTE_ORDER_MARK.len()..) } else { json })
}

fn is_gzip(headers: &HeaderMap) -> Result<bool, Problem> {
    let lines = headers.get_all(CONTENT_ENCODING).map(|line| line.to_str().unwrap_or("?"));
    let codings = lines.flat_map(|line| line.split(',')).map(str::trim);
    let is = |coding: &str, name: &str| coding.eq_ignore_ascii_case(name);
    let codings: Vec<_> =
        codings.filter(|coding| !coding.is_empty() && !is(coding, "identity")).collect();
    match codings[..] {
        [] => Ok(false),
        [coding] if is(coding, "gzip") || is(coding, "x-gzip") => Ok(true),
        _ => Err(Problem::unknown_encoding()),
    }
}

fn unpack(body: &[u8], limit: usize) -> Result<Bytes, Problem> {
    let not_gzip = |why: &dyn Display| Problem::bad_request(format!("the body is not gzip: {why}"));
    let (mut json, mut rest) = (Vec::new(), body);
    for _ in 0..MAX_MEMBERS {
        // One byte beyond the limit shows that the body is too long.
        let left = limit.saturating_add(1).saturating_sub(json.len());
        let mut member = GzDecoder::new(rest).take(u64::try_from(left).unwrap_or(u64::MAX));
        member.read_to_end(&mut json).map_err(|error| not_gzip(&error))?;
        if json.len() > limit {
            return Err(Problem::too_large(limit));
        }
        rest = member.into_inner().into_inner();
        if rest.is_empty() {
            return Ok(json.into());
        }
    }
    Err(not_gzip(&format_args!("it has more than {MAX_MEMBERS} members")))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use actix_web::{ResponseError, http::header::HeaderValue};
    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn gzip(text: &[u8]) -> Bytes {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap().into()
    }

    fn headers(codings: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for coding in codings {
            headers.append(CONTENT_ENCODING, HeaderValue::from_static(coding));
        }
        headers
    }

    fn decoded(body: impl Into<Bytes>, codings: &[&'static str]) -> Result<Bytes, u16> {
        let decoded = decode(body.into(), &headers(codings), 100);
        decoded.map_err(|problem| problem.status_code().as_u16())
    }

    #[test]
    fn body_is_unpacked_as_its_headers_say() {
        let packed = gzip(b"{}");
        for codings in [&["gzip"][..], &["GZIP"], &["x-gzip"], &["identity, gzip"], &["", "gzip"]] {
            assert_eq!(decoded(packed.clone(), codings).unwrap(), "{}", "{codings:?}");
        }
        for codings in [&[][..], &[""], &["identity"], &["Identity,"]] {
            assert_eq!(decoded("{}", codings).unwrap(), "{}", "{codings:?}");
        }
        for codings in [&["br"][..], &["gzip, gzip"], &["gzip", "deflate"], &["zstd"], &["gzipp"]] {
            assert_eq!(decoded(packed.clone(), codings), Err(415), "{codings:?}");
        }
        // Two files in a row decode as one. A part of a file is an error.
        let twice = [gzip(b"{"), gzip(b"}")].concat();
        assert_eq!(decoded(twice, &["gzip"]).unwrap(), "{}");
        assert_eq!(decoded(packed.slice(..packed.len() - 1), &["gzip"]), Err(400));
        assert_eq!(decoded("{}", &["gzip"]), Err(400));
        assert_eq!(decoded("", &["gzip"]), Err(400));
    }

    #[test]
    fn promise_4_no_more_is_unpacked_than_a_body_may_have() {
        assert_eq!(decoded(gzip(&[b' '; 100]), &["gzip"]).unwrap().len(), 100);
        assert_eq!(decoded(gzip(&[b' '; 101]), &["gzip"]), Err(413));
        assert_eq!(decoded(gzip(&vec![0; 100 * 1024 * 1024]), &["gzip"]), Err(413));
    }

    #[test]
    fn promise_4_no_more_gzip_members_are_unpacked_than_allowed() {
        let members = |number: usize| [gzip(b"").repeat(number - 1), gzip(b"{}").to_vec()].concat();
        assert_eq!(decoded(members(100), &["gzip"]).unwrap(), "{}");
        assert_eq!(decoded(members(101), &["gzip"]), Err(400));
    }

    #[test]
    fn byte_order_mark_is_skipped() {
        assert_eq!(decoded("\u{feff}{}", &[]).unwrap(), "{}");
        assert_eq!(decoded(gzip("\u{feff}{}".as_bytes()), &["gzip"]).unwrap(), "{}");
        assert_eq!(decoded("\u{feff}", &[]).unwrap(), "");
    }
}

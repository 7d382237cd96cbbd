//! Where an answer ends on its connection, by RFC 9112, sections 6 and 7. Pure: bytes in, bytes out.
//!
//! Reads the answer to one POST. awc takes the first head it sees for the answer's and gives the
//! connection back to its pool at the end of that; so it gets to see the final head alone, and
//! nothing beyond the end of its body.

use httparse::{Header, ParserConfig, Response, Status};

use super::chunked::Chunked;

/// What was read of the answer to one request.
#[derive(Debug)]
pub(super) struct Framing {
    part: Part,
    /// The bytes of the heads before this one.
    heads: usize,
    interim: u32,
    status: Option<u16>,
    is_ambiguous: bool,
    has_extra_bytes: bool,
}

#[derive(Debug)]
enum Part {
    /// The beginning of a head.
    Head(Vec<u8>),
    /// So many bytes of the body are still to come.
    Length(u64),
    Chunked(Chunked),
    UntilClose,
    Complete,
}

/// Why an answer cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::transport) enum FramingError {
    #[error("not an HTTP response ({0})")]
    Head(#[from] httparse::Error),
    #[error("not an HTTP response ({0})")]
    Malformed(&'static str),
    /// The connection ended first.
    #[error("{0} was cut short")]
    Truncated(&'static str),
}

/// The longest that all heads of an answer may be together, in bytes; the same for what chunks are
/// wrapped in.
pub(super) const MAX_HEADS: usize = 64 * 1024;

/// The most interim responses before the answer.
const MAX_INTERIM: u32 = 32;

/// One fewer than awc takes: it may be given one more.
const MAX_HEADERS: usize = 95;

/// What every head begins with.
const BEGINNING: &[u8] = b"HTTP/1.";

/// Tells awc to close the connection.
const CLOSE: &[u8] = b"connection: close\r\n\r\n";

impl Framing {
    pub(super) fn new() -> Self {
        let part = Part::Head(Vec::new());
        Self {
            part,
            heads: 0,
            interim: 0,
            status: None,
            is_ambiguous: false,
            has_extra_bytes: false,
        }
    }

    /// Takes in what came over the connection; what of it is awc's is put into `out`.
    pub(super) fn take(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<(), FramingError> {
        while !bytes.is_empty() {
            let taken = match &mut self.part {
                Part::Head(_) => self.take_head(bytes, out)?,
                Part::Length(left) => {
                    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    *left -= taken as u64;
                    out.extend_from_slice(&bytes[..taken]);
                    if *left == 0 {
                        self.part = Part::Complete;
                    }
                    taken
                }
                Part::Chunked(chunks) => {
                    let taken = chunks.take(bytes)?;
                    out.extend_from_slice(&bytes[..taken]);
                    if chunks.is_complete() {
                        self.part = Part::Complete;
                    }
                    taken
                }
                Part::UntilClose => {
                    out.extend_from_slice(bytes);
                    bytes.len()
                }
                Part::Complete => {
                    (self.is_ambiguous, self.has_extra_bytes) = (true, true);
                    bytes.len()
                }
            };
            bytes = &bytes[taken..];
        }
        Ok(())
    }

    /// The connection has ended.
    pub(super) fn end(&mut self) -> Result<(), FramingError> {
        self.is_ambiguous = true;
        match &self.part {
            Part::Head(head) if self.interim == 0 && head.is_empty() => Ok(()),
            Part::Head(_) => Err(FramingError::Truncated("the head")),
            Part::Length(_) | Part::Chunked(_) => Err(FramingError::Truncated("the body")),
            Part::UntilClose | Part::Complete => {
                self.part = Part::Complete;
                Ok(())
            }
        }
    }

    /// The answer's status, once its head is there.
    pub(super) fn status(&self) -> Option<u16> {
        self.status
    }

    /// The answer has been read to its end.
    pub(super) fn is_complete(&self) -> bool {
        matches!(self.part, Part::Complete)
    }

    /// It is in doubt where the next answer will begin.
    pub(super) fn is_ambiguous(&self) -> bool {
        self.is_ambiguous
    }

    /// There was more than the answer.
    pub(super) fn has_extra_bytes(&self) -> bool {
        self.has_extra_bytes
    }

    /// Returns how many of the bytes belong to heads.
    fn take_head(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<usize, FramingError> {
        let Part::Head(head) = &mut self.part else { return Ok(0) };
        let room = MAX_HEADS - self.heads - head.len();
        let bytes = &bytes[..bytes.len().min(room)];
        if bytes.is_empty() {
            return Err(FramingError::Malformed("its head is longer than 64 KiB"));
        }
        if head.is_empty()
            && let b'\r' | b'\n' = bytes[0]
        {
            // What is left of an earlier answer, or nothing to speak of.
            self.is_ambiguous = true;
            self.heads += 1;
            return Ok(1);
        }
        let before = head.len();
        head.extend_from_slice(bytes);
        if !head.iter().zip(BEGINNING).all(|(byte, expected)| byte == expected) {
            // However long it is until a line ends.
            return Err(FramingError::Head(httparse::Error::Version));
        }
        // A head ends with a line: what has come of the next line cannot end it.
        let Some(line) = bytes.iter().rposition(|byte| *byte == b'\n') else {
            return Ok(bytes.len());
        };
        let Some(parsed) = Head::parse(&head[..before + line + 1])? else {
            return Ok(bytes.len());
        };
        let taken = parsed.length - before;
        self.heads += parsed.length;
        match parsed.status {
            101 => {
                return Err(FramingError::Malformed(
                    "it switches protocols, which nobody asked for",
                ));
            }
            100..200 => {
                self.interim += 1;
                self.is_ambiguous = true;
                if self.interim > MAX_INTERIM {
                    return Err(FramingError::Malformed("too many interim responses"));
                }
                head.clear();
                return Ok(taken);
            }
            ..100 => return Err(FramingError::Malformed("its status is below 100")),
            // Its body is nobody's.
            200..300 if parsed.offers_websocket => {
                return Err(FramingError::Malformed(
                    "it switches protocols, which nobody asked for",
                ));
            }
            _ => {}
        }
        self.status = Some(parsed.status);
        self.is_ambiguous |= !parsed.is_reusable;
        write_head(&head[..parsed.length], &parsed.body, self.is_ambiguous, out);
        self.part = match parsed.body {
            BodyLength::None | BodyLength::Known(0) => Part::Complete,
            BodyLength::Known(length) => Part::Length(length),
            BodyLength::Chunked => Part::Chunked(Chunked::default()),
            BodyLength::UntilClose => Part::UntilClose,
        };
        Ok(taken)
    }
}

/// Puts out a head for awc, such that it sees the body and the end of the connection as they are.
fn write_head(head: &[u8], body: &BodyLength, closes: bool, out: &mut Vec<u8>) {
    if !closes {
        return out.extend_from_slice(head);
    }
    let start = out.len();
    let head = head.strip_suffix(b"\n").unwrap_or(head);
    out.extend_from_slice(head.strip_suffix(b"\r").unwrap_or(head));
    out.extend_from_slice(CLOSE);
    // awc takes HTTP/1.1 without a length for an empty body.
    if let (BodyLength::UntilClose, Some(minor)) = (body, out.get_mut(start + BEGINNING.len())) {
        *minor = b'0';
    }
}

/// What a head says.
struct Head {
    length: usize,
    status: u16,
    body: BodyLength,
    /// The connection can be used again, as far as the head goes.
    is_reusable: bool,
    offers_websocket: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BodyLength {
    None,
    Known(u64),
    Chunked,
    UntilClose,
}

impl Head {
    /// `None` if there is more to come.
    fn parse(bytes: &[u8]) -> Result<Option<Self>, FramingError> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = Response::new(&mut headers);
        // As awc does it: both have to see the same.
        let mut parser = ParserConfig::default();
        parser.allow_spaces_after_header_name_in_responses(true);
        let Status::Complete(length) = parser.parse_response(&mut response, bytes)? else {
            return Ok(None);
        };
        let (Some(status), Some(minor)) = (response.code, response.version) else {
            return Err(FramingError::Malformed("it has no status"));
        };
        let fields = Fields::of(response.headers)?;
        if fields.is_chunked && minor == 0 {
            return Err(FramingError::Malformed("HTTP/1.0 with a transfer encoding"));
        }
        let body = match (status, fields) {
            (100..200 | 204 | 304, _) => BodyLength::None,
            (_, Fields { is_chunked: true, .. }) => BodyLength::Chunked,
            // As for awc, which takes a websocket to begin where the body is.
            (_, Fields { offers_websocket: true, .. }) => BodyLength::None,
            (_, Fields { length: Some(length), .. }) => BodyLength::Known(length),
            _ => BodyLength::UntilClose,
        };
        let has_two_ends = fields.is_chunked && fields.length.is_some();
        // Some send a body where there is none, and announce it.
        let has_odd_end =
            body == BodyLength::None && (fields.is_chunked || fields.length.is_some());
        let is_in_doubt = has_two_ends
            || has_odd_end
            || fields.offers_websocket
            || body == BodyLength::UntilClose;
        let is_reusable = minor == 1 && !fields.closes && !is_in_doubt;
        let Fields { offers_websocket, .. } = fields;
        Ok(Some(Self { length, status, body, is_reusable, offers_websocket }))
    }
}

/// The headers that say where the body ends, and the connection.
#[derive(Clone, Copy, Default)]
struct Fields {
    length: Option<u64>,
    is_chunked: bool,
    closes: bool,
    offers_websocket: bool,
}

impl Fields {
    fn of(headers: &[Header<'_>]) -> Result<Self, FramingError> {
        let mut fields = Self::default();
        for Header { name, value } in headers {
            if name.eq_ignore_ascii_case("content-length") {
                if fields.length.is_some() {
                    return Err(FramingError::Malformed("more than one content-length"));
                }
                fields.length = Some(length(value)?);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                if fields.is_chunked || !value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                    return Err(FramingError::Malformed("a transfer encoding other than chunked"));
                }
                fields.is_chunked = true;
            } else if name.eq_ignore_ascii_case("connection") {
                let mut options = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
                fields.closes |= options.any(|option| {
                    option.eq_ignore_ascii_case(b"close") || option.eq_ignore_ascii_case(b"upgrade")
                });
            } else if name.eq_ignore_ascii_case("upgrade") {
                fields.offers_websocket |= value.trim_ascii().eq_ignore_ascii_case(b"websocket");
            }
        }
        Ok(fields)
    }
}

fn length(value: &[u8]) -> Result<u64, FramingError> {
    let digits = value.trim_ascii();
    let digits = Some(digits).filter(|digits| digits.iter().all(u8::is_ascii_digit));
    let text = digits.and_then(|digits| str::from_utf8(digits).ok());
    text.and_then(|text| text.parse().ok())
        .ok_or(FramingError::Malformed("a content-length of no number"))
}

#[cfg(test)]
mod tests {
    use actix_codec::Decoder;
    use actix_http::{
        Version,
        h1::{ClientCodec, MessageType},
    };
    use actix_web::web::BytesMut;
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;

    /// What becomes of bytes that come in these parts, and then the end.
    #[derive(Debug, PartialEq)]
    struct Read {
        shown: String,
        result: Result<(), FramingError>,
        is_complete: bool,
        is_reusable: bool,
    }

    fn read<'a>(parts: impl IntoIterator<Item = &'a [u8]>, ends: bool) -> Read {
        let (mut framing, mut out) = (Framing::new(), Vec::new());
        let mut result = Ok(());
        for part in parts {
            result = result.and_then(|()| framing.take(part, &mut out));
        }
        if ends {
            result = result.and_then(|()| framing.end());
        }
        let shown = String::from_utf8_lossy(&out).into_owned();
        let (is_complete, is_ambiguous) = (framing.is_complete(), framing.is_ambiguous());
        Read { shown, result, is_complete, is_reusable: is_complete && !is_ambiguous }
    }

    fn of(text: &str) -> Read {
        read([text.as_bytes()], false)
    }

    const OK: &str = "HTTP/1.1 200 OK\r\n";

    #[test]
    fn answer_without_doubt_is_shown_as_it_is() {
        for answer in [
            "content-length: 2\r\n\r\n{}",
            "Content-Length : 2 \r\nconnection: keep-alive\r\n\r\n{}",
            "content-length: 0\r\n\r\n",
            "transfer-encoding: Chunked\r\n\r\n2;a=b\r\n{}\r\n00\r\nx: y\r\n\r\n",
        ] {
            let answer = format!("{OK}{answer}");
            let expected = Read {
                shown: answer.clone(),
                result: Ok(()),
                is_complete: true,
                is_reusable: true,
            };
            assert_eq!(of(&answer), expected);
        }
        assert!(of("HTTP/1.1 204 No Content\r\n\r\n").is_reusable);
    }

    #[test]
    fn interim_heads_are_not_shown_and_awc_is_told_to_close() {
        let answer = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\ncontent-length: 9\r\n\r\n\
                      HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
        let shown = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
        let shown = shown.to_owned();
        let expected = Read { shown, result: Ok(()), is_complete: true, is_reusable: false };
        assert_eq!(of(answer), expected);
    }

    #[test]
    fn doubtful_answers_are_shown_to_their_end_and_no_further() {
        for (answer, shown) in [
            ("HTTP/1.1 200 OK\r\n\r\n{}", "HTTP/1.0 200 OK\r\nconnection: close\r\n\r\n{}"),
            (
                "\r\nHTTP/1.1 200 OK\ncontent-length: 2\n\n{}",
                "HTTP/1.1 200 OK\ncontent-length: 2\nconnection: close\r\n\r\n{}",
            ),
            (
                "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n{}{}",
                "HTTP/1.0 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}",
            ),
            (
                "HTTP/1.1 304 No\r\ncontent-length: 2\r\n\r\n{}",
                "HTTP/1.1 304 No\r\ncontent-length: 2\r\nconnection: close\r\n\r\n",
            ),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 9\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
                "HTTP/1.1 200 OK\r\ncontent-length: 9\r\ntransfer-encoding: chunked\r\n\
                 connection: close\r\n\r\n0\r\n\r\n",
            ),
            (
                "HTTP/1.1 200 OK\r\nconnection: a, Close\r\ncontent-length: 0\r\n\r\n",
                "HTTP/1.1 200 OK\r\nconnection: a, Close\r\ncontent-length: 0\r\n\
                 connection: close\r\n\r\n",
            ),
        ] {
            let shown = shown.to_owned();
            let expected = Read { shown, result: Ok(()), is_complete: true, is_reusable: false };
            assert_eq!(read([answer.as_bytes()], true), expected);
        }
    }

    #[test]
    fn what_is_no_answer_is_a_fault() {
        let long = format!("{OK}x: {}\r\n\r\n", "y".repeat(MAX_HEADS));
        let many = "HTTP/1.1 100 Continue\r\n\r\n".repeat(MAX_INTERIM as usize + 1);
        let extended =
            format!("{OK}transfer-encoding: chunked\r\n\r\n1;{}", "y".repeat(MAX_HEADS + 1));
        let zeros = format!("{OK}transfer-encoding: chunked\r\n\r\n{}", "0".repeat(17));
        for text in [
            "SSH-2.0-OpenSSH_9.2",
            "}",
            "HTTP/2 200\r\n\r\n",
            "HTTP/1.1 099 Low\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length:\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nx",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{}",
            &long,
            &many,
            &extended,
            &zeros,
        ] {
            assert!(of(text).result.is_err(), "{text:?}");
        }
        for (text, what) in [
            ("HTTP/1.1 100 Continue\r\n\r\n", "the head"),
            ("HTTP/1.1 200 O", "the head"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{}", "the body"),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n", "the body"),
        ] {
            assert_eq!(read([text.as_bytes()], true).result, Err(FramingError::Truncated(what)));
        }
        assert_eq!(read([], true).result, Ok(()), "nothing was answered");
    }

    /// Bytes that look like answers, with mistakes.
    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let part = prop_oneof![
            8 => select(vec![
                "HTTP/1.1 200 OK\r\n", "HTTP/1.0 200 OK\r\n", "HTTP/1.1 100 Continue\r\n\r\n",
                "HTTP/1.1 103 Early Hints\r\na: b\r\n\r\n", "HTTP/1.1 204 No Content\r\n\r\n",
                "content-length: 5\r\n", "content-length: 0\r\n", "transfer-encoding: chunked\r\n",
                "connection: close\r\n", "x: y\r\n", "\r\n", "\n", "5\r\nabcde\r\n", "0\r\n\r\n",
                "1;x\r\na\r\n", "0\r\nt: u\r\n\r\n", "abcde", "", "HTTP/1.1 404 No\n",
                "HTTP/1.1 304 Not Modified\r\n", "HTTP/1.0 204 No Content\r\n",
                "upgrade: websocket\r\n", "connection: keep-alive, upgrade\r\n",
                "5 \t;a\r\nabcde\r\n", "0005\r\nabcde\r\n", "ffffffffffffffff\r\nabc",
            ])
            .prop_map(|text| text.as_bytes().to_vec()),
            1 => vec(any::<u8>(), 0..5),
        ];
        vec(part, 0..12).prop_map(|parts| parts.concat())
    }

    /// What awc makes of what it is shown: whether the answer is over, and whether it would use the
    /// connection again. `None` before the end of the head.
    fn awc_reads(shown: &[u8]) -> Result<Option<(bool, bool)>, String> {
        let mut codec = ClientCodec::default();
        let mut bytes = BytesMut::from(shown);
        let head = codec.decode(&mut bytes).map_err(|error| error.to_string())?;
        let Some(head) = head else { return Ok(None) };
        let mut is_complete = matches!(codec.message_type(), MessageType::None);
        let mut codec = codec.into_payload_codec();
        while !is_complete {
            match codec.decode(&mut bytes).map_err(|error| error.to_string())? {
                Some(Some(_)) => {}
                Some(None) => is_complete = true,
                None => break,
            }
        }
        if !bytes.is_empty() {
            return Err(format!("{bytes:?} is left over"));
        }
        // It asks for more where there cannot be any, and then sees the end of the connection.
        is_complete |=
            head.version == Version::HTTP_10 || matches!(head.status.as_u16(), 204 | 304);
        Ok(Some((is_complete, head.keep_alive())))
    }

    proptest! {
        #[test]
        fn awc_sees_the_answer_that_the_framing_sees(bytes in stream()) {
            let (mut framing, mut out) = (Framing::new(), Vec::new());
            if framing.take(&bytes, &mut out).is_err() {
                return Ok(());
            }
            let (is_complete, is_ambiguous) = (framing.is_complete(), framing.is_ambiguous());
            // The codec has a clock of its own, which needs a runtime.
            let read = actix_rt::System::new().block_on(async { awc_reads(&out) });
            let shown = String::from_utf8_lossy(&out);
            let Some((awc_is_over, awc_keeps)) = read.map_err(TestCaseError::fail)? else {
                prop_assert_eq!(framing.status(), None, "{}", shown);
                return Ok(());
            };
            let is_until_close = matches!(framing.part, Part::UntilClose);
            prop_assert_eq!(awc_is_over, is_complete || is_until_close, "{}", shown);
            prop_assert!(awc_keeps || is_ambiguous, "{}", shown);
            prop_assert!(!awc_keeps || !is_ambiguous || framing.has_extra_bytes(), "{}", shown);
        }

        #[test]
        fn how_the_bytes_are_split_changes_nothing(
            bytes in stream(),
            sizes in vec(1..7usize, 1..200),
            ends in any::<bool>(),
        ) {
            let mut rest = &bytes[..];
            let mut parts = Vec::new();
            for size in sizes.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (part, after) = rest.split_at((*size).min(rest.len()));
                parts.push(part);
                rest = after;
            }
            let (mut in_parts, mut at_once) = (read(parts, ends), read([&bytes[..]], ends));
            if let Err(FramingError::Head(_) | FramingError::Malformed(_)) = in_parts.result {
                // Nobody gets an answer; how much awc sees of it before the error is all the same.
                (in_parts.shown, at_once.shown) = Default::default();
            }
            prop_assert_eq!(in_parts, at_once);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in vec(any::<u8>(), 0..300)) {
            read([OK.as_bytes(), &bytes], true);
            read(["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".as_bytes(), &bytes], true);
        }

        /// However much follows, awc sees the first answer and not a byte more.
        #[test]
        fn nothing_is_shown_of_what_follows_an_answer(body in "[a-z]{1,40}", more in stream()) {
            let length = body.len();
            let by_length = format!("{OK}content-length: {length}\r\n\r\n{body}");
            let in_chunks =
                format!("{OK}transfer-encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n");
            for answer in [by_length, in_chunks] {
                let Read { shown, is_reusable, .. } = read([answer.as_bytes(), &more], false);
                prop_assert_eq!(shown, answer);
                prop_assert_eq!(is_reusable, more.is_empty());
            }
        }
    }
}

//! Parses one head of an answer.

use httparse::{Header, ParserConfig, Response, Status};

use super::FramingError;

/// The parts of a head that matter for framing.
pub(super) struct Head {
    pub(super) length: usize,
    pub(super) status: u16,
    pub(super) body: BodyLength,
    /// Whether the head allows reusing the connection.
    pub(super) is_reusable: bool,
    offers_websocket: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyLength {
    None,
    Known(u64),
    Chunked,
    UntilClose,
}

/// One fewer than awc accepts, because this crate may add a header for awc.
const MAX_HEADERS: usize = 95;

impl Head {
    /// Returns `None` if the head is incomplete.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<Self>, FramingError> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = Response::new(&mut headers);
        // The same setting as awc's: both must see the same headers.
        let mut parser = ParserConfig::default();
        parser.allow_spaces_after_header_name_in_responses(true);
        let Status::Complete(length) = parser.parse_response(&mut response, bytes)? else {
            return Ok(None);
        };
        let (Some(status), Some(minor)) = (response.code, response.version) else {
            return Err(FramingError::Malformed("no status"));
        };
        let fields = Fields::of(response.headers)?;
        if fields.is_chunked && minor == 0 {
            return Err(FramingError::Malformed("HTTP/1.0 with a transfer encoding"));
        }
        let body = match (status, fields) {
            (100..200 | 204 | 304, _) => BodyLength::None,
            (_, Fields { is_chunked: true, .. }) => BodyLength::Chunked,
            // awc starts a websocket here in place of a body.
            (_, Fields { offers_websocket: true, .. }) => BodyLength::None,
            (_, Fields { length: Some(length), .. }) => BodyLength::Known(length),
            _ => BodyLength::UntilClose,
        };
        let has_two_ends = fields.is_chunked && fields.length.is_some();
        // Some servers announce and send a body for a status that allows none.
        let has_unexpected_body =
            body == BodyLength::None && (fields.is_chunked || fields.length.is_some());
        let is_ambiguous = has_two_ends
            || has_unexpected_body
            || fields.offers_websocket
            || body == BodyLength::UntilClose;
        let is_reusable = minor == 1 && !fields.closes && !is_ambiguous;
        let Fields { offers_websocket, .. } = fields;
        Ok(Some(Self { length, status, body, is_reusable, offers_websocket }))
    }

    /// Whether this head is an interim response, which the answer follows.
    pub(super) fn is_interim(&self) -> Result<bool, FramingError> {
        const SWITCHES: &str = "the server switches protocols, and the request did not ask for it";
        match self.status {
            101 => Err(FramingError::Malformed(SWITCHES)),
            100..200 => Ok(true),
            ..100 => Err(FramingError::Malformed("status below 100")),
            // awc would read its body as a websocket.
            200..300 if self.offers_websocket => Err(FramingError::Malformed(SWITCHES)),
            _ => Ok(false),
        }
    }
}

/// The headers that say where the body and the connection end.
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
                fields.length = Some(content_length(value)?);
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

fn content_length(value: &[u8]) -> Result<u64, FramingError> {
    let digits = value.trim_ascii();
    let digits = Some(digits).filter(|digits| digits.iter().all(u8::is_ascii_digit));
    let text = digits.and_then(|digits| str::from_utf8(digits).ok());
    let length = text.and_then(|text| text.parse().ok());
    length.ok_or(FramingError::Malformed("a content-length that is not a number"))
}

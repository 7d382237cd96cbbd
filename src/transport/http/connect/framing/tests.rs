use actix_codec::Decoder;
use actix_http::{
    Version,
    h1::{ClientCodec, MessageType},
};
use actix_web::web::BytesMut;
use proptest::{collection::vec, prelude::*, sample::select};

use super::*;

/// The outcome of reading these bytes.
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
        result = result.and_then(|()| framing.read(part, &mut out));
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
        let expected =
            Read { shown: answer.clone(), result: Ok(()), is_complete: true, is_reusable: true };
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
fn malformed_answer_is_a_fault() {
    let long = format!("{OK}x: {}\r\n\r\n", "y".repeat(MAX_HEAD_BYTES));
    let many = "HTTP/1.1 100 Continue\r\n\r\n".repeat(MAX_INTERIM_RESPONSES as usize + 1);
    let extended =
        format!("{OK}transfer-encoding: chunked\r\n\r\n1;{}", "y".repeat(MAX_HEAD_BYTES + 1));
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
    assert_eq!(read([], true).result, Ok(()), "no answer");
}

/// Bytes that resemble answers, with mistakes.
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

/// Returns whether awc finds the answer complete, and whether it would reuse the connection. `None`
/// before the end of the head.
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
    // awc keeps reading where no body can follow, and then sees the end of the connection.
    is_complete |= head.version == Version::HTTP_10 || matches!(head.status.as_u16(), 204 | 304);
    Ok(Some((is_complete, head.keep_alive())))
}

proptest! {
    #[test]
    fn awc_sees_the_answer_that_the_framing_sees(bytes in stream()) {
        let (mut framing, mut out) = (Framing::new(), Vec::new());
        if framing.read(&bytes, &mut out).is_err() {
            return Ok(());
        }
        let (is_complete, is_ambiguous) = (framing.is_complete(), framing.is_ambiguous());
        // The codec has a clock of its own, which needs a runtime.
        let read = actix_rt::System::new().block_on(async { awc_reads(&out) });
        let shown = String::from_utf8_lossy(&out);
        let Some((awc_is_complete, awc_keeps)) = read.map_err(TestCaseError::fail)? else {
            prop_assert_eq!(framing.status(), None, "{}", shown);
            return Ok(());
        };
        let is_until_close = matches!(framing.position, Position::UntilClose);
        prop_assert_eq!(awc_is_complete, is_complete || is_until_close, "{}", shown);
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
            // The answer is an error, so it does not matter how much awc sees before it.
            (in_parts.shown, at_once.shown) = Default::default();
        }
        prop_assert_eq!(in_parts, at_once);
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in vec(any::<u8>(), 0..300)) {
        read([OK.as_bytes(), &bytes], true);
        read(["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".as_bytes(), &bytes], true);
    }

    /// Whatever follows, awc sees the first answer and nothing more.
    #[test]
    fn bytes_after_an_answer_are_not_shown(body in "[a-z]{1,40}", more in stream()) {
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

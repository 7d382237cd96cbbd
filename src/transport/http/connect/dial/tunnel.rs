//! CONNECT: a tunnel through a proxy to the API's host (RFC 9110, section 9.3.6).

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::error::TunnelError;
use crate::config::Proxy;

/// The longest answer to CONNECT, in bytes, including interim responses.
const MAX_HEAD: usize = 16 * 1024;

const MAX_HEADERS: usize = 100;

/// Opens a tunnel to the target, `HOST:PORT`, through the proxy at the other end of the stream.
pub(super) async fn open(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    proxy: &Proxy,
    target: &str,
) -> Result<(), TunnelError> {
    stream.write_all(request(proxy, target).as_bytes()).await?;
    stream.flush().await?;
    let mut read = Vec::with_capacity(1024);
    loop {
        if parse(&read, proxy, target)? == Answer::Open {
            return Ok(());
        }
        // `parse` refuses an answer that is too long, which bounds `read`.
        if (&mut stream).take(1024).read_buf(&mut read).await? == 0 {
            return Err(TunnelError::Closed);
        }
    }
}

fn request(proxy: &Proxy, target: &str) -> String {
    let agent = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));
    let mut head =
        format!("CONNECT {target} HTTP/1.1\r\nhost: {target}\r\nuser-agent: {agent}\r\n");
    if let Some(authorization) = proxy.authorization() {
        head.push_str(&format!("proxy-authorization: {authorization}\r\n"));
    }
    head + "\r\n"
}

#[derive(Debug, PartialEq)]
enum Answer {
    Open,
    Incomplete,
}

/// Parses the proxy's answer so far, and skips interim responses.
fn parse(mut read: &[u8], proxy: &Proxy, target: &str) -> Result<Answer, TunnelError> {
    let length = read.len();
    loop {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let head = match response.parse(read).map_err(TunnelError::NotHttp)? {
            httparse::Status::Complete(head) => head,
            httparse::Status::Partial if length > MAX_HEAD => {
                return Err(TunnelError::TooLong(MAX_HEAD));
            }
            httparse::Status::Partial => return Ok(Answer::Incomplete),
        };
        let rest = read.get(head..).unwrap_or_default();
        match response.code.unwrap_or_default() {
            100..=199 => read = rest,
            // In the protocols used here the client speaks first. So these bytes come from the
            // proxy, and must not be mistaken for bytes of the target.
            200..=299 if rest.is_empty() => return Ok(Answer::Open),
            200..=299 => return Err(TunnelError::ExtraBytes(rest.len())),
            status => {
                let hint = (status == 407).then(|| proxy.credentials_hint());
                return Err(TunnelError::Status { status, hint, target: target.to_owned() });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::duplex;

    use super::*;

    const TARGET: &str = "api.statsig.com:443";

    fn proxy(url: &str) -> Proxy {
        Proxy::for_tests(url)
    }

    fn parsed_answer(answer: &[u8]) -> Result<Answer, String> {
        parse(answer, &proxy("http://p:1"), TARGET).map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn request_names_the_target_and_has_credentials_if_the_url_has() {
        let head = request(&proxy("http://p:3128"), TARGET);
        let agent = concat!("actix-statsig/", env!("CARGO_PKG_VERSION"));
        assert_eq!(
            head,
            format!("CONNECT {TARGET} HTTP/1.1\r\nhost: {TARGET}\r\nuser-agent: {agent}\r\n\r\n")
        );
        let head = request(&proxy("http://Aladdin:open%20sesame@p:3128"), TARGET);
        let wanted = "\r\nproxy-authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n";
        assert!(head.ends_with(wanted), "{head}");
    }

    #[test]
    fn any_2xx_opens_the_tunnel_and_its_length_does_not_count() {
        for answer in [
            "HTTP/1.1 200 Connection established\r\n\r\n",
            "HTTP/1.0 200\r\n\r\n",
            "HTTP/1.1 204 No Content\r\ncontent-length: 12\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        ] {
            assert_eq!(parsed_answer(answer.as_bytes()), Ok(Answer::Open), "{answer}");
            for end in 0..answer.len() {
                let part = &answer.as_bytes()[..end];
                assert_eq!(parsed_answer(part), Ok(Answer::Incomplete), "{answer} {end}");
            }
        }
    }

    #[test]
    fn refusals_say_what_the_proxy_answered() {
        for (answer, message) in [
            (
                "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
                "answered 407 Proxy Authentication Required (it requires credentials, and its URL \
                 has none) to CONNECT api.statsig.com:443",
            ),
            (
                "HTTP/1.1 502 \r\ncontent-length: 5\r\n\r\nhello",
                "answered 502 Bad Gateway to CONNECT api.statsig.com:443",
            ),
            (
                // The reason may echo the credentials.
                "HTTP/1.1 599 Basic bWU6aHVudGVyMg==\r\n\r\n",
                "answered 599 to CONNECT api.statsig.com:443",
            ),
            (
                "HTTP/1.1 302 Found\r\nlocation: http://login\r\n\r\n",
                "answered 302 Found to CONNECT api.statsig.com:443",
            ),
            ("HTTP/1.1 200 OK\r\n\r\nHTTP", "sent 4 unexpected bytes after its answer to CONNECT"),
            (
                "SSH-2.0-OpenSSH\r\n",
                "answered CONNECT with something other than HTTP/1.1 (invalid HTTP version)",
            ),
        ] {
            assert_eq!(parsed_answer(answer.as_bytes()).unwrap_err(), message);
        }
        let refusal = parse(b"HTTP/1.1 407 \r\n\r\n", &proxy("http://me:hunter2@p:1"), TARGET);
        assert_eq!(
            refusal.unwrap_err().to_string(),
            "answered 407 Proxy Authentication Required (it refused the credentials of its URL) to \
             CONNECT api.statsig.com:443"
        );
    }

    #[test]
    fn promise_4_of_an_endless_head_no_more_is_read_than_allowed() {
        let interim = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(10_000);
        let line = [&b"HTTP/1.1 200 OK\r\nx: "[..], &vec![b'x'; 10 * MAX_HEAD]].concat();
        for endless in [interim, line] {
            let parsed = |end| parsed_answer(&endless[..end]);
            assert_eq!(parsed(MAX_HEAD), Ok(Answer::Incomplete));
            let too_long = "answered CONNECT with a head longer than 16384 bytes";
            assert_eq!(parsed(MAX_HEAD + 1024).unwrap_err(), too_long);
        }
    }

    async fn opened(answer: &[u8]) -> Result<(), String> {
        let (ours, mut theirs) = duplex(64 * 1024);
        let request = request(&proxy("http://p:1"), TARGET);
        theirs.write_all(answer).await.unwrap();
        theirs.shutdown().await.unwrap();
        let result = open(ours, &proxy("http://p:1"), TARGET).await;
        let mut got = Vec::new();
        theirs.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, request.as_bytes());
        result.map_err(|refusal| refusal.to_string())
    }

    #[actix_rt::test]
    async fn proxy_that_closes_early_is_said_to() {
        assert_eq!(opened(b"HTTP/1.1 200 OK\r\n\r\n").await, Ok(()));
        let closed = "closed the connection before answering CONNECT";
        for early in ["", "HTTP/1.1 2", "HTTP/1.1 100 Continue\r\n\r\n"] {
            assert_eq!(opened(early.as_bytes()).await.unwrap_err(), closed);
        }
        let long = [&b"HTTP/1.1 200 OK\r\nx: "[..], &[b'x'; 40 * 1024]].concat();
        let too_long = "answered CONNECT with a head longer than 16384 bytes";
        assert_eq!(opened(&long).await.unwrap_err(), too_long);
    }

    proptest! {
        #[test]
        fn no_answer_of_a_proxy_causes_a_panic(answer in any::<Vec<u8>>()) {
            let _ = parsed_answer(&answer);
            let _ = parsed_answer(&[b"HTTP/1.1 200 ", &answer[..]].concat());
        }
    }
}

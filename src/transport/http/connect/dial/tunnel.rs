//! CONNECT: asking a proxy for a connection to the API's host (RFC 9110, section 9.3.6).

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::error::TunnelError;
use crate::config::Proxy;

/// The longest answer to CONNECT that is read, in bytes, interim responses included.
const MAX_HEAD: usize = 16 * 1024;

const MAX_HEADERS: usize = 100;

/// Has the proxy at the other end connect to the target, `HOST:PORT`. What is then sent goes to the
/// target, and what is then read comes from there.
pub(super) async fn open(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    proxy: &Proxy,
    target: &str,
) -> Result<(), TunnelError> {
    stream.write_all(request(proxy, target).as_bytes()).await?;
    stream.flush().await?;
    let mut read = Vec::with_capacity(1024);
    loop {
        match judge(&read, proxy, target)? {
            Verdict::Open => return Ok(()),
            Verdict::Incomplete => {}
        }
        // Bounded beyond doubt: `judge` has refused what is longer.
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
enum Verdict {
    Open,
    Incomplete,
}

/// What the proxy has said so far comes to. Interim responses are read over.
fn judge(mut read: &[u8], proxy: &Proxy, target: &str) -> Result<Verdict, TunnelError> {
    let length = read.len();
    loop {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let head = match response.parse(read).map_err(TunnelError::NotHttp)? {
            httparse::Status::Complete(head) => head,
            httparse::Status::Partial if length > MAX_HEAD => {
                return Err(TunnelError::TooLong(MAX_HEAD));
            }
            httparse::Status::Partial => return Ok(Verdict::Incomplete),
        };
        let rest = read.get(head..).unwrap_or_default();
        match response.code.unwrap_or_default() {
            100..=199 => read = rest,
            // The target waits for us to begin: what is there already can only be the proxy's.
            // Dropped, it might be missed; taken for the target's, it would be believed.
            200..=299 if rest.is_empty() => return Ok(Verdict::Open),
            200..=299 => return Err(TunnelError::Surplus(rest.len())),
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

    fn said(answer: &[u8]) -> Result<Verdict, String> {
        judge(answer, &proxy("http://p:1"), TARGET).map_err(|refusal| refusal.to_string())
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
            assert_eq!(said(answer.as_bytes()), Ok(Verdict::Open), "{answer}");
            for end in 0..answer.len() {
                let part = &answer.as_bytes()[..end];
                assert_eq!(said(part), Ok(Verdict::Incomplete), "{answer} {end}");
            }
        }
    }

    #[test]
    fn refusals_say_what_the_proxy_answered() {
        for (answer, message) in [
            (
                "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
                "answered 407 Proxy Authentication Required (it wants credentials, and its URL \
                 has none) to CONNECT api.statsig.com:443",
            ),
            (
                "HTTP/1.1 502 \r\ncontent-length: 5\r\n\r\nhello",
                "answered 502 Bad Gateway to CONNECT api.statsig.com:443",
            ),
            (
                // It may repeat what it was sent.
                "HTTP/1.1 599 Basic bWU6aHVudGVyMg==\r\n\r\n",
                "answered 599 to CONNECT api.statsig.com:443",
            ),
            (
                "HTTP/1.1 302 Found\r\nlocation: http://login\r\n\r\n",
                "answered 302 Found to CONNECT api.statsig.com:443",
            ),
            ("HTTP/1.1 200 OK\r\n\r\nHTTP", "sent 4 bytes of its own behind its answer to CONNECT"),
            (
                "SSH-2.0-OpenSSH\r\n",
                "answered something that is not HTTP/1.1 to CONNECT (invalid HTTP version)",
            ),
        ] {
            assert_eq!(said(answer.as_bytes()).unwrap_err(), message);
        }
        let refusal = judge(b"HTTP/1.1 407 \r\n\r\n", &proxy("http://me:hunter2@p:1"), TARGET);
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
            let judged = |end| said(&endless[..end]);
            assert_eq!(judged(MAX_HEAD), Ok(Verdict::Incomplete));
            let too_long = "answered CONNECT with a head longer than 16384 bytes";
            assert_eq!(judged(MAX_HEAD + 1024).unwrap_err(), too_long);
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
        let closed = "closed the connection before it had answered CONNECT";
        for early in ["", "HTTP/1.1 2", "HTTP/1.1 100 Continue\r\n\r\n"] {
            assert_eq!(opened(early.as_bytes()).await.unwrap_err(), closed);
        }
        let long = [&b"HTTP/1.1 200 OK\r\nx: "[..], &[b'x'; 40 * 1024]].concat();
        let too_long = "answered CONNECT with a head longer than 16384 bytes";
        assert_eq!(opened(&long).await.unwrap_err(), too_long);
    }

    proptest! {
        #[test]
        fn nothing_that_a_proxy_says_makes_it_panic(answer in any::<Vec<u8>>()) {
            let _ = said(&answer);
            let _ = said(&[b"HTTP/1.1 200 ", &answer[..]].concat());
        }
    }
}

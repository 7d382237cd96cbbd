//! Handles clients that offer HTTP/2 with each request, but accept HTTP/1.1.

/// Replaces `Upgrade` in a head's `Connection`. It has the same length.
const IGNORED: &[u8] = b"ignored";

/// Removes the offer of `Upgrade: h2c` from a head, if the whole head is in `read`.
///
/// A server may ignore the offer. The server library closes the connection instead, so each request
/// of Java's default client would need a new one. The offer is overwritten in place, so no other
/// byte moves. A head that arrives in pieces is left unchanged, and its connection is closed.
pub(super) fn decline_h2c(read: &mut [u8]) {
    let Some(end) = read.windows(4).position(|end| end == b"\r\n\r\n") else { return };
    let head = &mut read[..end + 2];
    if header(head, b"upgrade").is_none_or(|(at, to)| !head[at..to].eq_ignore_ascii_case(b"h2c")) {
        return;
    }
    let Some((mut at, end)) = header(head, b"connection") else { return };
    while at < end {
        let length = head[at..end].iter().position(|byte| *byte == b',').unwrap_or(end - at);
        let option = &mut head[at..at + length];
        let spaces = option.len() - option.trim_ascii_start().len();
        if option.trim_ascii().eq_ignore_ascii_case(b"upgrade") {
            option[spaces..spaces + IGNORED.len()].copy_from_slice(IGNORED);
        }
        at += length + 1;
    }
}

/// Finds the value of the first header of this name, without white space around it.
fn header(head: &[u8], name: &[u8]) -> Option<(usize, usize)> {
    let mut at = 0;
    for line in head.split_inclusive(|byte| *byte == b'\n') {
        let value = line
            .get(name.len() + 1..)
            .filter(|_| line[..name.len()].eq_ignore_ascii_case(name) && line[name.len()] == b':');
        if let Some(value) = value {
            let start = at + line.len() - value.trim_ascii_start().len();
            return Some((start, start + value.trim_ascii().len()));
        }
        at += line.len();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declined(head: &str) -> String {
        let mut read = head.as_bytes().to_vec();
        decline_h2c(&mut read);
        String::from_utf8(read).unwrap()
    }

    #[test]
    fn h2c_offer_is_removed_from_a_head_and_nothing_else() {
        let java = "POST /v1/check_gate HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\n\
                    Content-Length: 27\r\nHost: localhost\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\n\
                    Upgrade: h2c\r\n\r\nConnection: Upgrade\r\nh2c\r\n\r\n";
        let wanted = java.replacen("Upgrade, HTTP2", "ignored, HTTP2", 1);
        assert_eq!(declined(java), wanted);

        for (connection, wanted) in [
            ("upgrade", "ignored"),
            ("close,\tUPGRADE", "close,\tignored"),
            ("keep-alive , Upgrade ,x", "keep-alive , ignored ,x"),
            ("upgrades", "upgrades"),
            (",", ","),
            ("", ""),
        ] {
            let head = |connection| {
                format!("GET / HTTP/1.1\r\nconnection:{connection}\r\nUPGRADE:H2C\r\n\r\n")
            };
            assert_eq!(declined(&head(connection)), head(wanted));
        }
    }

    #[test]
    fn other_offers_heads_in_pieces_and_bodies_are_left_alone() {
        for head in [
            "GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            "GET / HTTP/1.1\r\nConnection: Upgrade\r\n\r\n",
            "GET / HTTP/1.1\r\nUpgrade: h2c\r\n\r\n",
            "GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n",
            "GET / HTTP/1.1\r\nX-Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
            "\r\n\r\n",
            "",
        ] {
            assert_eq!(declined(head), head);
        }
    }
}

//! Request lines in absolute form, for proxies that take plain HTTP.

use std::io;

/// The beginning of a request line in absolute form, in place of the one that awc has written.
#[derive(Debug)]
pub(super) struct Rewrite {
    pub(super) bytes: Vec<u8>,
    pub(super) written: usize,
    /// So much of what awc has written it stands for.
    pub(super) replaces: usize,
}

impl Rewrite {
    /// `form` is what comes before the path: `http://host:port`.
    pub(super) fn new(request: &[u8], form: &str) -> io::Result<Self> {
        let path = request.iter().position(|byte| *byte == b' ').map(|space| space + 1);
        let path = path.ok_or_else(|| io::Error::other("a request line in parts"))?;
        Ok(Self { bytes: [&request[..path], form.as_bytes()].concat(), written: 0, replaces: path })
    }
}

//! Request lines in absolute form, for proxies that forward plain HTTP.

use std::io;

/// The beginning of a request line in absolute form. It replaces the beginning that awc has
/// written.
#[derive(Debug)]
pub(super) struct Rewrite {
    pub(super) bytes: Vec<u8>,
    pub(super) written: usize,
    /// The number of awc's bytes to replace.
    pub(super) replaces: usize,
}

impl Rewrite {
    /// `origin` is the part before the path: `http://host:port`.
    pub(super) fn new(request: &[u8], origin: &str) -> io::Result<Self> {
        let path = request.iter().position(|byte| *byte == b' ').map(|space| space + 1);
        let path = path.ok_or_else(|| {
            io::Error::other("expected a whole request line, found only a part of it")
        })?;
        Ok(Self {
            bytes: [&request[..path], origin.as_bytes()].concat(),
            written: 0,
            replaces: path,
        })
    }
}

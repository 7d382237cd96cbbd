//! Short, safe quotations of what a server said, which may repeat what it was sent.

use crate::messages::CallRequest;

/// The longest part of a body that goes into an error, in characters.
const MAX_EXCERPT: usize = 120;

/// Quotes answers to one call.
pub(super) struct Excerpts<'a> {
    pub(super) call: &'a CallRequest,
    pub(super) api_key: &'a str,
}

impl Excerpts<'_> {
    pub(super) fn of(&self, body: &[u8]) -> String {
        self.without_secrets(&String::from_utf8_lossy(&body[..body.len().min(4 * MAX_EXCERPT)]))
    }

    pub(super) fn without_secrets(&self, text: &str) -> String {
        if self.call.user.has_private_attributes() {
            return "[withheld: the user has private attributes]".to_owned();
        }
        let printable = |c: char| if c.is_control() { ' ' } else { c };
        text.replace(self.api_key, "[redacted]").chars().map(printable).take(MAX_EXCERPT).collect()
    }
}

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
        // All of it, however long: a cut through the key would leave a part that is not found.
        self.without_secrets(&String::from_utf8_lossy(body))
    }

    pub(super) fn without_secrets(&self, text: &str) -> String {
        if self.call.user.has_private_attributes() {
            return "[withheld: the user has private attributes]".to_owned();
        }
        let printable = |c: char| if c.is_control() { ' ' } else { c };
        text.replace(self.api_key, "[redacted]").chars().map(printable).take(MAX_EXCERPT).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{messages::CallKind, user::User};

    #[test]
    #[allow(clippy::disallowed_methods)]
    fn promise_7_no_part_of_the_key_is_left_however_often_a_body_repeats_it() {
        let call = CallRequest {
            kind: CallKind::CheckGate,
            user: User::new("u-1").unwrap(),
            names: [].into(),
            exposure: true,
            deadline: std::time::Instant::now(),
            refusal: None,
        };
        for length in [10, 69, 119, 200] {
            let api_key = "k".repeat(length);
            let excerpts = Excerpts { call: &call, api_key: &api_key };
            for before in 0..length {
                let body = format!("{}{}", "x".repeat(before), api_key.repeat(50));
                let excerpt = excerpts.of(body.as_bytes());
                assert!(!excerpt.contains('k'), "{excerpt}");
                assert!(excerpt.len() <= MAX_EXCERPT, "{excerpt}");
            }
        }
    }
}

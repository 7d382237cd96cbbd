//! Makes short, safe excerpts of answers. A server may echo secrets from the request.

use serde_json::error::Category;

use crate::message::call::CallRequest;

/// The longest excerpt of a body in an error, in characters.
const MAX_EXCERPT: usize = 120;

const WITHHELD: &str = "[withheld: the user has private attributes]";

const PROXY_WITHHELD: &str = "[withheld: the request had proxy credentials]";

/// Makes excerpts of the answer to one call.
pub(super) struct Excerpts<'a> {
    pub(super) call: &'a CallRequest,
    pub(super) api_key: &'a str,
    /// A proxy reads the requests, which include its credentials.
    pub(super) has_proxy_credentials: bool,
}

impl Excerpts<'_> {
    /// Returns the beginning of a body.
    pub(super) fn of(&self, body: &[u8]) -> String {
        if let Some(withheld) = self.withheld() {
            return withheld.to_owned();
        }
        // Sanitize the whole body, however long: a cut through the key would leave an undetected
        // part.
        sanitize(&String::from_utf8_lossy(body), self.api_key)
    }

    fn withheld(&self) -> Option<&'static str> {
        match self.call.user.has_private_attributes() {
            true => Some(WITHHELD),
            false => self.has_proxy_credentials.then_some(PROXY_WITHHELD),
        }
    }

    /// Says what is wrong with a body. serde's own message quotes the body.
    pub(super) fn reason(&self, error: &serde_json::Error) -> String {
        if self.withheld().is_none() {
            return sanitize(&error.to_string(), self.api_key);
        }
        let problem = match error.classify() {
            Category::Eof => "the JSON ends too early",
            Category::Io | Category::Syntax => "the body is not JSON",
            Category::Data => "the JSON has another shape than expected",
        };
        format!("{problem} at line {} column {}", error.line(), error.column())
    }
}

/// Removes the key and misleading characters, and cuts the text.
fn sanitize(text: &str, api_key: &str) -> String {
    let escaped = serde_json::Value::from(api_key).to_string();
    let mut text = text.replace(api_key, REDACTED).replace(escaped.trim_matches('"'), REDACTED);
    // Only the beginning of an error's body is read, which may end in the middle of the key.
    let is_beginning = |length: &usize| text.ends_with(&api_key[..*length]);
    if let Some(length) = (1..api_key.len()).rev().find(is_beginning) {
        text.truncate(text.len() - length);
    }
    text.chars().map(|c| if is_misleading(c) { ' ' } else { c }).take(MAX_EXCERPT).collect()
}

const REDACTED: &str = "[redacted]";

/// Whether this is a control character, an invisible one, or one that changes the text direction.
fn is_misleading(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e0fff}'
        )
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use proptest::prelude::*;

    use super::*;
    use crate::model::{call_kind::CallKind, user::User};

    const KEY: &str = "secret-key-with-\"quotes\"-and-some-length";

    #[allow(clippy::disallowed_methods)]
    fn quote(user: User, body: &[u8]) -> String {
        let call = CallRequest {
            kind: CallKind::CheckGate,
            user,
            names: [].into(),
            exposure: true,
            deadline: Instant::now(),
            refusal: None,
        };
        Excerpts { call: &call, api_key: KEY, has_proxy_credentials: false }.of(body)
    }

    fn of(body: &[u8]) -> String {
        quote(User::new("u-1").unwrap(), body)
    }

    #[test]
    fn excerpt_is_the_beginning_in_one_plain_line() {
        assert_eq!(of(b"an\r\nerror\x1b[31m"), "an  error [31m");
        assert_eq!(of("\u{feff}a\u{202e}b".as_bytes()), " a b");
        assert_eq!(of("\u{1f980}".repeat(500).as_bytes()), "\u{1f980}".repeat(MAX_EXCERPT));
        assert_eq!(of(b"ab\xff"), "ab\u{fffd}");
        assert_eq!(of(b""), "");
    }

    #[test]
    fn promise_7_cut_body_leaves_no_beginning_of_the_key() {
        // Redacting shortens the text, and so moves later parts in front of the cut.
        for before in 0..KEY.len() {
            let quoted = of(format!("{}{}", "x".repeat(before), KEY.repeat(20)).as_bytes());
            assert!(!quoted.contains("sec"), "{quoted}");
            let cut = of(format!("{}{}", "x".repeat(before), &KEY[..before]).as_bytes());
            assert_eq!(cut, "x".repeat(before));
        }
        assert_eq!(
            of(format!("{{\"k\": {}", serde_json::json!(KEY)).as_bytes()),
            "{\"k\": \"[redacted]\""
        );
    }

    #[test]
    fn promise_7_answers_about_private_attributes_are_not_quoted() {
        let user = User::builder().user_id("u-1").private_attribute("pin", 1).build().unwrap();
        assert_eq!(quote(user, b"your pin is 1"), WITHHELD);
    }

    #[test]
    #[allow(clippy::disallowed_methods)]
    fn promise_7_repeated_key_leaves_no_part_in_an_excerpt() {
        let call = CallRequest {
            kind: CallKind::CheckGate,
            user: User::new("u-1").unwrap(),
            names: [].into(),
            exposure: true,
            deadline: Instant::now(),
            refusal: None,
        };
        for length in [10, 69, 119, 200] {
            let api_key = "k".repeat(length);
            let excerpts =
                Excerpts { call: &call, api_key: &api_key, has_proxy_credentials: false };
            for before in 0..length {
                let body = format!("{}{}", "x".repeat(before), api_key.repeat(50));
                let excerpt = excerpts.of(body.as_bytes());
                assert!(!excerpt.contains('k'), "{excerpt}");
            }
        }
    }

    proptest! {
        #[test]
        fn excerpt_of_any_body_is_short_and_printable(
            body in proptest::collection::vec(any::<u8>(), 0..1_000),
        ) {
            let quoted = of(&body);
            prop_assert!(quoted.chars().count() <= MAX_EXCERPT);
            prop_assert!(!quoted.chars().any(is_misleading));
        }
    }
}

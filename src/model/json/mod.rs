//! JSON that stays text.

mod node;
mod reading;
mod same;

use std::borrow::Cow;

#[cfg(feature = "test-util")]
pub(crate) use self::reading::skip_string;
pub(crate) use self::{
    node::{Fields, Node, ReadError, sort, write_field, write_string},
    reading::{depth, get, type_name},
    same::is_same,
};

/// Replaces the escape of each lone surrogate with that of U+FFFD, `\ufffd`, which has the same
/// length.
///
/// JavaScript makes lone surrogates when it cuts a string, and writes them as `"\ud800"`. They are
/// not characters: serde_json refuses to read such a string, but skips it unread in a `RawValue`.
/// Malformed escapes stay as they are.
pub(crate) fn replace_lone_surrogates(json: &str) -> Cow<'_, str> {
    let mut replaced: Option<String> = None;
    let mut at = 0;
    // In JSON a backslash occurs only in strings, and always begins an escape.
    while let Some(found) = json.get(at..).and_then(|rest| rest.find('\\')) {
        at += found;
        let escape = |at| json.get(at..).and_then(code_unit);
        at += match escape(at) {
            Some(0xd800..=0xdbff) if matches!(escape(at + ESCAPE), Some(0xdc00..=0xdfff)) => {
                2 * ESCAPE
            }
            Some(0xd800..=0xdfff) => {
                let text = replaced.get_or_insert_with(|| json.to_owned());
                text.replace_range(at..at + ESCAPE, r"\ufffd");
                ESCAPE
            }
            Some(_) => ESCAPE,
            // Skips the character after the backslash, which may be another backslash.
            None => 1 + json[at + 1..].chars().next().map_or(0, char::len_utf8),
        };
    }
    replaced.map_or(Cow::Borrowed(json), Cow::Owned)
}

/// The length of `\ud800`.
const ESCAPE: usize = 6;

/// Returns the UTF-16 code unit of the escape at the beginning of the text.
fn code_unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix(r"\u")?.get(..4)?;
    // `from_str_radix` also accepts a sign.
    digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then_some(())?;
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn lone_surrogate_becomes_the_replacement_character() {
        for (json, expected) in [
            (r#""\ud800""#, "\u{fffd}"),
            (r#""\uDFFF""#, "\u{fffd}"),
            (r#""a\ud83d""#, "a\u{fffd}"),
            (r#""\ude00\ud83d""#, "\u{fffd}\u{fffd}"),
            (r#""\ud800\ud83d\ude00""#, "\u{fffd}\u{1f600}"),
            (r#""\ud800\n""#, "\u{fffd}\n"),
            (r#""\ud800\\ude00""#, "\u{fffd}\\ude00"),
            (r#""\\\ud800""#, "\\\u{fffd}"),
            (r#""\ud800é""#, "\u{fffd}é"),
            (r#""\ud800\u00e9""#, "\u{fffd}é"),
        ] {
            assert!(serde_json::from_str::<String>(json).is_err(), "{json} has none");
            let text = replace_lone_surrogates(json);
            assert_eq!(text.len(), json.len(), "positions in {json} stay");
            assert_eq!(serde_json::from_str::<String>(&text).unwrap(), expected, "{json}");
        }
    }

    #[test]
    fn everything_else_stays_and_is_not_copied() {
        for json in [
            r#"{"a": 1e400, "b": "\ud83d\ude00 \u00e9\ufffd 😀"}"#,
            r#""\\ud800""#,
            r#""\\\\ud800""#,
            // Not JSON: the reader refuses these later.
            r#""\ud80"#,
            r#""\u+d80""#,
            r#""\ud8é0""#,
            "\\",
            "\\é",
            "",
        ] {
            assert!(matches!(replace_lone_surrogates(json), Cow::Borrowed(text) if text == json));
        }
    }

    proptest! {
        /// Any sequence of escapes, surrogates and other characters can be read, and gives the same
        /// string as a lossy UTF-16 decoder.
        #[test]
        fn any_string_is_read_as_a_lossy_utf16_decoder_reads_it(
            units in prop::collection::vec(
                prop_oneof![0xd7f0u16..0xe010, 0x20u16..0x7f, Just(0x5cu16), any::<u16>()], 0..40,
            ),
            is_escaped in prop::collection::vec(any::<bool>(), 40),
        ) {
            let mut json = String::from("\"");
            for (unit, is_escaped) in units.iter().zip(is_escaped) {
                match char::from_u32((*unit).into()) {
                    Some(char) if !is_escaped && char >= ' ' && char != '"' && char != '\\' => {
                        json.push(char);
                    }
                    Some(char @ ('"' | '\\')) if !is_escaped => json.extend(['\\', char]),
                    _ => json.push_str(&format!("\\u{unit:04x}")),
                }
            }
            json.push('"');
            let read: String = serde_json::from_str(&replace_lone_surrogates(&json)).unwrap();
            prop_assert_eq!(read, String::from_utf16_lossy(&units));
        }

        /// No text causes a panic, and valid JSON keeps its value.
        #[test]
        fn any_text_keeps_its_length_and_valid_json_its_value(text in r#"[\\u"d8def{}\[\]:,0-9é]{0,60}"#) {
            let replaced = replace_lone_surrogates(&text);
            prop_assert_eq!(replaced.len(), text.len());
            if let Ok(value) = serde_json::from_str::<Value>(&text) {
                prop_assert_eq!(serde_json::from_str::<Value>(&replaced).unwrap(), value);
            }
        }
    }
}

//! Reads a request's body as leniently as JavaScript. Pure.

use std::str;

use serde_json::Value;

use crate::model::json::{replace_lone_surrogates, skip_string};

/// Reads JSON. Unlike serde_json, it accepts numbers beyond an `f64`, which JavaScript reads as
/// infinite, and lone surrogates, which JavaScript can write. Such a number becomes the largest
/// `f64` of its sign, and a lone surrogate becomes U+FFFD.
pub(super) fn parse(body: &[u8]) -> Result<Value, serde_json::Error> {
    serde_json::from_slice(body).or_else(|error| {
        let text = str::from_utf8(body).map_err(|_| error)?;
        serde_json::from_str(&bounded(&replace_lone_surrogates(text)))
    })
}

/// Replaces each number beyond an `f64` with the largest `f64` of its sign.
fn bounded(json: &str) -> String {
    let mut bounded = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => string_length(rest),
            '-' | '0'..='9' => rest.bytes().take_while(|byte| is_number_byte(*byte)).count(),
            other => other.len_utf8(),
        };
        let (token, behind) = rest.split_at(length);
        rest = behind;
        match token.parse::<f64>() {
            Ok(number) if number == f64::INFINITY => bounded.push_str(LARGEST),
            Ok(number) if number == f64::NEG_INFINITY => bounded.extend(["-", LARGEST]),
            _ => bounded.push_str(token),
        }
    }
    bounded
}

const LARGEST: &str = "1.7976931348623157e308";

fn is_number_byte(byte: u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E')
}

/// Returns the length of a string with its quotes, or of the whole text if there is no closing
/// quote.
fn string_length(text: &str) -> usize {
    let mut bytes = text.bytes();
    bytes.next();
    skip_string(&mut bytes);
    text.len() - bytes.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn huge_numbers_are_clamped_and_lone_surrogates_replaced() {
        let body =
            br#"{"a": [1e400, -1E+999, 1e300, 1e-400], "b 1e400": "1e400 \" \\", "c": "\ud800"}"#;
        let read = parse(body).unwrap();
        let numbers: Vec<_> = read["a"].as_array().unwrap().iter().map(Value::as_f64).collect();
        assert_eq!(numbers, [f64::MAX, f64::MIN, 1e300, 0.0].map(Some));
        assert_eq!((&read["b 1e400"], &read["c"]), (&json!("1e400 \" \\"), &json!("\u{fffd}")));
        for bad in ["{", "\"\\", "1e400 1e400", "-", "\"1e400"] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_as_serde_json_reads_it_where_it_does(text in r#"[\\u"d8e{}\[\]:,0-9é-]{0,60}"#) {
            if let Ok(value) = serde_json::from_str::<Value>(&text) {
                prop_assert_eq!(serde_json::from_str::<Value>(&bounded(&text)).unwrap(), value.clone());
                prop_assert_eq!(parse(text.as_bytes()).unwrap(), value);
            }
            let _ = bounded(&text);
        }
    }
}

//! Compares JSON texts by value.

use super::Node;

/// Returns whether two JSON texts are the same value. The order of keys does not matter, nor how a
/// number or a string is written: `1`, `1.0` and `10e-1` are the same. All digits count; exponents
/// beyond 64 bits are compared as text.
///
/// serde_json's values cannot be compared instead: their numbers depend on its features. Each text is read
/// once, however deep it is.
pub(crate) fn is_same(one: &str, other: &str) -> bool {
    if one == other {
        return true;
    }
    match (normalized(one), normalized(other)) {
        (Some(one), Some(other)) => are_same(&one, &other),
        _ => false,
    }
}

/// Reads a value with sorted keys.
fn normalized(json: &str) -> Option<Node<'_>> {
    let mut node = Node::read(json, usize::MAX, usize::MAX).ok()?;
    node.normalize();
    Some(node)
}

fn are_same(one: &Node<'_>, other: &Node<'_>) -> bool {
    match (one, other) {
        (Node::Object(one), Node::Object(other)) => {
            let mut entries = one.iter().zip(other);
            let is_same = |((key, one), (other_key, other)): (&(_, _), &(_, _))| {
                key == other_key && are_same(one, other)
            };
            one.len() == other.len() && entries.all(is_same)
        }
        (Node::List(one), Node::List(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(a, b)| are_same(a, b))
        }
        (Node::Number(one), Node::Number(other)) => {
            one == other || digits(one).is_some_and(|one| Some(one) == digits(other))
        }
        _ => one == other,
    }
}

/// Returns a number's sign, its digits without zeros at either end, and the position of its point
/// relative to the first of these digits. Returns `None` if the exponent is beyond 64 bits.
fn digits(number: &str) -> Option<(bool, String, i64)> {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (is_negative, mantissa) = match mantissa.strip_prefix('-') {
        Some(mantissa) => (true, mantissa),
        None => (false, mantissa),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = [whole, fraction].concat();
    let digits = all.trim_start_matches('0');
    let (leading, digits) = (all.len() - digits.len(), digits.trim_end_matches('0'));
    if digits.is_empty() {
        return Some((false, String::new(), 0));
    }
    let point = i64::try_from(whole.len()).ok()?.checked_sub_unsigned(leading as u64)?;
    let point = exponent.parse::<i64>().ok()?.checked_add(point)?;
    Some((is_negative, digits.to_owned(), point))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn equal_values_compare_equal_however_they_are_written() {
        for (one, other) in [
            (r#"{"a": 1, "b": [true, null]}"#, r#"{"b":[true,null],"a":1}"#),
            (r#""\u0061\/""#, r#""a/""#),
            ("1", "1.0"),
            ("1", "10e-1"),
            ("100", "1E+2"),
            ("0.00123", "12.3e-4"),
            ("-0.0", "0"),
            ("0e99999999999999999999", "0"),
            ("12345678901234567890123", "12345678901234567890123.0"),
            (r#"{"a": 0, "a": 1}"#, r#"{"a": 1}"#),
        ] {
            assert!(is_same(one, other) && is_same(other, one), "{one} and {other}");
        }
        for (one, other) in [
            (r#"{"a": 1}"#, r#"{"a": 1, "b": 1}"#),
            (r#"{"a": 1, "c": 1}"#, r#"{"a": 1, "b": 1}"#),
            ("[1, 2]", "[2, 1]"),
            ("[1]", "[1, 1]"),
            ("1", "-1"),
            ("1", "10"),
            ("0.1", "0.01"),
            ("12345678901234567890123", "12345678901234567890124"),
            ("1e400", "1e401"),
            ("1e99999999999999999999", "1e99999999999999999998"),
            ("1", r#""1""#),
            ("true", "false"),
            ("null", "0"),
            ("[]", "{}"),
        ] {
            assert!(!is_same(one, other) && !is_same(other, one), "{one} and {other}");
        }
    }

    /// If each level read the levels below it again, this would take half a minute.
    #[test]
    fn large_and_deep_values_are_compared() {
        let deep = |last: &str| {
            let list = "1,".repeat(1_000_000) + last;
            "[".repeat(120) + &list + &"]".repeat(120)
        };
        assert!(is_same(&deep("1"), &deep("1.0")) && !is_same(&deep("1"), &deep("2")));
    }

    proptest! {
        /// A number equals itself with its point moved, and no other number.
        #[test]
        fn numbers_are_the_same_when_their_decimals_are(
            one in any::<i32>(), other in any::<i32>(), zeros in 0usize..30,
        ) {
            let (text, zeros_after) = (one.to_string(), "0".repeat(zeros));
            let (moved, longer) = (format!("{one}{zeros_after}e-{zeros}"), format!("{one}.{zeros_after}0"));
            let other_text = format!("{other}.0");
            prop_assert!(is_same(&text, &moved));
            prop_assert!(is_same(&text, &longer));
            prop_assert_eq!(is_same(&text, &other_text), one == other);
        }
    }
}

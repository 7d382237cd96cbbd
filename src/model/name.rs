//! The rule for names of gates and configs. Pure.

use super::{error::Error, text::beginning};

/// Checks a name by the API's rule (`pattern`, `minLength` and `maxLength` in the API document). The
/// server would refuse the whole call for one invalid name.
pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    let rule = if !(2..=MAX_NAME).contains(&name.len()) {
        "must have 2 to 100 characters"
    } else if !name.bytes().all(is_allowed) {
        "may only contain the characters a-z A-Z 0-9 _ - . and space"
    } else {
        return Ok(());
    };
    Err(Error::InvalidName { name: beginning(name, MAX_NAME).to_owned(), rule })
}

fn is_allowed(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' | b'.' | b' ')
}

const MAX_NAME: usize = 100;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_outside_the_apis_rule_are_refused_with_the_rule() {
        for name in ["", "a", &"a".repeat(101)] {
            let error = check_name(name).unwrap_err().to_string();
            assert!(error.ends_with("must have 2 to 100 characters"), "{error}");
        }
        for name in ["a/b", "gate\n", "gate\"", "caf\u{e9}"] {
            let error = check_name(name).unwrap_err().to_string();
            assert!(error.contains("may only contain the characters"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn names_inside_the_apis_rule_are_taken(name in "[a-zA-Z0-9_\\-. ]{2,100}") {
            prop_assert!(check_name(&name).is_ok());
        }

        #[test]
        fn any_name_is_judged_without_a_panic(name in "\\PC{0,200}") {
            let _ = check_name(&name);
        }
    }
}

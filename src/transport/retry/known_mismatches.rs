//! Names that the server itself gets wrong: no sign that a connection is off by one.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use crate::model::evaluation::beginning;

/// Names over which the answer of a new connection, the first that came over it, differed from the
/// question in one way: it named another, or left the name out.
#[derive(Debug, Default)]
pub(in crate::transport) struct KnownMismatches(Mutex<HashSet<String>>);

/// So many names are remembered.
const MAX_NAMES: usize = 256;

/// So many bytes of each: a server may name what nobody can ask for, at any length.
const MAX_NAME_BYTES: usize = 400;

impl KnownMismatches {
    /// An answer differs from the question over this name. Whether that proves that it is the answer
    /// to another request.
    pub(in crate::transport) fn is_proof(&self, name: &str, is_first_answer: bool) -> bool {
        let name = beginning(name, MAX_NAME_BYTES);
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_first_answer {
            return !names.contains(name);
        }
        if names.len() >= MAX_NAMES {
            names.clear();
        }
        names.insert(name.to_owned());
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_that_the_server_gets_wrong_proves_nothing_any_more() {
        let known = KnownMismatches::default();
        let is_proof = |name: &str, is_first| known.is_proof(name, is_first);
        assert!(is_proof("a", false));
        assert!(is_proof("a", false));
        assert!(!is_proof("a", true));
        assert!(!is_proof("a", false));
        assert!(is_proof("b", false));
        for n in 0..10 * MAX_NAMES {
            is_proof(&n.to_string(), true);
        }
        assert!(known.0.lock().unwrap().len() <= MAX_NAMES);
    }

    #[test]
    fn promise_4_of_a_name_that_the_server_made_long_little_is_remembered() {
        let known = KnownMismatches::default();
        for n in 0..10 {
            let name = format!("{n}{}", "é".repeat(1 << 19));
            assert!(known.is_proof(&name, false));
            assert!(!known.is_proof(&name, true));
            assert!(!known.is_proof(&name, false));
        }
        let names = known.0.lock().unwrap();
        assert!(names.len() == 10 && names.iter().map(String::capacity).sum::<usize>() < 10_000);
    }
}

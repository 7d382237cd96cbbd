//! Names that the server itself gets wrong. They do not prove that an answer was misrouted.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use crate::model::text::beginning;

/// Names for which the first answer over a new connection differed from the request: it had another
/// name, or omitted this one. No earlier answer can be mixed up with a connection's first.
#[derive(Debug, Default)]
pub(crate) struct KnownMismatches(Mutex<HashSet<String>>);

/// The most names that are remembered.
const MAX_NAMES: usize = 256;

/// The most bytes of a name that are remembered: a server may send names of any length.
const MAX_NAME_BYTES: usize = 400;

impl KnownMismatches {
    /// Returns whether a mismatch over this name proves that the answer belongs to another request.
    /// A connection's first answer proves nothing, and its name is remembered.
    pub(crate) fn is_proof(&self, name: &str, is_first_answer: bool) -> bool {
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
    fn promise_4_little_of_a_long_wrong_name_is_remembered() {
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

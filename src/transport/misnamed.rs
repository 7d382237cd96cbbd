//! Names that the server itself gets wrong: no sign that a connection is off by one.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

/// Names over which the answer of a new connection, the first that came over it, differed from the
/// question, or that it left out.
#[derive(Debug, Default)]
pub(super) struct Misnamed(Mutex<HashSet<String>>);

/// So many names are remembered.
const MAX: usize = 256;

impl Misnamed {
    /// An answer differs from the question over this name. Whether that proves that it is the answer
    /// to another request.
    pub(super) fn is_proof(&self, name: String, is_first_answer: bool) -> bool {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_first_answer {
            return !names.contains(&name);
        }
        if names.len() >= MAX {
            names.clear();
        }
        names.insert(name);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_that_the_server_gets_wrong_proves_nothing_any_more() {
        let misnamed = Misnamed::default();
        let is_proof = |name: &str, is_first| misnamed.is_proof(name.to_owned(), is_first);
        assert!(is_proof("a", false));
        assert!(is_proof("a", false));
        assert!(!is_proof("a", true));
        assert!(!is_proof("a", false));
        assert!(is_proof("b", false));
        for n in 0..10 * MAX {
            is_proof(&n.to_string(), true);
        }
        assert!(misnamed.0.lock().unwrap().len() <= MAX);
    }
}

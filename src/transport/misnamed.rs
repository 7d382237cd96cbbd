//! Names that the server itself gets wrong: no sign that a connection is off by one.

use std::collections::HashSet;

/// Names over which the answer of a new connection, the first that came over it, differed from the
/// question.
#[derive(Debug, Default)]
pub(super) struct Misnamed(HashSet<String>);

/// So many names are remembered.
const MAX: usize = 256;

impl Misnamed {
    /// An answer differs from the question over this name. Whether that proves that it is the answer
    /// to another request.
    pub(super) fn is_proof(&mut self, name: &str, is_first_answer: bool) -> bool {
        if !is_first_answer {
            return !self.0.contains(name);
        }
        if self.0.len() >= MAX {
            self.0.clear();
        }
        self.0.insert(name.to_owned());
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_that_the_server_gets_wrong_proves_nothing_any_more() {
        let mut misnamed = Misnamed::default();
        assert!(misnamed.is_proof("a", false));
        assert!(misnamed.is_proof("a", false));
        assert!(!misnamed.is_proof("a", true));
        assert!(!misnamed.is_proof("a", false));
        assert!(misnamed.is_proof("b", false));
        for n in 0..10 * MAX {
            misnamed.is_proof(&n.to_string(), true);
        }
        assert!(misnamed.0.len() <= MAX);
    }
}

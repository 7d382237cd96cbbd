//! Cutting text short.

/// Returns at most this many bytes from the beginning of a text, cut between characters.
pub(crate) fn beginning(text: &str, longest: usize) -> &str {
    let is_end = |at: &usize| text.is_char_boundary(*at);
    &text[..(0..=longest.min(text.len())).rev().find(is_end).unwrap_or(0)]
}

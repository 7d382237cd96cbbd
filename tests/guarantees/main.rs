//! Checks that each test named in docs/guarantees.md exists.
//!
//! A binary of its own, because it reads source files and does not use the crate.
// Helpers outside a `#[test]` do not count as tests for clippy.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeSet, fs, path::Path};

/// Appends the source of all files below a folder, except build output.
fn sources(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

/// A test's name has at least five words; names of settings and fields have fewer.
fn is_a_tests_name(quoted: &str) -> bool {
    let is_snake = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    quoted.chars().all(is_snake) && quoted.matches('_').count() >= 4
}

#[test]
fn each_test_that_the_guarantees_name_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut source = String::new();
    for folder in ["src", "tests"] {
        sources(&root.join(folder), &mut source);
    }
    let guarantees = fs::read_to_string(root.join("docs/guarantees.md")).unwrap();
    let quoted = guarantees.split('`').skip(1).step_by(2);
    let named: BTreeSet<_> = quoted.filter(|quoted| is_a_tests_name(quoted)).collect();

    let is_there = |name: &str| source.contains(&format!("fn {name}("));
    let missing: Vec<_> = named.iter().filter(|name| !is_there(name)).collect();

    assert!(named.len() > 100, "{named:?}");
    assert!(missing.is_empty(), "{missing:?}");
}

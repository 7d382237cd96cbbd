//! What the cache keeps: for how long, for whom, and what it takes of the heap.

mod entries;
#[path = "../support/mod.rs"]
mod support;

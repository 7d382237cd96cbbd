//! The cache: how long an entry answers, for which user, and how much memory all entries take.

mod allocations;
mod entries;
#[path = "../support/mod.rs"]
mod support;
mod suspended;
mod weight;

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

/// Counts allocations for the heap tests, which therefore run in processes of their own.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

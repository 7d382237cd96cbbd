//! What apps test themselves with.

pub use crate::failpoint::{FAILPOINTS, panic_at};

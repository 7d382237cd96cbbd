//! Placeholder
#[cfg(feature = "test-util")]
pub mod test_util;

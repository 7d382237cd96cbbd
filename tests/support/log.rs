//! What was logged, to be looked at.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use std::{
    fmt, io,
    sync::{Arc, Mutex, Once},
};

/// What was logged, line by line.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Has what is logged on this thread at INFO or above.
    pub fn subscribe(&self) -> tracing::subscriber::DefaultGuard {
        self.subscribe_at(tracing::Level::INFO)
    }

    /// Has what is logged on this thread at this level or above.
    pub fn subscribe_at(&self, level: tracing::Level) -> tracing::subscriber::DefaultGuard {
        static OTHERS: Once = Once::new();
        // As in `trace.rs`: a test without a subscriber must not decide for all that nobody listens.
        OTHERS.call_once(|| {
            let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry());
        });
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_ansi(false)
            .with_writer(move || log.clone());
        tracing::subscriber::set_default(subscriber.finish())
    }

    pub fn count(&self, text: &str) -> usize {
        self.to_string().matches(text).count()
    }
}

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0.lock().expect("no panic")))
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

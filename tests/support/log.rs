//! A log that a test can read.

use std::{
    fmt, io,
    sync::{Arc, Mutex},
};

/// The lines that were logged.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Receives what is logged on this thread at INFO or above for as long as the guard lives.
    pub fn subscribe(&self) -> tracing::subscriber::DefaultGuard {
        self.subscribe_at(tracing::Level::INFO)
    }

    /// Receives what is logged on this thread at this level or above.
    pub fn subscribe_at(&self, level: tracing::Level) -> tracing::subscriber::DefaultGuard {
        super::trace::subscribe_other_threads();
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

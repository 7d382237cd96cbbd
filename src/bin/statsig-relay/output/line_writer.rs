//! Writes lines on a thread of its own, so that no caller waits for a slow reader. If a pipe's
//! reader stops reading, only the lines beyond the limit are lost.

use std::{
    cell::Cell,
    io::{self, ErrorKind, Write},
    mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

/// The most bytes that may wait to be written.
const MAX_WAITING: usize = 1024 * 1024;

/// The pause before a full non-blocking output is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(10);

thread_local! {
    /// Exempts a writer's own lines from the limit, because a writer logs at most one line for each
    /// batch.
    static IS_WRITER: Cell<bool> = const { Cell::new(false) };
}

/// A queue of lines, and the thread that writes them.
pub(crate) struct LineWriter(Arc<Queue>);

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Whole lines.
    waiting: Vec<u8>,
    is_writing: bool,
    dropped: u64,
}

impl LineWriter {
    /// Starts the thread. Once there is room again after lines were dropped, the thread calls
    /// `on_dropped` with their number.
    pub(crate) fn start(
        name: &str,
        out: impl Write + Send + 'static,
        on_dropped: impl Fn(u64) + Send + 'static,
    ) -> io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let writer = Arc::clone(&queue);
        let write = move || writer.write_to(out, on_dropped);
        thread::Builder::new().name(name.to_owned()).spawn(write)?;
        Ok(Self(queue))
    }

    /// Queues lines, or drops them if the queue is full. Returns whether they are queued.
    pub(crate) fn push(&self, lines: &[u8]) -> bool {
        let mut state = self.0.state();
        if state.waiting.len().saturating_add(lines.len()) > MAX_WAITING && !IS_WRITER.get() {
            state.dropped += 1;
            return false;
        }
        state.waiting.extend_from_slice(lines);
        drop(state);
        self.0.changed.notify_all();
        true
    }

    /// Waits until all lines are written, but no longer than the limit.
    pub(crate) fn flush(&self, limit: Duration) {
        let is_busy = |state: &mut State| state.is_writing || !state.waiting.is_empty();
        drop(self.0.changed.wait_timeout_while(self.0.state(), limit, is_busy));
    }
}

impl Queue {
    fn write_to(&self, mut out: impl Write, on_dropped: impl Fn(u64)) {
        IS_WRITER.set(true);
        let mut batch = Vec::new();
        loop {
            let dropped = self.take(&mut batch);
            if dropped > 0 {
                // Report before the write, which may never return. The line about the loss is
                // queued behind the batch.
                on_dropped(dropped);
            }
            write_all(&mut out, &batch);
        }
    }

    /// Waits for lines and moves them to the batch. Returns how many were dropped since the last
    /// batch.
    fn take(&self, batch: &mut Vec<u8>) -> u64 {
        batch.clear();
        let mut state = self.state();
        state.is_writing = false;
        self.changed.notify_all();
        let is_empty = |state: &mut State| state.waiting.is_empty();
        let state = self.changed.wait_while(state, is_empty);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        state.is_writing = true;
        mem::swap(&mut state.waiting, batch);
        mem::take(&mut state.dropped)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes the bytes. If the output is closed, the rest is lost.
fn write_all(out: &mut impl Write, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match out.write(bytes) {
            Ok(0) => return,
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Another process may make the pipe or terminal non-blocking.
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(RETRY_PAUSE),
            Err(_) => return,
        }
    }
    // A failure means that the output is closed.
    let _ = out.flush();
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// An output that waits for permission to write, and passes on the written bytes.
    struct GatedOutput {
        may_write: Receiver<()>,
        written: Sender<Vec<u8>>,
    }

    impl Write for GatedOutput {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.may_write.recv().map_err(|_| io::Error::from(ErrorKind::BrokenPipe))?;
            self.written.send(bytes.to_vec()).unwrap();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn gated_output() -> (GatedOutput, Sender<()>, Receiver<Vec<u8>>) {
        let ((allow, may_write), (written, read)) = (channel(), channel());
        (GatedOutput { may_write, written }, allow, read)
    }

    #[test]
    fn dropped_log_lines_are_counted_once_there_is_room() {
        let (out, allow, read) = gated_output();
        let (dropped, dropped_lines) = channel();
        let lines =
            LineWriter::start("slow", out, move |lines| dropped.send(lines).unwrap()).unwrap();
        let line = vec![b'x'; MAX_WAITING / 4];

        let pushed = (0..10).filter(|_| lines.push(&line)).count();
        // One batch may have been taken already, and be waiting to be written.
        assert!((4..=8).contains(&pushed), "{pushed}");
        lines.flush(Duration::ZERO);

        let mut bytes = 0;
        while bytes < pushed * line.len() {
            allow.send(()).unwrap();
            bytes += read.recv().unwrap().len();
        }
        assert_eq!(dropped_lines.recv().unwrap(), 10 - pushed as u64);
        assert!(lines.push(b"again\n"));
        allow.send(()).unwrap();
        assert_eq!(read.recv().unwrap(), b"again\n");
    }

    #[test]
    fn flush_writes_every_line() {
        let (read, write) = io::pipe().unwrap();
        let lines = LineWriter::start("pipe", write, |_| {}).unwrap();
        lines.push(b"one\n");
        lines.push(b"two\n");

        lines.flush(Duration::from_secs(60));

        let mut read = io::BufReader::new(read);
        for wanted in ["one\n", "two\n"] {
            let mut line = String::new();
            io::BufRead::read_line(&mut read, &mut line).unwrap();
            assert_eq!(line, wanted);
        }
    }
}

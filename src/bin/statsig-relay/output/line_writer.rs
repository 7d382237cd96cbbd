//! Lines that leave the process by a thread of their own: whoever says one never waits for whoever
//! reads it. A pipe that nobody reads costs the lines that find no room, and nothing else.

use std::{
    cell::Cell,
    io::{self, ErrorKind, Write},
    mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

/// The most that waits to be written, in bytes.
const ROOM: usize = 1024 * 1024;

/// How long a non-blocking output is left alone when it takes nothing.
const PAUSE: Duration = Duration::from_millis(10);

thread_local! {
    /// What a writer says itself always has room: it is one line for each time it writes.
    static IS_WRITER: Cell<bool> = const { Cell::new(false) };
}

/// A queue of lines, and the thread that writes them.
pub(crate) struct Lines(Arc<Queue>);

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

impl Lines {
    /// Starts the thread. Calls `tell` on it when lines were dropped, with their number, as soon as
    /// there is room again.
    pub(crate) fn start(
        name: &str,
        out: impl Write + Send + 'static,
        tell: impl Fn(u64) + Send + 'static,
    ) -> io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let its_queue = Arc::clone(&queue);
        let write = move || its_queue.write_to(out, tell);
        thread::Builder::new().name(name.to_owned()).spawn(write)?;
        Ok(Self(queue))
    }

    /// Has this written, or drops it where there is no room; false if it was dropped.
    pub(crate) fn push(&self, lines: &[u8]) -> bool {
        let mut state = self.0.state();
        if state.waiting.len().saturating_add(lines.len()) > ROOM && !IS_WRITER.get() {
            state.dropped += 1;
            return false;
        }
        state.waiting.extend_from_slice(lines);
        drop(state);
        self.0.changed.notify_all();
        true
    }

    /// Waits until all has been written, but no longer than this.
    pub(crate) fn flush(&self, limit: Duration) {
        let is_busy = |state: &mut State| state.is_writing || !state.waiting.is_empty();
        drop(self.0.changed.wait_timeout_while(self.0.state(), limit, is_busy));
    }
}

impl Queue {
    fn write_to(&self, mut out: impl Write, tell: impl Fn(u64)) {
        IS_WRITER.set(true);
        let mut batch = Vec::new();
        loop {
            let dropped = self.take(&mut batch);
            if dropped > 0 {
                // Before the batch is written, which may take for ever: it has its place behind it.
                tell(dropped);
            }
            write_all(&mut out, &batch);
        }
    }

    /// Waits for lines and takes them; how many were dropped for want of room since the last time.
    fn take(&self, batch: &mut Vec<u8>) -> u64 {
        batch.clear();
        let mut state = self.state();
        state.is_writing = false;
        self.changed.notify_all();
        let waits = |state: &mut State| state.waiting.is_empty();
        let waited = self.changed.wait_while(state, waits);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        state.is_writing = true;
        mem::swap(&mut state.waiting, batch);
        mem::take(&mut state.dropped)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes what can be written; where nobody is left to read, the rest is lost.
fn write_all(out: &mut impl Write, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match out.write(bytes) {
            Ok(0) => return,
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // A pipe or terminal that another process has made non-blocking.
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(PAUSE),
            Err(_) => return,
        }
    }
    // As with writing: it is for whoever reads.
    let _ = out.flush();
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Takes what is written when it is allowed to, and tells it.
    struct Slow {
        may_write: Receiver<()>,
        written: Sender<Vec<u8>>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.may_write.recv().map_err(|_| io::Error::from(ErrorKind::BrokenPipe))?;
            self.written.send(bytes.to_vec()).unwrap();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn slow() -> (Slow, Sender<()>, Receiver<Vec<u8>>) {
        let ((allow, may_write), (written, read)) = (channel(), channel());
        (Slow { may_write, written }, allow, read)
    }

    #[test]
    fn lines_that_find_no_room_are_dropped_and_their_number_told_when_there_is_room_again() {
        let (out, allow, read) = slow();
        let (tell, told) = channel();
        let lines = Lines::start("slow", out, move |dropped| tell.send(dropped).unwrap()).unwrap();
        let line = vec![b'x'; ROOM / 4];

        let pushed = (0..10).filter(|_| lines.push(&line)).count();
        // One batch may have been taken already, and waits to be written.
        assert!((4..=8).contains(&pushed), "{pushed}");
        lines.flush(Duration::ZERO);

        let mut bytes = 0;
        while bytes < pushed * line.len() {
            allow.send(()).unwrap();
            bytes += read.recv().unwrap().len();
        }
        assert_eq!(told.recv().unwrap(), 10 - pushed as u64);
        assert!(lines.push(b"again\n"));
        allow.send(()).unwrap();
        assert_eq!(read.recv().unwrap(), b"again\n");
    }

    #[test]
    fn what_was_said_is_written_when_flush_is_done() {
        let (read, write) = io::pipe().unwrap();
        let lines = Lines::start("pipe", write, |_| {}).unwrap();
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

//! The server's process, as the client's process sees it.

use std::{
    env, io,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

/// The server exits when its standard input closes: when this value is dropped, or when the
/// client's process ends in any way.
pub struct Upstream {
    url: String,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    _process: Child,
}

impl Upstream {
    pub fn start(delay: Duration) -> io::Result<Self> {
        let mut process = Command::new(env::current_exe()?)
            .args(["serve", &delay.as_millis().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (Some(orders), Some(answers)) = (process.stdin.take(), process.stdout.take()) else {
            return Err(io::Error::other("the server's process has no pipes"));
        };
        let mut upstream = Self {
            url: String::new(),
            orders,
            answers: BufReader::new(answers),
            _process: process,
        };
        upstream.url = upstream.read()?;
        Ok(upstream)
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// The number of calls so far.
    pub fn calls(&mut self) -> io::Result<u64> {
        self.orders.write_all(b"\n")?;
        self.read()?.parse().map_err(io::Error::other)
    }

    fn read(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }
}

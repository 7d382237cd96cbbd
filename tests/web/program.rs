//! A test's own program: the test itself, run again in a process of its own.

#![allow(unreachable_pub, reason = "a test's module")]

use std::{
    env,
    fmt::Display,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use actix_rt::time::sleep;
use awc::{Client, Connector};
use tokio::sync::{mpsc, oneshot};

pub use crate::support::limited;
use crate::support::{LIMIT, own_process::again, process};

/// Marks a process as the program, and holds the URL of its Statsig.
const UPSTREAM: &str = "TEST_UPSTREAM";

/// Runs a test with a program of its own. `look` is the test; it gets the command that starts the
/// program. `serve` is the program; it gets the URL of its Statsig.
pub fn run<F: Future<Output = ()>>(serve: impl FnOnce(&str), look: impl FnOnce(Command) -> F) {
    match env::var(UPSTREAM) {
        Ok(upstream) => serve(&upstream),
        Err(_) => actix_rt::System::new().block_on(look(again(&serve))),
    }
}

/// Prints a line for the test, between those of the test harness.
#[allow(clippy::print_stdout, reason = "the test reads it")]
pub fn say(line: impl Display) {
    println!("\n@{line}");
}

/// The program's process, which is killed when this is dropped.
pub struct Program {
    child: Child,
    address: String,
    client: Client,
    said: mpsc::UnboundedReceiver<String>,
}

impl Program {
    pub async fn start(mut command: Command, upstream: &str) -> Self {
        let mut child = command.env(UPSTREAM, upstream).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (tell, said) = mpsc::unbounded_channel();
        thread::spawn(move || {
            let lines = stdout.lines().map(|line| line.expect("UTF-8"));
            for line in lines.filter_map(|line| Some(line.strip_prefix('@')?.to_owned())) {
                // The test may have ended.
                let _ = tell.send(line);
            }
        });
        let connector = Connector::new().limit(0).timeout(LIMIT);
        let client = Client::builder().connector(connector).disable_timeout().finish();
        let mut program = Self { child, address: String::new(), client, said };
        let line = program.says().await.expect("the program prints its address");
        program.address = line.strip_prefix("listening on ").expect(&line).to_owned();
        program
    }

    /// The next line that the program prints; `None` when it has ended.
    pub async fn says(&mut self) -> Option<String> {
        limited(self.said.recv()).await
    }

    /// The answer's status and body, or the connection's error.
    pub fn get(&self, path: &str) -> impl Future<Output = Result<(u16, String), String>> + use<> {
        let request = self.client.get(format!("http://{}/{path}", self.address)).send();
        limited(async {
            let mut response = request.await.map_err(|error| error.to_string())?;
            let body = response.body().await.map_err(|error| error.to_string())?;
            Ok((response.status().as_u16(), String::from_utf8(body.to_vec()).unwrap()))
        })
    }

    /// Opens a connection and sends a request over it, without waiting for the program to read it.
    pub fn send(&self, path: &str) -> TcpStream {
        let mut connection = TcpStream::connect(&self.address).unwrap();
        let request = format!("GET /{path} HTTP/1.1\r\nhost: program\r\nconnection: close\r\n\r\n");
        connection.write_all(request.as_bytes()).unwrap();
        connection
    }

    pub async fn refuses_connections(&self) {
        process::refuses_connections(&self.address).await;
    }

    pub fn signal(&self, signal: &str) {
        process::signal(&self.child, signal);
    }

    /// Waits for the program to end. Returns its exit code and the last line that it printed.
    pub async fn ended(&mut self) -> (Option<i32>, String) {
        let mut last = String::new();
        while let Some(line) = self.says().await {
            last = line;
        }
        (self.child.wait().unwrap().code(), last)
    }

    /// The same, but sends this signal again and again until the program ends.
    pub async fn ended_by(&mut self, signal: &str) -> (Option<i32>, String) {
        let mut last = String::new();
        loop {
            self.signal(signal);
            tokio::select! {
                () = sleep(Duration::from_millis(300)) => {}
                line = self.said.recv() => match line {
                    Some(line) => last = line,
                    None => return (self.child.wait().unwrap().code(), last),
                },
            }
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // The program may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads until the connection is closed.
pub async fn read(mut connection: TcpStream) -> String {
    let (tell, read) = oneshot::channel();
    thread::spawn(move || {
        let mut text = String::new();
        // An error ends the read; the text so far is kept.
        let _ = connection.read_to_string(&mut text);
        let _ = tell.send(text);
    });
    limited(read).await.expect("a text")
}

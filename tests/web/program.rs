//! A program of a test's own: the test itself, started once more in a process of its own.

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

/// Tells the program whom to ask, and that it is one.
const UPSTREAM: &str = "TEST_UPSTREAM";

/// Runs a test that looks at a program of its own. The test is `look`, which gets the command that
/// starts the program. The program is `serve`, which gets the URL of its Statsig.
pub fn run<F: Future<Output = ()>>(serve: impl FnOnce(&str), look: impl FnOnce(Command) -> F) {
    match env::var(UPSTREAM) {
        Ok(upstream) => serve(&upstream),
        Err(_) => actix_rt::System::new().block_on(look(again(&serve))),
    }
}

/// Says a line to the test, between those of the test harness.
#[allow(clippy::print_stdout, reason = "the test reads it")]
pub fn say(line: impl Display) {
    println!("\n@{line}");
}

/// The program, which ends with this at the latest.
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
        let line = program.says().await.expect("the program says where it listens");
        program.address = line.strip_prefix("listening on ").expect(&line).to_owned();
        program
    }

    /// What it says next; none when it has ended.
    pub async fn says(&mut self) -> Option<String> {
        limited(self.said.recv()).await
    }

    /// The status and the body, or what became of the connection.
    pub fn get(&self, path: &str) -> impl Future<Output = Result<(u16, String), String>> + use<> {
        let request = self.client.get(format!("http://{}/{path}", self.address)).send();
        limited(async {
            let mut response = request.await.map_err(|error| error.to_string())?;
            let body = response.body().await.map_err(|error| error.to_string())?;
            Ok((response.status().as_u16(), String::from_utf8(body.to_vec()).unwrap()))
        })
    }

    /// A connection over which a request has been sent, whether the program is there to read it or
    /// not.
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

    /// The exit code, and what it said last.
    pub async fn ended(&mut self) -> (Option<i32>, String) {
        let mut last = String::new();
        while let Some(line) = self.says().await {
            last = line;
        }
        (self.child.wait().unwrap().code(), last)
    }

    /// The same, sending this signal until it has ended.
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
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All that comes until the connection is closed.
pub async fn read(mut connection: TcpStream) -> String {
    let (tell, read) = oneshot::channel();
    thread::spawn(move || {
        let mut text = String::new();
        // A connection that breaks has brought what it has brought.
        let _ = connection.read_to_string(&mut text);
        let _ = tell.send(text);
    });
    limited(read).await.expect("a text")
}

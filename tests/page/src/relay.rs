//! The relay's program, and a client of it.

use std::{
    env,
    io::{BufRead, BufReader, Read, Write},
    iter,
    net::{TcpListener, TcpStream},
    process::{self, Child, Command, Stdio},
    sync::atomic::{AtomicU16, Ordering::Relaxed},
    thread,
};

use actix_statsig::test_util::LocalStatsig;
use serde_json::Value;

/// The key of the relay's environment.
pub const KEY: &str = "secret-of-the-page-test";

/// The relay's process, which is killed when this is dropped.
pub struct Relay {
    child: Child,
    address: String,
}

impl Relay {
    /// Starts the relay on a port of its own.
    pub fn start(upstream: &LocalStatsig) -> Self {
        Self::start_on(&free_address(), upstream)
    }

    /// Starts a relay that admits only callers with one of these keys, even from this machine.
    pub fn start_for(upstream: &LocalStatsig, keys: &str) -> Self {
        let only = [("STATSIG_RELAY_KEYS", keys), ("STATSIG_RELAY_TRUST_LOOPBACK", "off")];
        Self::start_with(&free_address(), upstream, &only)
    }

    /// Starts the relay on this address.
    pub fn start_on(listen: &str, upstream: &LocalStatsig) -> Self {
        Self::start_with(listen, upstream, &[])
    }

    fn start_with(listen: &str, upstream: &LocalStatsig, variables: &[(&str, &str)]) -> Self {
        let program = env::var("STATSIG_RELAY_BIN")
            .expect("set STATSIG_RELAY_BIN to the relay's path; .ci/page builds it");
        let mut command = Command::new(program);
        for (name, _) in env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("STATSIG_") || name == "RUST_LOG" {
                command.env_remove(&*name);
            }
        }
        let command = command.args(["--listen", listen, "--upstream", &upstream.url()]);
        let command = command.args(["--cache-ttl", "3600s"]);
        // The reason for a failed start goes to stderr; the logs are not needed.
        let command = command.env("STATSIG_API_KEY", KEY).env("RUST_LOG", "off");
        let command = command.envs(variables.iter().copied());
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the relay starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let address = lines.find_map(|line| {
            Some(line.expect("UTF-8").strip_prefix("listening on http://")?.to_owned())
        });
        let address = address.expect("the relay prints its address");
        thread::spawn(move || lines.for_each(drop));
        Self { child, address }
    }

    /// Kills the relay, as if its machine failed.
    pub fn kill(mut self) -> String {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it has ended");
        self.address.clone()
    }

    /// The URL of a path on the relay.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Sends a `POST` request, and returns the status.
    pub fn post(&self, path: &str, body: &Value) -> u16 {
        let body = body.to_string();
        let length = body.len();
        self.exchange(&format!("POST {path}"), &format!("content-length: {length}"), &body).0
    }

    /// The head of the answer to a `GET`, in lower case, and its body.
    pub fn get(&self, path: &str) -> (String, String) {
        let (_, answer) = self.exchange(&format!("GET {path}"), "accept: */*", "");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        (head.to_lowercase(), body.to_owned())
    }

    fn exchange(&self, line: &str, header: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).expect("the relay listens");
        let host = &self.address;
        let head = format!("{line} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{header}");
        stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).expect("the relay reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("the relay answers");
        let status = answer.get(9..12).and_then(|status| status.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no answer: {answer}"));
        assert_ne!(status, 401, "the relay must admit callers from this machine");
        (status, answer)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address whose port stays free after the relay on it ends, because the system does not assign
/// such ports.
fn free_address() -> String {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = (process::id() % 100) as u16 * 100;
    let mut ports = iter::repeat_with(|| 20_000 + (first + NEXT.fetch_add(1, Relaxed)) % 10_000);
    let port = ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    format!("127.0.0.1:{}", port.expect("a free port"))
}

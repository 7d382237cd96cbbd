//! The relay's program, and a client of it.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Child, ChildStderr, Command, Stdio},
    thread,
};

use actix_web::web;
use awc::{Client, ClientResponse, Connector, http::StatusCode};
use serde_json::{Value, json};
use tokio::sync::oneshot;

pub(crate) use crate::support::limited;
use crate::support::{LIMIT, process, upstream::Upstream};

/// The API key of the relay's environment.
pub(crate) const KEY: &str = "secret-hunter2";

/// The relay's process, which is killed when this is dropped.
pub(crate) struct Relay {
    child: Child,
    pub(crate) address: String,
    pub(crate) client: Client,
    stdout: oneshot::Receiver<String>,
    stderr: oneshot::Receiver<String>,
    heard: Option<oneshot::Receiver<String>>,
}

pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Relay {
    /// Starts a relay without a cache, so that repeated requests reach the upstream.
    pub(crate) async fn start(upstream: &Upstream, options: &[&str]) -> Self {
        let options = [&["--upstream", &upstream.url, "--cache-ttl", "0"], options].concat();
        Self::start_with(&options, &[("STATSIG_API_KEY", KEY)]).await
    }

    pub(crate) async fn start_with(options: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::listening(&[&["--listen", "127.0.0.1:0"], options].concat(), variables).await
    }

    /// Starts a relay that listens where the options say.
    pub(crate) async fn listening(options: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::spawn(options, variables).listens().await
    }

    async fn listens(mut self) -> Self {
        let heard = self.heard.take().unwrap();
        self.address = limited(heard).await.expect("the relay prints its address");
        self
    }

    /// Starts a relay whose stderr is closed, as when the `tee` behind it has ended.
    pub(crate) async fn unread(options: &[&str], variables: &[(&str, &str)]) -> Self {
        let nothing = |stderr| {
            drop(stderr);
            read_to_end(io::empty(), None)
        };
        let options = [&["--listen", "127.0.0.1:0"], options].concat();
        Self::run(&options, variables, nothing).listens().await
    }

    /// Starts a relay whose stderr is a pipe that the test does not read yet.
    pub(crate) async fn stuck(options: &[&str], variables: &[(&str, &str)]) -> (Self, ChildStderr) {
        let mut pipe = None;
        let keep = |stderr| {
            pipe = Some(stderr);
            read_to_end(io::empty(), None)
        };
        let options = [&["--listen", "127.0.0.1:0"], options].concat();
        let relay = Self::run(&options, variables, keep).listens().await;
        (relay, pipe.unwrap())
    }

    pub(crate) fn spawn(options: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::run(options, variables, |stderr| read_to_end(stderr, None))
    }

    fn run(
        options: &[&str],
        variables: &[(&str, &str)],
        read: impl FnOnce(ChildStderr) -> oneshot::Receiver<String>,
    ) -> Self {
        Self::child_of(command(options, variables), Stdio::piped(), read)
    }

    /// Starts a relay from a shell, after a command such as `ulimit …`.
    pub(crate) async fn after(shell: &str, options: &[&str], variables: &[(&str, &str)]) -> Self {
        let options = [&["--listen", "127.0.0.1:0"], options].concat();
        Self::spawn_after(shell, &options, variables).listens().await
    }

    pub(crate) fn spawn_after(shell: &str, options: &[&str], variables: &[(&str, &str)]) -> Self {
        let program = command(options, variables);
        let script = format!("{shell} && exec \"$0\" \"$@\"");
        let mut command = Command::new("sh");
        command.args(["-c", &script]).arg(program.get_program()).args(program.get_args());
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        Self::child_of(command, Stdio::piped(), |stderr| read_to_end(stderr, None))
    }

    /// Starts a relay with this stdout, so its address cannot be read.
    pub(crate) fn with_stdout(stdout: impl Into<Stdio>, options: &[&str]) -> Self {
        let read = |stderr| read_to_end(stderr, None);
        Self::child_of(command(options, &[]), stdout.into(), read)
    }

    fn child_of(
        mut command: Command,
        stdout: Stdio,
        read: impl FnOnce(ChildStderr) -> oneshot::Receiver<String>,
    ) -> Self {
        let mut child = command.stdout(stdout).stderr(Stdio::piped()).spawn().unwrap();
        let (tell, heard) = oneshot::channel();
        let stdout = child.stdout.take().map_or_else(
            || read_to_end(io::empty(), None),
            |stdout| read_to_end(stdout, Some(tell)),
        );
        let stderr = read(child.stderr.take().unwrap());
        let connector = Connector::new().limit(0).timeout(LIMIT).conn_keep_alive(LIMIT);
        let client = Client::builder().connector(connector).disable_timeout().finish();
        Self { child, address: String::new(), client, stdout, stderr, heard: Some(heard) }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.parse::<SocketAddr>().unwrap().port()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn post(
        &self,
        path: &str,
        body: &Value,
    ) -> impl Future<Output = (StatusCode, Value)> + use<> {
        let request = self.client.post(self.url(path)).send_json(body);
        async { read(limited(request).await.expect("a response")).await }
    }

    pub(crate) async fn get(&self, path: &str) -> (StatusCode, Value) {
        let response = limited(self.client.get(self.url(path)).send()).await;
        read(response.expect("a response")).await
    }

    pub(crate) async fn has_received(&self, requests: u64) {
        self.comes_to_show("requests", &json!(requests)).await;
    }

    /// Waits for a figure of `/stats`, which may change just after the answer that it counts.
    pub(crate) async fn comes_to_show(&self, figure: &str, value: &Value) {
        limited(async { while self.get("/stats").await.1[figure] != *value {} }).await;
    }

    pub(crate) async fn refuses_connections(&self) {
        process::refuses_connections(&self.address).await;
    }

    /// An open connection that has already carried a request.
    pub(crate) fn kept_alive(&self) -> TcpStream {
        let mut connection = TcpStream::connect(&self.address).unwrap();
        connection.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
        let mut start = [0; 12];
        connection.read_exact(&mut start).unwrap();
        assert_eq!(&start, b"HTTP/1.1 200");
        connection
    }

    /// The relay's peak memory so far, in MiB.
    #[cfg(target_os = "linux")]
    pub(crate) fn peak_memory(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches(" kB").parse::<usize>().unwrap() / 1024
    }

    pub(crate) fn signal(&self, signal: &str) {
        process::signal(&self.child, signal);
    }

    /// Waits for the relay to end and close both outputs.
    pub(crate) async fn ended(&mut self) -> Ended {
        let stdout = limited(&mut self.stdout).await.unwrap();
        let stderr = limited(&mut self.stderr).await.unwrap();
        Ended { code: self.child.wait().unwrap().code(), stdout, stderr }
    }
}

/// The relay's program with these options, and only these `STATSIG_` variables.
pub(crate) fn command(options: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_statsig-relay"));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("STATSIG_") || name == "RUST_LOG" {
            command.env_remove(&*name);
        }
    }
    command.args(options).envs(variables.iter().copied());
    command
}

impl Drop for Relay {
    fn drop(&mut self) {
        // The relay may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads the output on a thread, and sends the address as soon as it appears.
fn read_to_end(
    output: impl Read + Send + 'static,
    mut tell: Option<oneshot::Sender<String>>,
) -> oneshot::Receiver<String> {
    let (whole, reader) = oneshot::channel();
    thread::spawn(move || {
        let mut text = String::new();
        for line in BufReader::new(output).lines() {
            let line = line.expect("UTF-8");
            let url = line.strip_prefix("listening on ");
            let address = url.map(|url| url.strip_prefix("http://").unwrap_or(url));
            if let (Some(address), Some(tell)) = (address, tell.take_if(|_| address.is_some())) {
                let _ = tell.send(address.to_owned());
            }
            text += &line;
            text += "\n";
        }
        let _ = whole.send(text);
    });
    reader
}

pub(crate) async fn read<S>(mut response: ClientResponse<S>) -> (StatusCode, Value)
where
    S: futures_util::Stream<Item = Result<web::Bytes, awc::error::PayloadError>> + Unpin,
{
    let body = limited(response.body()).await.expect("a body");
    let json = serde_json::from_slice(&body);
    (response.status(), json.unwrap_or_else(|_| panic!("not JSON: {body:?}")))
}

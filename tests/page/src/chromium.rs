//! Chromium and its DevTools protocol.

use std::{
    env, fs,
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tungstenite::{Message, WebSocket, client};

/// Longer than any answer from the browser takes.
const LIMIT: Duration = Duration::from_secs(90);

const FLAGS: [&str; 11] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
];

/// A browser with one page, which ends when this is dropped.
pub(crate) struct Chromium {
    child: Child,
    socket: WebSocket<TcpStream>,
    session: String,
    asked: u64,
    events: Vec<Value>,
    _profile: TempDir,
}

impl Chromium {
    pub(crate) fn start() -> Self {
        let profile = TempDir::new().expect("a directory for the profile");
        let child = Command::new(program())
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("Chromium starts");
        let (port, path) = address(profile.path());
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("Chromium listens");
        stream.set_read_timeout(Some(LIMIT)).expect("a limit");
        let url = format!("ws://127.0.0.1:{port}{path}");
        let (socket, _) = client(url, stream).expect("Chromium speaks WebSocket");
        let (session, events) = (String::new(), Vec::new());
        let mut browser = Self { child, socket, session, asked: 0, events, _profile: profile };
        let page = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": page["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", attach);
        browser.session = attached["sessionId"].as_str().expect("a session").to_owned();
        browser
    }

    /// Calls a method of the protocol, and returns its result.
    pub(crate) fn call(&mut self, method: &str, params: Value) -> Value {
        self.asked += 1;
        let mut call = json!({"id": self.asked, "method": method, "params": params});
        if !self.session.is_empty() {
            call["sessionId"] = json!(self.session);
        }
        self.socket.send(Message::text(call.to_string())).expect("Chromium listens");
        loop {
            let message = self.socket.read().unwrap_or_else(|error| panic!("{method}: {error}"));
            let Message::Text(text) = message else { continue };
            let mut said: Value = serde_json::from_str(&text).expect("JSON");
            if said["id"] == self.asked {
                assert!(said["error"].is_null(), "{method}: {}", said["error"]);
                return said["result"].take();
            }
            self.events.push(said);
        }
    }

    /// The events that the browser sent before its last answer.
    pub(crate) fn events(&self) -> &[Value] {
        &self.events
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // On `Browser.close`, the browser also ends its child processes, which would otherwise
        // still write to the profile while it is removed. A browser that does not close is killed.
        let leave = json!({"id": 0, "method": "Browser.close"});
        let _ = self.socket.send(Message::text(leave.to_string()));
        for _ in 0..250 {
            if self.child.try_wait().is_ok_and(|ended| ended.is_some()) {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program() -> String {
    if let Ok(program) = env::var("CHROMIUM") {
        return program;
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let is_there = |name: &&str| env::split_paths(&path).any(|folder| folder.join(name).exists());
    let found = ["chromium", "chromium-browser", "google-chrome"].into_iter().find(is_there);
    found.expect("there is no Chromium: .ci/page installs it").to_owned()
}

/// Waits for Chromium to write down the address that it listens on.
fn address(profile: &Path) -> (u16, String) {
    let file = profile.join("DevToolsActivePort");
    let step = Duration::from_millis(20);
    for _ in 0..LIMIT.as_millis() / step.as_millis() {
        let text = fs::read_to_string(&file).unwrap_or_default();
        if let Some((port, path)) = text.split_once('\n').filter(|(_, path)| !path.is_empty()) {
            return (port.parse().expect("a port"), path.trim().to_owned());
        }
        thread::sleep(step);
    }
    panic!("Chromium does not listen");
}

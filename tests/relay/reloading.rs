//! Key files that change while the relay runs.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::ChildStderr,
    thread,
};

use actix_statsig::test_util::{LocalStatsig, Rules};
use awc::http::StatusCode;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::{
    gate,
    program::{KEY, Relay, limited, read},
};

/// An empty folder for one test.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Replaces a file atomically, as careful programs do.
fn replace(file: &Path, text: &str) {
    let new = file.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, file).unwrap();
}

/// The relay's log, line by line.
struct Log(UnboundedReceiver<String>);

impl Log {
    fn of(stderr: ChildStderr) -> Self {
        let (tell, told) = unbounded_channel();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines() {
                let _ = tell.send(line.unwrap());
            }
        });
        Self(told)
    }

    /// The next line that contains `part`.
    async fn line(&mut self, part: &str) -> String {
        loop {
            let line = limited(self.0.recv()).await.expect(part);
            if line.contains(part) {
                return line;
            }
        }
    }
}

async fn before(server: &LocalStatsig, file: &Path) -> (Relay, Log) {
    let url = server.url();
    let options = ["--upstream", &url, "--api-key-file", file.to_str().unwrap()];
    let (relay, stderr) = Relay::stuck(&options, &[]).await;
    (relay, Log::of(stderr))
}

async fn is_open(relay: &Relay, user: &str) -> bool {
    let (status, answer) = relay.post("/v1/check_gate", &gate(user, 0)).await;
    assert_eq!(status, StatusCode::OK, "{user} {answer}");
    answer["value"].as_bool().unwrap()
}

fn all_are(value: bool) -> Rules {
    Rules::new().gate("gate-0", value)
}

#[actix_rt::test]
async fn changed_key_file_loses_no_request_and_empties_the_cache() {
    let server = LocalStatsig::start(all_are(false)).unwrap();
    let file = folder("changed-key").join("key");
    fs::write(&file, "key-one\n").unwrap();
    let (relay, mut log) = before(&server, &file).await;
    assert!(!is_open(&relay, "kept").await);

    // Both keys are valid for a while. Without the change, the cache would answer for ten seconds.
    server.set_rules(all_are(true));
    replace(&file, "key-two\n");
    relay.signal("HUP");
    let mut asked = 0;
    limited(async {
        while !server.requests().last().unwrap().has_key("key-two") {
            is_open(&relay, &format!("u-{asked}")).await;
            asked += 1;
        }
    })
    .await;

    log.line("--api-key-file has changed").await;
    server.require_key("key-two");
    assert!(is_open(&relay, "kept").await);
    assert_eq!(server.refused(), 0);
}

#[actix_rt::test]
async fn secret_swapped_by_a_link_is_noticed_without_a_signal() {
    let server = LocalStatsig::start(all_are(true)).unwrap();
    server.require_key("key-one");
    // The layout of a Kubernetes secret.
    let folder = folder("linked-key");
    for (version, key) in [("..1", "key-one"), ("..2", "key-two")] {
        fs::create_dir(folder.join(version)).unwrap();
        fs::write(folder.join(version).join("key"), key).unwrap();
    }
    symlink("..1", folder.join("..data")).unwrap();
    symlink("..data/key", folder.join("key")).unwrap();
    let (relay, mut log) = before(&server, &folder.join("key")).await;
    assert!(is_open(&relay, "u-1").await);

    server.require_key("key-two");
    symlink("..2", folder.join("..new")).unwrap();
    fs::rename(folder.join("..new"), folder.join("..data")).unwrap();

    log.line("--api-key-file has changed").await;
    assert!(is_open(&relay, "u-2").await);
}

#[actix_rt::test]
async fn broken_key_file_is_logged_and_the_old_key_stays() {
    let server = LocalStatsig::start(all_are(true)).unwrap();
    server.require_key(KEY);
    let file = folder("broken-key").join("key");
    fs::write(&file, KEY).unwrap();
    let (mut relay, mut log) = before(&server, &file).await;

    for (number, broken) in ["hunter7 with spaces", "", "gone"].into_iter().enumerate() {
        if broken == "gone" {
            fs::remove_file(&file).unwrap()
        } else {
            replace(&file, broken)
        }
        relay.signal("HUP");
        let line = log.line("ERROR").await;
        assert!(line.contains("--api-key-file") && !line.contains("hunter"), "{line}");
        assert!(is_open(&relay, &format!("u-{number}")).await);
    }
    server.require_key("key-two");
    replace(&file, "key-two");
    log.line("INFO statsig_relay::access::reload: --api-key-file has changed").await;
    assert!(is_open(&relay, "late").await);

    relay.signal("TERM");
    assert_eq!(relay.ended().await.code, Some(0));
}

#[actix_rt::test]
async fn callers_are_admitted_by_the_keys_that_their_file_has_now() {
    let server = LocalStatsig::start(all_are(true)).unwrap();
    let file = folder("callers").join("keys");
    fs::write(&file, "caller-one\ncaller-two\n").unwrap();
    let url = server.url();
    let options =
        ["--upstream", &url, "--keys-file", file.to_str().unwrap(), "--trust-loopback", "off"];
    let variables = [("STATSIG_API_KEY", KEY), ("STATSIG_RELAY_KEYS", "caller-zero")];
    let (relay, stderr) = Relay::stuck(&options, &variables).await;
    let mut log = Log::of(stderr);
    let may_ask = async |key: &str| {
        let request = relay.client.post(relay.url("/v1/check_gate"));
        let request = request.insert_header(("statsig-api-key", key));
        read(limited(request.send_json(&gate("u", 0))).await.unwrap()).await.0 == StatusCode::OK
    };
    let admitted = async || {
        let mut admitted = Vec::new();
        for key in ["caller-zero", "caller-one", "caller-two", "caller-three"] {
            admitted.push(may_ask(key).await);
        }
        admitted
    };
    assert_eq!(admitted().await, [true, true, true, false]);

    replace(&file, "caller-two\ncaller-three\n");
    log.line("--keys-file has changed: 3 keys").await;
    assert_eq!(admitted().await, [true, false, true, true]);

    // A file that lost all its keys by mistake locks no caller out.
    replace(&file, "# none\n");
    relay.signal("HUP");
    let line = log.line("ERROR").await;
    assert!(line.contains("--keys-file") && line.contains("at least one key"), "{line}");
    assert_eq!(admitted().await, [true, false, true, true]);
}

#[actix_rt::test]
async fn sighup_ends_no_relay_that_has_no_file_to_read_again() {
    let (mut relay, stderr) = Relay::stuck(&[], &[]).await;
    let mut log = Log::of(stderr);
    for _ in 0..3 {
        relay.signal("HUP");
        log.line("SIGHUP: there is no key file").await;
    }
    assert_eq!(relay.get("/healthz").await.0, StatusCode::OK);
    relay.signal("TERM");
    assert_eq!(relay.ended().await.code, Some(0));
}

//! Dialing in virtual time, with a scripted resolver and a scripted network.

use std::{collections::HashMap, time::Duration};

use actix_rt::time::timeout;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    runtime::Builder,
};

use super::*;
use crate::model::error::ConnectFault;

/// The behavior of a server at an address.
#[derive(Clone, Copy, PartialEq)]
enum Behavior {
    /// No packet comes back.
    Silent,
    Refuse,
    /// Accepts, and sends this text.
    Peer(&'static str),
}

/// Scripted names and addresses, and the requests to them.
#[derive(Default)]
struct Script {
    names: RefCell<HashMap<String, Vec<SocketAddr>>>,
    addresses: RefCell<HashMap<SocketAddr, Behavior>>,
    resolved: RefCell<Vec<String>>,
    connected: RefCell<Vec<SocketAddr>>,
    /// The other ends of the connections.
    peers: RefCell<Vec<DuplexStream>>,
}

impl Network for Rc<Script> {
    type Stream = DuplexStream;

    async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, Arc<io::Error>> {
        self.resolved.borrow_mut().push(format!("{host}:{port}"));
        let addresses = self.names.borrow().get(host).cloned();
        addresses.ok_or_else(|| Arc::new(io::Error::other("no such name")))
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<DuplexStream> {
        self.connected.borrow_mut().push(address);
        let there = self.addresses.borrow().get(&address).copied();
        match there.unwrap_or(Behavior::Silent) {
            Behavior::Silent => std::future::pending().await,
            Behavior::Refuse => Err(io::ErrorKind::ConnectionRefused.into()),
            Behavior::Peer(says) => {
                let (ours, mut theirs) = duplex(64 * 1024);
                theirs.write_all(says.as_bytes()).await?;
                self.peers.borrow_mut().push(theirs);
                Ok(ours)
            }
        }
    }
}

impl Script {
    fn new(names: &[(&str, &[SocketAddr])], addresses: &[(SocketAddr, Behavior)]) -> Rc<Self> {
        let script = Self::default();
        for (name, addresses) in names {
            script.point(name, addresses);
        }
        script.addresses.borrow_mut().extend(addresses.iter().copied());
        Rc::new(script)
    }

    fn point(&self, name: &str, addresses: &[SocketAddr]) {
        self.names.borrow_mut().insert(name.to_owned(), addresses.to_vec());
    }

    fn dialer(self: &Rc<Self>, base_url: &str, proxy: &str) -> Dialer<Rc<Self>> {
        let config = Config::builder("secret-key").base_url(base_url).allow_plain_http(true);
        Dialer::over(&config.proxy(proxy).build().unwrap(), Rc::clone(self))
    }

    /// Returns the addresses tried since the last call.
    fn tried(&self) -> Vec<SocketAddr> {
        self.connected.take()
    }
}

fn at(last: u8, port: u16) -> SocketAddr {
    ([10, 0, 0, last], port).into()
}

fn virtual_time<F: Future>(test: F) -> F::Output {
    Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(test)
}

/// Dials within a second, and marks the address as working.
async fn dial(dialer: &Dialer<Rc<Script>>) -> Option<Result<Dialed<DuplexStream>, DialError>> {
    let dialed = timeout(Duration::from_secs(1), dialer.dial()).await.ok()?;
    Some(dialed.map(|mut dialed| {
        dialed.address_guard.mark_working();
        dialed
    }))
}

async fn error(dialer: &Dialer<Rc<Script>>) -> (ConnectFault, String) {
    let error = dial(dialer).await.expect("in time").expect_err("an error");
    (error.fault(), error.to_string())
}

const HERE: Behavior = Behavior::Peer("");
const OPEN: Behavior = Behavior::Peer("HTTP/1.1 200 OK\r\n\r\n");

#[test]
fn dead_first_address_is_passed_over_and_then_tried_last() {
    virtual_time(async {
        let addresses = [at(1, 443), at(2, 443)];
        let script = Script::new(&[("statsig.test", &addresses)], &[(at(2, 443), HERE)]);
        let dialer = script.dialer("https://statsig.test", "none");

        assert!(dial(&dialer).await.unwrap().is_ok());
        assert_eq!(script.tried(), [at(1, 443), at(2, 443)]);
        assert!(dial(&dialer).await.unwrap().is_ok());
        assert_eq!(script.tried(), [at(2, 443)]);
    });
}

#[test]
fn changed_dns_answer_is_followed_by_the_next_connection() {
    virtual_time(async {
        let all = [(at(1, 443), HERE), (at(2, 443), HERE), (at(3, 443), HERE)];
        let script = Script::new(&[("statsig.test", &[at(1, 443), at(2, 443)])], &all);
        let dialer = script.dialer("https://statsig.test", "none");
        assert!(dial(&dialer).await.unwrap().is_ok());
        assert_eq!(script.tried(), [at(1, 443)]);

        script.point("statsig.test", &[at(3, 443)]);
        assert!(dial(&dialer).await.unwrap().is_ok());
        assert_eq!(script.tried(), [at(3, 443)]);

        // The old address has lost its preference when the name points there again.
        script.point("statsig.test", &[at(2, 443), at(1, 443)]);
        assert!(dial(&dialer).await.unwrap().is_ok());
        assert_eq!(script.tried(), [at(2, 443)]);
        assert_eq!(*script.resolved.borrow(), ["statsig.test:443"; 3]);
    });
}

#[test]
fn address_that_accepts_but_does_not_serve_is_tried_last() {
    virtual_time(async {
        let addresses = [at(1, 443), at(2, 443)];
        let all = [(at(1, 443), HERE), (at(2, 443), HERE)];
        let script = Script::new(&[("statsig.test", &addresses)], &all);
        let dialer = script.dialer("https://statsig.test", "none");

        // The drop simulates a failed TLS handshake, or a timeout.
        drop(dialer.dial().await.unwrap());
        assert_eq!(script.tried(), [at(1, 443)]);
        assert!(dial(&dialer).await.unwrap().is_ok());
        assert_eq!(script.tried(), [at(2, 443)]);
    });
}

#[test]
fn address_in_place_of_a_name_is_not_resolved() {
    virtual_time(async {
        let v6: SocketAddr = "[fd00::1]:8443".parse().unwrap();
        let script = Script::new(&[], &[(at(1, 443), HERE), (v6, HERE)]);
        assert!(dial(&script.dialer("https://10.0.0.1", "none")).await.unwrap().is_ok());
        assert!(dial(&script.dialer("https://[fd00::1]:8443", "none")).await.unwrap().is_ok());
        assert_eq!((script.tried(), script.resolved.borrow().len()), (vec![at(1, 443), v6], 0));
    });
}

#[test]
fn error_says_what_each_address_did() {
    virtual_time(async {
        let addresses = [at(1, 443), at(2, 443)];
        let refusing = [(at(1, 443), Behavior::Refuse), (at(2, 443), Behavior::Refuse)];
        let script = Script::new(&[("statsig.test", &addresses), ("empty.test", &[])], &refusing);
        for (url, fault, message) in [
            (
                "https://statsig.test",
                ConnectFault::Refused,
                "could not connect to statsig.test:443: 10.0.0.1:443: connection \
                 refused; 10.0.0.2:443: connection refused",
            ),
            (
                "https://unknown.test",
                ConnectFault::Resolve,
                "could not resolve unknown.test: no such name",
            ),
            ("https://empty.test", ConnectFault::Resolve, "empty.test resolves to no address"),
        ] {
            let found = error(&script.dialer(url, "none")).await;
            assert_eq!(found, (fault, message.to_owned()));
        }
    });
}

#[test]
fn proxy_alone_is_resolved_and_gets_the_targets_name() {
    virtual_time(async {
        let script = Script::new(&[("proxy.test", &[at(9, 3128)])], &[(at(9, 3128), OPEN)]);
        let dialer = script.dialer("https://statsig.test", "http://proxy.test:3128");

        let dialed = dial(&dialer).await.unwrap().unwrap();

        assert_eq!(*script.resolved.borrow(), ["proxy.test:3128"]);
        assert_eq!(dialed.absolute_form, None);
        drop(dialed);
        let mut received = String::new();
        script.peers.take()[0].read_to_string(&mut received).await.unwrap();
        assert!(received.starts_with("CONNECT statsig.test:443 HTTP/1.1\r\n"), "{received}");
    });
}

#[test]
fn plain_http_by_proxy_has_absolute_form_and_no_tunnel() {
    virtual_time(async {
        let script = Script::new(&[("proxy.test", &[at(9, 80)])], &[(at(9, 80), HERE)]);
        for (base_url, form) in [
            ("http://statsig.test", "http://statsig.test"),
            ("http://statsig.test:80/edge", "http://statsig.test"),
            ("http://statsig.test:8080", "http://statsig.test:8080"),
            ("http://[fd00::1]:8080", "http://[fd00::1]:8080"),
        ] {
            let dialed = dial(&script.dialer(base_url, "proxy.test")).await.unwrap().unwrap();
            assert_eq!(dialed.absolute_form.as_deref(), Some(form));
            drop(dialed);
            let mut received = Vec::new();
            script.peers.take()[0].read_to_end(&mut received).await.unwrap();
            assert_eq!(received, b"");
        }
    });
}

#[test]
fn proxy_that_fails_is_named_as_the_proxy() {
    virtual_time(async {
        let script = Script::new(
            &[("proxy.test", &[at(9, 3128)]), ("gone.test", &[at(8, 3128)])],
            &[
                (at(9, 3128), Behavior::Peer("HTTP/1.1 403 Forbidden\r\n\r\n")),
                (at(8, 3128), Behavior::Refuse),
            ],
        );
        for (proxy, message) in [
            (
                "http://me:hunter2@proxy.test:3128",
                "the proxy proxy.test:3128 answered 403 Forbidden to CONNECT statsig.test:443",
            ),
            (
                "http://me:hunter2@gone.test:3128",
                "could not reach the proxy gone.test:3128: could not connect to gone.test:3128: \
                 10.0.0.8:3128: connection refused",
            ),
            (
                "http://me:hunter2@unknown.test:3128",
                "could not reach the proxy unknown.test:3128: could not resolve unknown.test: no such \
                 name",
            ),
        ] {
            let found = error(&script.dialer("https://statsig.test", proxy)).await;
            assert_eq!(found, (ConnectFault::Proxy, message.to_owned()));
        }
    });
}

#[test]
fn hanging_proxy_address_leaves_the_next_attempt_another() {
    virtual_time(async {
        let addresses = [at(8, 3128), at(9, 3128)];
        let all = [(at(8, 3128), HERE), (at(9, 3128), OPEN)];
        let script = Script::new(&[("proxy.test", &addresses)], &all);
        let dialer = script.dialer("https://statsig.test", "http://proxy.test:3128");
        assert!(dial(&dialer).await.is_none());
        assert!(dial(&dialer).await.unwrap().is_ok());
        assert_eq!(script.tried(), addresses);
    });
}

//! An HTTP proxy that behaves as the test says, and a server that answers any path.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy, copy_bidirectional, sink},
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
};

/// How a proxy behaves.
#[derive(Clone, Copy, Debug)]
pub enum Conduct {
    /// Forwards to this address whatever name is requested, so the name need not resolve.
    LeadsTo(SocketAddr),
    /// Forwards likewise, but only requests with this `Proxy-Authorization` value.
    LeadsFriendsTo(SocketAddr, &'static str),
    /// Answers the first request with this text, then sends nothing more but stays open.
    Says(&'static str),
    /// Answers the first request with this text, and closes.
    Closes(&'static str),
    Hangs,
}

/// Listens on a thread of its own until it is dropped, and records the heads of its requests.
pub struct Listening {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    runtime: Option<Runtime>,
}

type Heads = Arc<Mutex<Vec<String>>>;

impl Listening {
    pub fn proxy(conduct: Conduct) -> Self {
        Self::start("127.0.0.1:0", move |client, heads| proxy(client, heads, conduct))
    }

    /// Answers that any gate is open, whatever the path.
    pub fn server() -> Self {
        Self::start("127.0.0.1:0", serve)
    }

    /// Forwards connections from this address to another.
    pub fn forwarder(at: &str, to: SocketAddr) -> Self {
        Self::start(at, move |mut client, _| async move {
            copy_bidirectional(&mut client, &mut TcpStream::connect(to).await?).await.map(drop)
        })
    }

    fn start<F>(at: &str, serve: impl Fn(TcpStream, Heads) -> F + Send + 'static) -> Self
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let listener = std::net::TcpListener::bind(at).expect("a port");
        listener.set_nonblocking(true).expect("a socket that does not block");
        let address = listener.local_addr().expect("an address");
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let heads = Heads::default();
        let its_heads = Arc::clone(&heads);
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).expect("a listener");
            while let Ok((stream, _)) = listener.accept().await {
                // Ignored: tests check how the client reports the end of a connection.
                tokio::spawn(serve(stream, Arc::clone(&its_heads)));
            }
        });
        Self { address, heads, runtime: Some(runtime) }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The heads of the requests so far, in order of arrival.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("no panic").clone()
    }

    /// The first lines of the requests so far.
    pub fn lines(&self) -> Vec<String> {
        let first = |head: String| head.lines().next().unwrap_or_default().to_owned();
        self.heads().into_iter().map(first).collect()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn proxy(client: TcpStream, heads: Heads, conduct: Conduct) -> io::Result<()> {
    let mut client = BufReader::new(client);
    let (upstream, friends) = match conduct {
        Conduct::LeadsTo(upstream) => (upstream, None),
        Conduct::LeadsFriendsTo(upstream, friends) => (upstream, Some(friends)),
        Conduct::Says(answer) | Conduct::Closes(answer) => {
            note(&heads, &read_head(&mut client).await?);
            client.write_all(answer.as_bytes()).await?;
            return match conduct {
                Conduct::Closes(_) => Ok(()),
                _ => copy(&mut client, &mut sink()).await.map(drop),
            };
        }
        Conduct::Hangs => {
            note(&heads, &read_head(&mut client).await?);
            return copy(&mut client, &mut sink()).await.map(drop);
        }
    };
    let mut server = None;
    loop {
        let head = read_head(&mut client).await?;
        if head.is_empty() {
            return Ok(());
        }
        note(&heads, &head);
        if friends.is_some_and(|friends| header(&head, "proxy-authorization") != Some(friends)) {
            client.write_all(WHO_ARE_YOU).await?;
            return copy(&mut client, &mut sink()).await.map(drop);
        }
        if head.starts_with("CONNECT ") {
            let mut server = TcpStream::connect(upstream).await?;
            client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
            return copy_bidirectional(&mut client, &mut server).await.map(drop);
        }
        let server = match &mut server {
            Some(server) => server,
            none => none.insert(BufReader::new(TcpStream::connect(upstream).await?)),
        };
        hand_on(&origin_form(&head), &mut client, server).await?;
        let answer = read_head(server).await?;
        hand_on(&answer, server, &mut client).await?;
    }
}

const WHO_ARE_YOU: &[u8] = b"HTTP/1.1 407 Proxy Authentication Required\r\n\
    proxy-authenticate: Basic realm=\"proxy\"\r\ncontent-length: 0\r\n\r\n";

/// Forwards a head and its body.
async fn hand_on(
    head: &str,
    from: &mut BufReader<TcpStream>,
    to: &mut BufReader<TcpStream>,
) -> io::Result<()> {
    let body = read_body(head, from).await?;
    to.write_all(&[head.as_bytes(), &body].concat()).await
}

/// `POST http://host/path` in the form for the origin server, without the proxy's headers.
fn origin_form(head: &str) -> String {
    let (line, rest) = head.split_once("\r\n").expect("a request line");
    let [method, target, version] = line.split(' ').collect::<Vec<_>>()[..] else {
        panic!("no request line: {line}");
    };
    let path =
        target.strip_prefix("http://").and_then(|target| target.find('/').map(|at| &target[at..]));
    let path = path.unwrap_or_else(|| panic!("not in absolute form: {line}"));
    let own = |header: &&str| !header.to_ascii_lowercase().starts_with("proxy-authorization:");
    let rest: Vec<_> = rest.split("\r\n").filter(own).collect();
    format!("{method} {path} {version}\r\n{}", rest.join("\r\n"))
}

/// As much of HTTP/1.1 as our client needs.
async fn serve(client: TcpStream, heads: Heads) -> io::Result<()> {
    let mut client = BufReader::new(client);
    loop {
        let head = read_head(&mut client).await?;
        if head.is_empty() {
            return Ok(());
        }
        note(&heads, &head);
        read_body(&head, &mut client).await?;
        let json = r#"{"name":null,"value":true,"rule_id":null,"group_name":null}"#;
        let length = json.len();
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{json}"
        );
        client.write_all(answer.as_bytes()).await?;
    }
}

async fn read_head(stream: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await? == 0 {
            return Ok(String::new());
        }
    }
    Ok(head)
}

async fn read_body(head: &str, stream: &mut BufReader<TcpStream>) -> io::Result<Vec<u8>> {
    let length = header(head, "content-length").and_then(|length| length.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await?;
    Ok(body)
}

/// A header's value.
pub fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (its_name, value) = line.split_once(':')?;
        its_name.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

fn note(heads: &Heads, head: &str) {
    heads.lock().expect("no panic").push(head.to_owned());
}

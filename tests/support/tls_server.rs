//! Certificates made on the spot, and a TLS server with one open gate.
//!
//! `tests/two-providers` also uses this module, with another set of dependencies.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WantsServerCert,
    version::{TLS12, TLS13},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy, sink},
    net::{TcpListener, TcpStream},
    runtime::{self, Runtime},
};
use tokio_rustls::TlsAcceptor;

/// The server's one gate, which is open.
pub(crate) const GATE: &str = "new_checkout";

/// A certificate authority that is trusted only if the settings name it.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("an authority"))
    }

    /// The certificate as `extra_root_certificates` takes it.
    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn certificate(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    /// A certificate for this host that is valid now.
    pub(crate) fn issue(&self, host: &str) -> Identity {
        self.issue_with(host, |_| ())
    }

    pub(crate) fn issue_with(
        &self,
        host: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Identity {
        let mut params = CertificateParams::new([host.to_owned()]).expect("a host");
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        Identity::new(certificate.der().clone(), &key)
    }
}

/// A certificate and its key.
pub(crate) struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    pub(crate) fn new(certificate: CertificateDer<'static>, key: &KeyPair) -> Self {
        Self { certificate, key: PrivatePkcs8KeyDer::from(key.serialize_der()).into() }
    }

    /// Supports TLS 1.2 and 1.3, and prefers HTTP/2 to HTTP/1.1, as most servers do.
    pub(crate) fn config(self) -> ServerConfig {
        let provider = Arc::new(ring::default_provider());
        let versions = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13, &TLS12])
            .expect("TLS 1.2 and 1.3");
        self.with(versions.with_no_client_auth())
    }

    pub(crate) fn with(
        self,
        builder: rustls::ConfigBuilder<ServerConfig, WantsServerCert>,
    ) -> ServerConfig {
        let single = builder.with_single_cert(vec![self.certificate], self.key);
        let mut config = single.expect("a certificate with its key");
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config
    }
}

/// Listens on loopback until it is dropped, on threads of its own.
pub(crate) struct Server {
    address: SocketAddr,
    seen: Arc<Seen>,
    runtime: Option<Runtime>,
}

/// What the server has recorded about its clients.
#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    /// The protocol that each completed handshake agreed on.
    protocols: Mutex<Vec<Option<String>>>,
}

impl Server {
    /// Speaks TLS and answers checks of the gate.
    pub(crate) fn tls(config: ServerConfig) -> Self {
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Self::start(move |stream, seen| {
            let acceptor = acceptor.clone();
            async move {
                let stream = match acceptor.accept(stream).into_fallible().await {
                    Ok(stream) => stream,
                    // Waits for the client to leave: closing now might reset the connection, and
                    // the client would not learn why the handshake failed.
                    Err((error, mut stream)) => {
                        copy(&mut stream, &mut sink()).await?;
                        return Err(error);
                    }
                };
                let protocol = stream.get_ref().1.alpn_protocol();
                let protocol = protocol.map(|name| String::from_utf8_lossy(name).into_owned());
                seen.protocols.lock().expect("no panic").push(protocol);
                open_the_gate(stream).await
            }
        })
    }

    /// Speaks HTTP without TLS, and so answers a TLS handshake with a `400`.
    pub(crate) fn plain() -> Self {
        Self::start(|mut stream, _| async move {
            if stream.read(&mut [0; 1024]).await? == 0 {
                return Ok(());
            }
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await?;
            stream.read_to_end(&mut Vec::new()).await.map(drop)
        })
    }

    /// Accepts connections and sends nothing.
    pub(crate) fn mute() -> Self {
        Self::start(|mut stream, _| async move { copy(&mut stream, &mut sink()).await.map(drop) })
    }

    /// Accepts a connection, reads once and closes it.
    pub(crate) fn hanging_up() -> Self {
        Self::start(|mut stream, _| async move { stream.read(&mut [0; 1024]).await.map(drop) })
    }

    fn start<F>(serve: impl Fn(TcpStream, Arc<Seen>) -> F + Send + 'static) -> Self
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        listener.set_nonblocking(true).expect("a socket that does not block");
        let address = listener.local_addr().expect("an address");
        let runtime = runtime::Builder::new_multi_thread().worker_threads(1).enable_io().build();
        let runtime = runtime.expect("a runtime");
        let seen = Arc::new(Seen::default());
        let its_seen = Arc::clone(&seen);
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).expect("a listener");
            while let Ok((stream, _)) = listener.accept().await {
                its_seen.connections.fetch_add(1, SeqCst);
                // Ignored: tests check how the client reports the end of a connection.
                tokio::spawn(serve(stream, Arc::clone(&its_seen)));
            }
        });
        Self { address, seen, runtime: Some(runtime) }
    }

    /// The base URL with this host name or address.
    pub(crate) fn url(&self, host: &str) -> String {
        format!("https://{host}:{}", self.address.port())
    }

    /// The number of accepted connections.
    pub(crate) fn connections(&self) -> usize {
        self.seen.connections.load(SeqCst)
    }

    /// The protocols agreed on so far, one for each completed handshake.
    pub(crate) fn protocols(&self) -> Vec<Option<String>> {
        self.seen.protocols.lock().expect("no panic").clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// As much of HTTP/1.1 as a client needs that checks one gate at a time.
async fn open_the_gate(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        let (head, body) = loop {
            if let Some(request) = split_request(&buffer) {
                break request;
            }
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        };
        let asked = head.starts_with("POST /v1/check_gate HTTP/1.1\r\n")
            && body.contains(&format!(r#""gateName":"{GATE}""#));
        let status = if asked { "200 OK" } else { "400 Bad Request" };
        let json = format!(r#"{{"name":"{GATE}","value":true,"rule_id":null,"group_name":null}}"#);
        let length = json.len();
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{json}"
        );
        stream.write_all(answer.as_bytes()).await?;
        stream.flush().await?;
        buffer.clear();
    }
}

/// The head and the body, if both are complete.
fn split_request(buffer: &[u8]) -> Option<(String, String)> {
    let text = String::from_utf8_lossy(buffer);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length").then(|| value.parse().ok())?
    });
    (body.len() >= length.unwrap_or(0)).then(|| (head.to_owned() + "\r\n", body.to_owned()))
}

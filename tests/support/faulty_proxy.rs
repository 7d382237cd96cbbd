//! A TCP proxy that injects faults drawn from a seed.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use fastrand::Rng;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    runtime::Builder,
    sync::oneshot,
    time::sleep,
};

/// What the proxy does to a connection, or to an answer on its way to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Delays the answer by some milliseconds.
    Delay,
    /// Passes the answer on a few bytes at a time.
    Bandwidth,
    /// Closes the connection after an answer, when the client may be about to reuse it.
    CloseIdle,
    /// Accepts the connection and then hangs.
    StallOnAccept,
    StallInHead,
    StallInBody,
    /// Resets the connection in the middle of an answer.
    Reset,
    /// Closes the connection in the middle of an answer.
    Truncate,
    /// Shuts down the write side in the middle of an answer, but goes on reading.
    HalfClose,
    /// Stops listening for a while.
    Refuse,
}

pub const TROUBLES: [Trouble; 10] = [
    Trouble::Delay,
    Trouble::Bandwidth,
    Trouble::CloseIdle,
    Trouble::StallOnAccept,
    Trouble::StallInHead,
    Trouble::StallInBody,
    Trouble::Reset,
    Trouble::Truncate,
    Trouble::HalfClose,
    Trouble::Refuse,
];

/// The faults that affect an answer.
const TO_ANSWERS: [Trouble; 8] = [
    Trouble::Delay,
    Trouble::Bandwidth,
    Trouble::CloseIdle,
    Trouble::StallInHead,
    Trouble::StallInBody,
    Trouble::Reset,
    Trouble::Truncate,
    Trouble::HalfClose,
];

/// Runs on a thread of its own until it is dropped.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    upstream: SocketAddr,
    troubles: Vec<Trouble>,
    percent: u32,
    calm: AtomicBool,
    rng: Mutex<Rng>,
    struck: AtomicUsize,
}

impl Proxy {
    /// Starts a proxy that injects one of these faults in this percentage of cases.
    pub fn start(upstream: SocketAddr, troubles: &[Trouble], percent: u32, seed: u64) -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("its address");
        let shared = Arc::new(Shared {
            upstream,
            troubles: troubles.to_vec(),
            percent,
            calm: AtomicBool::new(false),
            rng: Mutex::new(Rng::with_seed(seed)),
            struck: AtomicUsize::new(0),
        });
        let (stop, stopped) = oneshot::channel::<()>();
        let served = Arc::clone(&shared);
        let run = move || {
            let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).expect("a socket");
                tokio::select! {
                    never = serve(listener, address, served) => match never {},
                    _ = stopped => {}
                }
            });
        };
        let thread = Some(thread::spawn(run));
        Self { address, shared, stop: Some(stop), thread }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Injects no more faults from now on.
    pub fn calm_down(&self) {
        self.shared.calm.store(true, Relaxed);
    }

    /// How many faults were injected.
    pub fn struck(&self) -> usize {
        self.shared.struck.load(Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(JoinHandle::join);
        if !thread::panicking() {
            assert!(ended.is_some_and(|ended| ended.is_ok()), "the proxy panicked");
        }
    }
}

impl Shared {
    /// Draws a fault, if one is due and the proxy may inject one of these.
    fn draw(&self, among: &[Trouble]) -> Option<(Trouble, Rng)> {
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        if self.calm.load(Relaxed) || rng.u32(0..100) >= self.percent {
            return None;
        }
        let trouble = rng.choice(self.troubles.iter().copied())?;
        among.contains(&trouble).then(|| {
            self.struck.fetch_add(1, Relaxed);
            (trouble, rng.fork())
        })
    }
}

enum Never {}

async fn serve(mut listener: TcpListener, address: SocketAddr, shared: Arc<Shared>) -> Never {
    loop {
        if let Some((_, mut rng)) = shared.draw(&[Trouble::Refuse]) {
            drop(listener);
            sleep(Duration::from_millis(rng.u64(1..30))).await;
            listener = listen_again(address).await;
        }
        // A connection may end before it is accepted; go on listening.
        let Ok((client, _)) = listener.accept().await else { continue };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            // An error means that one side closed the connection, or that a fault did.
            let _ = connection(client, &shared).await;
        });
    }
}

/// Something else may hold the port for a moment, such as a client's connection to itself.
async fn listen_again(address: SocketAddr) -> TcpListener {
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(_) => sleep(Duration::from_millis(5)).await,
        }
    }
}

/// How a connection ends.
enum Ending {
    Close,
    Reset,
}

async fn connection(mut client: TcpStream, shared: &Shared) -> io::Result<()> {
    client.set_nodelay(true)?;
    if shared.draw(&[Trouble::StallOnAccept]).is_some() {
        return drain(&mut client.split().0).await;
    }
    let mut server = TcpStream::connect(shared.upstream).await?;
    server.set_nodelay(true)?;
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let ending = tokio::select! {
        // The client has closed the connection.
        _ = tokio::io::copy(&mut from_client, &mut to_server) => Ending::Close,
        ending = answers(&mut from_server, &mut to_client, shared) => ending?,
    };
    if matches!(ending, Ending::Reset) {
        client.set_zero_linger()?;
    }
    Ok(())
}

/// Passes answers on, with the faults that are due.
async fn answers(
    from: &mut ReadHalf<'_>,
    to: &mut WriteHalf<'_>,
    shared: &Shared,
) -> io::Result<Ending> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return Ok(Ending::Close);
        }
        let answer = &buffer[..length];
        let head = answer.windows(4).position(|end| end == b"\r\n\r\n").map_or(length, |at| at + 4);
        let Some((trouble, mut rng)) = shared.draw(&TO_ANSWERS) else {
            to.write_all(answer).await?;
            continue;
        };
        match trouble {
            Trouble::Delay => {
                sleep(Duration::from_millis(rng.u64(1..20))).await;
                to.write_all(answer).await?;
            }
            Trouble::Bandwidth => {
                for few in answer.chunks(rng.usize(16..128)) {
                    to.write_all(few).await?;
                    sleep(Duration::from_millis(1)).await;
                }
            }
            Trouble::CloseIdle => {
                to.write_all(answer).await?;
                // Long enough for the next request to be on its way.
                sleep(Duration::from_micros(rng.u64(0..3_000))).await;
                return Ok(Ending::Close);
            }
            Trouble::StallInHead => {
                to.write_all(&answer[..rng.usize(0..head)]).await?;
                return std::future::pending().await;
            }
            Trouble::StallInBody => {
                to.write_all(&answer[..rng.usize(head.min(length - 1)..length)]).await?;
                return std::future::pending().await;
            }
            Trouble::Reset => {
                to.write_all(&answer[..rng.usize(0..length)]).await?;
                return Ok(Ending::Reset);
            }
            Trouble::Truncate => {
                to.write_all(&answer[..rng.usize(0..length)]).await?;
                return Ok(Ending::Close);
            }
            Trouble::HalfClose => {
                to.write_all(&answer[..rng.usize(0..length)]).await?;
                to.shutdown().await?;
                return std::future::pending().await;
            }
            Trouble::StallOnAccept | Trouble::Refuse => unreachable!("not drawn"),
        }
    }
}

/// Reads until the other side closes the connection.
async fn drain(from: &mut ReadHalf<'_>) -> io::Result<()> {
    tokio::io::copy(from, &mut tokio::io::sink()).await.map(drop)
}

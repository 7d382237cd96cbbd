//! A server that leaves well when it is told to.

use std::{convert::Infallible, fmt, future::pending, io, pin::pin, time::Duration};

use actix_http::Request;
use actix_rt::time::{sleep, timeout};
use actix_server::{Server, ServerBuilder};
use actix_service::{IntoServiceFactory, Service, ServiceFactory};
use actix_web::{
    HttpServer,
    body::MessageBody,
    dev::{AppConfig, Response},
};

use super::signals::Signals;
use crate::{
    handle::Statsig,
    message::{Flush, ShutdownReport},
};

/// Runs the server until SIGTERM or ctrl-c, lets it leave, and shuts the component down.
///
/// Told to leave, the server reads what has arrived: until the component has been asked nothing new
/// for a fifth of a second, at most for a second or a quarter of `limit`. Then it takes no more
/// connections, and answers the requests it has. What these ask does not wait for the flush interval.
/// The component ends last; what others than the server have asked it by then is answered too.
///
/// With a [`delay`](Drain::after), the component reports that it is not ready as soon as the signal
/// comes, and the server keeps serving until the delay is over: load balancers take a while to notice.
/// Another signal ends the delay.
///
/// The rest takes `limit` at most, counted from the signal or the end of the delay. At the limit, or at
/// a second signal, what is not answered is cut off, and what is left open is closed: connections over
/// HTTP/2, WebSockets and streams do not end by themselves. Signals less than a tenth of a second apart
/// are one, for some programs send it twice.
///
/// Signals are caught as soon as this is called, and from then on: to the process they do nothing
/// else any more, also when this is over. The server runs while the future is awaited, and stops when
/// that is dropped. Its own handling of signals is switched off: it would stop the `System`, and with
/// it a component that was [started here](Statsig::start_in_current_arbiter), before anything could be drained. Its
/// `shutdown_timeout` gives way to `limit`, and `system_exit` has no effect. A `shutdown_signal` of
/// its own it must not have, which would stop it without a word to the component:
/// [`serve_until`] is for that.
///
/// A visitor who closes the connection normally (FIN) looks to the server like a client that has only
/// said all it had to say. By default `HttpServer` answers such a half-closed connection, so what the
/// visitor asked is still asked of Statsig, for nobody. Set
/// [`h1_allow_half_closed(false)`](HttpServer::h1_allow_half_closed) to drop the request instead: a
/// flag that is still buffered then costs no call. Few clients half-close and wait for an answer.
///
/// ```no_run
/// # use actix_statsig::{Statsig, web};
/// # use actix_web::{App, HttpServer};
/// # use std::time::Duration;
/// # async fn run(statsig: Statsig) -> std::io::Result<()> {
/// let server = HttpServer::new(|| App::new())
///     .h1_allow_half_closed(false)
///     .bind(("127.0.0.1", 8080))?;
/// let report = web::serve(server, &statsig, Duration::from_secs(30)).await?;
/// assert_eq!(report.cut_off, 0);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If signals cannot be caught, or the server fails; in the latter case the component has been shut
/// down as well.
///
/// # Panics
/// Outside of a runtime, and as [`HttpServer::run`] does where nothing is bound.
pub fn serve<F, I, S, B, D>(
    server: HttpServer<F, I, S, B>,
    statsig: &Statsig,
    limit: D,
) -> impl Future<Output = io::Result<ShutdownReport>> + use<F, I, S, B, D>
where
    D: Into<Drain>,
    F: Fn() -> I + Send + Clone + 'static,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::Error: Into<actix_web::Error>,
    S::InitError: fmt::Debug,
    S::Response: Into<Response<B>>,
    <S::Service as Service<Request>>::Future: 'static,
    S::Service: 'static,
    B: MessageBody + 'static,
{
    serve_until(server, statsig, limit, pending())
}

/// The same as [`serve`], and leaves as well when `told` is done: for an app that decides by itself
/// when to end, and for tests. Two signals after that cut off what is left.
///
/// ```no_run
/// # use actix_statsig::{Statsig, web};
/// # use actix_web::{App, HttpServer};
/// # use std::time::Duration;
/// # async fn run(statsig: Statsig) -> std::io::Result<()> {
/// let (leave, told) = tokio::sync::oneshot::channel::<()>();
/// let told = async { drop(told.await) };
/// let server = HttpServer::new(|| App::new()).bind(("127.0.0.1", 8080))?;
/// let serving = web::serve_until(server, &statsig, Duration::from_secs(30), told);
/// # let _ = leave.send(());
/// serving.await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// As [`serve`].
///
/// # Panics
/// As [`serve`].
pub fn serve_until<F, I, S, B, D, T>(
    server: HttpServer<F, I, S, B>,
    statsig: &Statsig,
    limit: D,
    told: T,
) -> impl Future<Output = io::Result<ShutdownReport>> + use<F, I, S, B, D, T>
where
    D: Into<Drain>,
    F: Fn() -> I + Send + Clone + 'static,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::Error: Into<actix_web::Error>,
    S::InitError: fmt::Debug,
    S::Response: Into<Response<B>>,
    <S::Service as Service<Request>>::Future: 'static,
    S::Service: 'static,
    B: MessageBody + 'static,
    T: Future<Output = ()>,
{
    let start = |patience| server.disable_signals().shutdown_timeout(patience).run();
    run(start, statsig.clone(), limit.into(), told)
}

/// The same as [`serve`], for a server that was built without [`HttpServer`]: one that wraps its
/// connections, or that speaks something else than HTTP beside it. The builder's own handling of
/// signals and its `shutdown_timeout` are replaced, as [`serve`] replaces those of an `HttpServer`.
///
/// A service learns from the builder's `graceful_shutdown_signal` when to close its idle
/// connections: the server waits for them until `limit`.
///
/// ```no_run
/// # use actix_http::{HttpService, Response, error::Error};
/// # use actix_server::Server;
/// # use actix_statsig::{Statsig, web};
/// # use std::{net::TcpListener, time::Duration};
/// # async fn run(statsig: Statsig) -> std::io::Result<()> {
/// let builder = Server::build().listen("pages", TcpListener::bind("127.0.0.1:8080")?, || {
///     HttpService::build().finish(|_| async { Ok::<_, Error>(Response::ok()) }).tcp()
/// })?;
/// let report = web::serve_builder(builder, &statsig, Duration::from_secs(30)).await?;
/// # assert_eq!(report.cut_off, 0);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// As [`serve`].
///
/// # Panics
/// As [`serve`].
pub fn serve_builder<D: Into<Drain>>(
    builder: ServerBuilder,
    statsig: &Statsig,
    limit: D,
) -> impl Future<Output = io::Result<ShutdownReport>> + use<D> {
    let start = |patience| builder.disable_signals().shutdown_timeout(patience).run();
    run(start, statsig.clone(), limit.into(), pending())
}

/// How a server shuts down. A `Duration` is a limit without a delay.
///
/// ```
/// # use actix_statsig::web::Drain;
/// # use std::time::Duration;
/// let drain = Drain::within(Duration::from_secs(30)).after(Duration::from_secs(10));
/// assert_eq!(Drain::from(Duration::from_secs(30)), Drain::within(Duration::from_secs(30)));
/// # assert_ne!(drain, Drain::within(Duration::from_secs(30)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    limit: Duration,
    delay: Duration,
}

impl Drain {
    /// Drains at once, and takes `limit` at most.
    pub const fn within(limit: Duration) -> Self {
        Self { limit, delay: Duration::ZERO }
    }

    /// Keeps serving for this long before it drains. [`Stats::is_ready`] is false meanwhile. Set it to
    /// the time your load balancer takes to notice.
    ///
    /// [`Stats::is_ready`]: crate::Stats::is_ready
    #[must_use]
    pub const fn after(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }
}

impl From<Duration> for Drain {
    fn from(limit: Duration) -> Self {
        Self::within(limit)
    }
}

/// Runs the server that `start` makes, given the seconds to wait for its connections.
fn run<T: Future<Output = ()>>(
    start: impl FnOnce(u64) -> Server,
    statsig: Statsig,
    Drain { limit, delay }: Drain,
    told: T,
) -> impl Future<Output = io::Result<ShutdownReport>> {
    let signals = Signals::listen();
    // Not before `limit`, so that nothing but that cuts anything off.
    let patience = limit.as_secs().saturating_add(1);
    async move {
        let mut signals = signals?;
        let mut server = start(patience);
        let statsig = &statsig;
        let serving = async {
            let mut by = tokio::select! {
                () = signals.received() => By::Signal,
                () = told => By::App,
            };
            if !delay.is_zero() {
                tracing::info!(?delay, "not ready for more, and serving on");
                statsig.leave();
                tokio::select! {
                    () = sleep(delay) => {}
                    () = by.impatient(&mut signals) => by = By::Signal,
                }
            }
            by
        };
        let ended = tokio::select! {
            ended = &mut server => Err(ended),
            by = serving => Ok(by),
        };
        match ended {
            Ok(by) => {
                let draining = drain(server, statsig, limit);
                Ok(leave(statsig, draining, by.impatient(&mut signals), limit).await)
            }
            Err(ended) => {
                let impatience = By::App.impatient(&mut signals);
                let report = leave(statsig, statsig.shutdown(limit), impatience, limit).await;
                ended.map(|()| report)
            }
        }
    }
}

/// Who told the server to leave.
#[derive(Clone, Copy)]
enum By {
    Signal,
    App,
}

impl By {
    /// Done at a second signal.
    async fn impatient(self, signals: &mut Signals) {
        if matches!(self, Self::App) {
            signals.received().await;
        }
        while timeout(A_MOMENT, signals.received()).await.is_ok() {}
        signals.received().await;
    }
}

/// Drains until that is done, somebody has lost patience, or the limit has come.
async fn leave(
    statsig: &Statsig,
    draining: impl Future<Output = ShutdownReport>,
    impatience: impl Future<Output = ()>,
    limit: Duration,
) -> ShutdownReport {
    tracing::info!("draining");
    statsig.leave();
    let mut draining = pin!(draining);
    tokio::select! {
        report = &mut draining => return report,
        () = impatience => {}
        () = sleep(limit) => {}
    }
    // While the server is there still: its requests are told, and have a moment to say so.
    let report = statsig.shutdown(Duration::ZERO).await;
    tracing::warn!(cut_off = report.cut_off, "not all was drained: what is left open is closed");
    let _ = timeout(A_MOMENT, draining).await;
    report
}

/// Answers what has been received, and takes no more. The component ends last: the server's
/// connections wait for its answers.
async fn drain(server: Server, statsig: &Statsig, limit: Duration) -> ShutdownReport {
    let handle = server.handle();
    let stopped = async {
        // However much arrives, most of the limit is for answering it.
        let _ = timeout(limit / 4, arrivals_are_read(statsig)).await;
        handle.stop(true).await;
    };
    tokio::select! {
        // It serves until it has stopped, and then has nothing to say.
        _ = server => {}
        () = stopped => {}
        never = flush_again_and_again(statsig) => match never {},
    }
    statsig.shutdown(limit).await
}

/// Waits until what had arrived has been read: a server that is told to stop closes connections it
/// has not accepted or not read from yet. Does not wait for traffic to end that goes on and on.
async fn arrivals_are_read(statsig: &Statsig) {
    for _ in 0..5 {
        let read = statsig.stats().requests;
        sleep(2 * A_MOMENT).await;
        if statsig.stats().requests == read {
            return;
        }
    }
}

/// A handler may ask for its next flag when it has the last.
async fn flush_again_and_again(statsig: &Statsig) -> Infallible {
    loop {
        statsig.addr().do_send(Flush);
        sleep(A_MOMENT).await;
    }
}

const A_MOMENT: Duration = Duration::from_millis(100);

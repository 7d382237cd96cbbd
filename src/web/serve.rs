//! Runs a server that shuts down gracefully.

use std::{fmt, future::pending, io, time::Duration};

use actix_http::Request;
use actix_server::ServerBuilder;
use actix_service::{IntoServiceFactory, Service, ServiceFactory};
use actix_web::{
    HttpServer,
    body::MessageBody,
    dev::{AppConfig, Response},
};

use super::shutdown::run;
use crate::{handle::Statsig, message::ShutdownReport};

/// Runs the server until SIGTERM or ctrl-c, then shuts the server and the component down gracefully.
///
/// # Steps of the shutdown
///
/// 1. If there is a [`delay`](GracefulShutdown::delay), the component reports at once that it is
///    not ready, and the server keeps serving, because load balancers take a while to notice.
///    Another signal ends the delay.
/// 2. The server reads the requests that have arrived. This step ends when the component has had no
///    new request for a fifth of a second, or after a second or a quarter of the limit.
/// 3. The server accepts no more connections, and answers the requests that it has read. Their
///    checks do not wait for the flush interval.
/// 4. The component shuts down last. Requests from other parts of the app are answered until then.
///
/// Steps 2 to 4 take at most the limit, counted from the signal or the end of the delay. At the limit,
/// or at a second signal, unanswered requests are cut off, and open connections are closed: HTTP/2
/// connections, WebSockets and streams do not end by themselves. Signals less than a tenth of a second
/// apart count as one, because some programs send each signal twice.
///
/// # Signals and the server's own settings
///
/// The call itself installs the signal handlers. They stay installed after the future has completed, so
/// the signals have no other effect on the process. The server runs while the future is awaited, and
/// stops when the future is dropped.
///
/// The server's own signal handling is disabled: it would stop the `System`, and a component
/// [in the current arbiter](Statsig::start_in_current_arbiter) with it, before the server has drained.
/// The limit replaces `shutdown_timeout`, and `system_exit` has no effect. Do not set a
/// `shutdown_signal` on the server, which would stop it without the component: use [`serve_until`].
///
/// # Visitors who close the connection
///
/// When a visitor closes a connection normally (FIN), the server cannot tell whether the visitor still
/// reads. By default `HttpServer` answers such a half-closed connection, so Statsig is asked for a
/// visitor who may be gone. Set [`h1_allow_half_closed(false)`](HttpServer::h1_allow_half_closed) to
/// drop the request instead: a check that is still buffered then costs no call. Few clients half-close
/// and wait for an answer.
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
/// Returns an error if the signal handlers cannot be installed or the server fails. If the server
/// fails, the component is shut down first.
///
/// # Panics
/// Panics outside a runtime, and like [`HttpServer::run`] if the server is not bound to an address.
pub fn serve<F, I, S, B, D>(
    server: HttpServer<F, I, S, B>,
    statsig: &Statsig,
    shutdown: D,
) -> impl Future<Output = io::Result<ShutdownReport>> + use<F, I, S, B, D>
where
    D: Into<GracefulShutdown>,
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
    serve_until(server, statsig, shutdown, pending())
}

/// Like [`serve`], but also shuts down when `stop` completes, for apps that decide when to end and
/// for tests. After `stop`, only a second signal cuts off unanswered requests.
///
/// ```no_run
/// # use actix_statsig::{Statsig, web};
/// # use actix_web::{App, HttpServer};
/// # use std::time::Duration;
/// # async fn run(statsig: Statsig) -> std::io::Result<()> {
/// let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
/// let stop = async { drop(receiver.await) };
/// let server = HttpServer::new(|| App::new()).bind(("127.0.0.1", 8080))?;
/// let serving = web::serve_until(server, &statsig, Duration::from_secs(30), stop);
/// # let _ = sender.send(());
/// serving.await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// See [`serve`].
///
/// # Panics
/// See [`serve`].
pub fn serve_until<F, I, S, B, D, T>(
    server: HttpServer<F, I, S, B>,
    statsig: &Statsig,
    shutdown: D,
    stop: T,
) -> impl Future<Output = io::Result<ShutdownReport>> + use<F, I, S, B, D, T>
where
    D: Into<GracefulShutdown>,
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
    let start = |seconds| server.disable_signals().shutdown_timeout(seconds).run();
    run(start, statsig.clone(), shutdown.into(), stop)
}

/// Like [`serve`], for a server built without [`HttpServer`]: for example one that wraps its
/// connections, or that also speaks another protocol. It replaces the builder's signal handling and
/// `shutdown_timeout`, as [`serve`] replaces those of an `HttpServer`.
///
/// Services should close their idle connections at the builder's `graceful_shutdown_signal`: the
/// server waits for open connections until the limit.
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
/// See [`serve`].
///
/// # Panics
/// See [`serve`].
pub fn serve_builder<D: Into<GracefulShutdown>>(
    builder: ServerBuilder,
    statsig: &Statsig,
    shutdown: D,
) -> impl Future<Output = io::Result<ShutdownReport>> + use<D> {
    let start = |seconds| builder.disable_signals().shutdown_timeout(seconds).run();
    run(start, statsig.clone(), shutdown.into(), pending())
}

/// How long a graceful shutdown may take. A `Duration` is a limit without a delay.
///
/// ```
/// # use actix_statsig::web::GracefulShutdown;
/// # use std::time::Duration;
/// let limit = Duration::from_secs(30);
/// let shutdown = GracefulShutdown::within(limit).delay(Duration::from_secs(10));
/// # assert_eq!(GracefulShutdown::from(limit), GracefulShutdown::within(limit));
/// # assert_ne!(shutdown, GracefulShutdown::within(limit));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GracefulShutdown {
    pub(super) limit: Duration,
    pub(super) delay: Duration,
}

impl GracefulShutdown {
    /// Drains at once, for at most `limit`.
    pub const fn within(limit: Duration) -> Self {
        Self { limit, delay: Duration::ZERO }
    }

    /// Keeps serving for this long before draining. [`Stats::is_ready`] is false meanwhile. Set it
    /// to the time that your load balancer takes to notice. Default: zero.
    ///
    /// [`Stats::is_ready`]: crate::Stats::is_ready
    #[must_use]
    pub const fn delay(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }
}

impl From<Duration> for GracefulShutdown {
    fn from(limit: Duration) -> Self {
        Self::within(limit)
    }
}

//! Accepts connections, up to the limit of the process.

use std::{fmt::Debug, io, sync::Arc, time::Duration};

use actix_http::{HttpService, KeepAlive, Request, Response, error::DispatchError};
use actix_server::{GracefulShutdownSignal, ServerBuilder};
use actix_service::{
    IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt, fn_service, map_config,
};
#[cfg(unix)]
use actix_web::rt::net::UnixStream;
use actix_web::{body::MessageBody, dev::AppConfig, rt::net::TcpStream};
use tokio::sync::Semaphore;

#[cfg(not(unix))]
type SocketFile = std::convert::Infallible;
use super::{Connection, Handle, Limits, Peer, Socket, byte_budget::ByteBudget};
use crate::listen::Listener;
#[cfg(unix)]
use crate::listen::unix::SocketFile;

/// How long a client may take to read why its body is refused. Bytes that the client sends
/// meanwhile are discarded.
const LINGER: Duration = Duration::from_secs(1);

/// The state that all connections of the process share.
#[derive(Clone)]
pub(crate) struct Acceptor {
    limits: Limits,
    requests: ByteBudget,
    answers: ByteBudget,
    permits: Arc<Semaphore>,
    shutdown: GracefulShutdownSignal,
}

impl Acceptor {
    /// Accepts up to `connections` at once. All their requests together may hold `max_bytes`, and
    /// so may all their answers.
    pub(crate) fn new(
        connections: usize,
        limits: Limits,
        max_bytes: usize,
        shutdown: GracefulShutdownSignal,
    ) -> Self {
        let permits = Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS)));
        let (requests, answers) = (ByteBudget::new(max_bytes), ByteBudget::new(max_bytes));
        Self { limits, requests, answers, permits, shutdown }
    }

    /// Waits for a permit. The server library only limits the connections of each worker, which may
    /// add up to a few too many.
    async fn accept<S: Socket>(self, socket: S) -> Result<Connection<S>, DispatchError> {
        let Self { limits, requests, answers, permits, shutdown } = self;
        tokio::select! {
            Ok(permit) = permits.acquire_owned() => {
                let handle = Handle::new(socket.peer(), requests.share(), answers.share());
                Ok(Connection::new(socket, handle, limits, shutdown, permit))
            }
            () = shutdown.notified() => Err(DispatchError::DisconnectTimeout),
        }
    }

    /// Adds the listener to the server, with the app that answers.
    ///
    /// Drop the returned socket file when the server has ended.
    pub(crate) fn listen<F, I, A, B>(
        &self,
        server: ServerBuilder,
        listener: Listener,
        app: F,
    ) -> io::Result<(ServerBuilder, Option<SocketFile>)>
    where
        F: Fn() -> I + Clone + Send + 'static,
        I: IntoServiceFactory<A, Request>,
        A: ServiceFactory<Request, Config = AppConfig> + 'static,
        A::Error: Into<actix_web::Error>,
        A::InitError: Debug,
        A::Response: Into<Response<B>>,
        <A::Service as Service<Request>>::Future: 'static,
        B: MessageBody + 'static,
    {
        let acceptor = self.clone();
        match listener {
            Listener::Tcp(listener) => {
                let serve = move || acceptor.serve::<TcpStream, _, _, _>(app());
                Ok((server.listen("tcp", listener, serve)?, None))
            }
            #[cfg(unix)]
            Listener::Unix(listener, file) => {
                let serve = move || acceptor.serve::<UnixStream, _, _, _>(app());
                Ok((server.listen_uds("unix", listener, serve)?, Some(file)))
            }
        }
    }

    /// Serves the app over HTTP/1.1.
    fn serve<S, I, A, B>(
        &self,
        app: I,
    ) -> impl ServiceFactory<S, Config = (), Response = (), Error = DispatchError, InitError = ()>
    + use<S, I, A, B>
    where
        S: Socket,
        I: IntoServiceFactory<A, Request>,
        A: ServiceFactory<Request, Config = AppConfig> + 'static,
        A::Error: Into<actix_web::Error>,
        A::InitError: Debug,
        A::Response: Into<Response<B>>,
        <A::Service as Service<Request>>::Future: 'static,
        B: MessageBody + 'static,
    {
        let app = app.into_factory().map_err(|error| error.into().error_response());
        // `Connection` enforces the client's time limits, so turn the library's off.
        let http = HttpService::build()
            .keep_alive(KeepAlive::Os)
            .client_request_timeout(Duration::ZERO)
            .client_disconnect_timeout(LINGER)
            .h1_allow_half_closed(false)
            .on_connect_ext(|connection: &Connection<S>, data| {
                data.insert(connection.handle());
            })
            .h1(map_config(app, |()| AppConfig::default()));
        let acceptor = self.clone();
        fn_service(move |socket: S| {
            let acceptor = acceptor.clone();
            async move {
                let connection = acceptor.accept(socket).await?;
                let address = match connection.handle().peer() {
                    Peer::At(address) => Some(address),
                    Peer::ThisMachine | Peer::Unknown => None,
                };
                Ok((connection, address))
            }
        })
        .and_then(http)
    }
}

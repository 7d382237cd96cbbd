//! Where connections come in.

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
use super::{Connection, Handle, Limits, Peer, Socket, byte_budget::Room};
use crate::listen::Listener;
#[cfg(unix)]
use crate::listen::unix::SocketFile;

/// How long a client may take to read why its body is not read: what it still sends is thrown away
/// meanwhile.
const LINGER: Duration = Duration::from_secs(1);

/// What all connections of the process have in common.
#[derive(Clone)]
pub(crate) struct Door {
    limits: Limits,
    requests: Room,
    answers: Room,
    places: Arc<Semaphore>,
    leaving: GracefulShutdownSignal,
}

impl Door {
    /// Lets as many connections in as are given. Their requests have `room` bytes together, and
    /// their answers as many.
    pub(crate) fn new(
        connections: usize,
        limits: Limits,
        room: usize,
        leaving: GracefulShutdownSignal,
    ) -> Self {
        let places = Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS)));
        let (requests, answers) = (Room::new(room), Room::new(room));
        Self { limits, requests, answers, places, leaving }
    }

    /// Waits for a place: the server library limits the connections of each worker, and these may
    /// be a few more in all.
    async fn admit<S: Socket>(self, socket: S) -> Result<Connection<S>, DispatchError> {
        let Self { limits, requests, answers, places, leaving } = self;
        tokio::select! {
            Ok(place) = places.acquire_owned() => {
                let handle = Handle::new(socket.peer(), requests.place(), answers.place());
                Ok(Connection::new(socket, handle, limits, leaving, place))
            }
            () = leaving.notified() => Err(DispatchError::DisconnectTimeout),
        }
    }

    /// Has the server accept connections here, and the app answer.
    ///
    /// What is given back with it is to be dropped when the server has ended.
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
        let door = self.clone();
        match listener {
            Listener::Tcp(listener) => {
                let serve = move || door.serve::<TcpStream, _, _, _>(app());
                Ok((server.listen("tcp", listener, serve)?, None))
            }
            #[cfg(unix)]
            Listener::Unix(listener, file) => {
                let serve = move || door.serve::<UnixStream, _, _, _>(app());
                Ok((server.listen_uds("unix", listener, serve)?, Some(file)))
            }
        }
    }

    /// Speaks HTTP/1.1 with whoever connects, and has the app answer.
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
        // The connection itself limits how long a client takes, and how long it stays.
        let http = HttpService::build()
            .keep_alive(KeepAlive::Os)
            .client_request_timeout(Duration::ZERO)
            .client_disconnect_timeout(LINGER)
            .h1_allow_half_closed(false)
            .on_connect_ext(|connection: &Connection<S>, data| {
                data.insert(connection.handle());
            })
            .h1(map_config(app, |()| AppConfig::default()));
        let door = self.clone();
        fn_service(move |socket: S| {
            let door = door.clone();
            async move {
                let connection = door.admit(socket).await?;
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

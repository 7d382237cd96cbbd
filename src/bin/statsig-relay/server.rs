//! The HTTP server in front: where it listens, how patient it is, and how it leaves.

use std::{
    io,
    net::{SocketAddr, ToSocketAddrs},
    num::NonZeroUsize,
    thread,
    time::Duration,
};

use actix_statsig::{ShutdownReport, Statsig, web};
use actix_web::{
    App, HttpServer,
    middleware::{NormalizePath, from_fn},
    web::Data,
};
use metrics_exporter_prometheus::PrometheusHandle;

use crate::{
    access::{self, Callers},
    api::{self, MaxBody},
    args::{Args, Given, MOST_WORKERS},
    bind::bind,
    health::Probes,
    keys::Keys,
    limits::{self, Shares},
    loopback, observe, output,
    page::Page,
    upstream,
};

/// Longer than clients keep the idle connections of their pools, so that none is closed just as it
/// is used again.
const KEEP_ALIVE: Duration = Duration::from_secs(120);

/// The longest a connection takes to its first request's head. Generous: a machine that is busy is
/// no reason to turn its clients away.
const HEAD_TIME: Duration = Duration::from_secs(60);

/// How much longer than a request the relay takes to leave.
const LEAVE: Duration = Duration::from_secs(2);

/// How the relay is served, as it was told to be.
pub(crate) struct Serving {
    listen: Given,
    addresses: Vec<SocketAddr>,
    callers: Data<Callers>,
    max_body: Data<MaxBody>,
    workers: usize,
    connections_each: usize,
}

/// What the routes answer from.
pub(crate) struct Sources {
    pub(crate) statsig: Statsig,
    pub(crate) probes: Data<Probes>,
    pub(crate) metrics: Data<PrometheusHandle>,
    pub(crate) page: Data<Page>,
}

impl Serving {
    pub(crate) fn of(args: &Args) -> Result<Self, String> {
        let listen = args.given_or_default("listen").ok_or("nowhere to listen")?;
        let addresses = listen.text()?.to_socket_addrs();
        let addresses: Vec<_> =
            addresses.map_err(|error| listen.cannot_be(&error.to_string()))?.collect();
        let callers = Callers::choose(args)?;
        if !callers.are_decided_for(&addresses) {
            return Err(listen.cannot_be(
                "it would be open to the network, and nobody said who may ask: set \
                 STATSIG_RELAY_KEYS or --keys-file, or --allow-anyone",
            ));
        }
        if loopback::are_reached_from_elsewhere(&addresses) && !upstream::is_decided(args) {
            return Err(listen.cannot_be(
                "the network would get made-up answers, for there is no key: set STATSIG_API_KEY \
                 or --api-key-file, or --rules",
            ));
        }
        let (workers, connections_each) = shares(args)?;
        let max_body = args.number("max_body")?.unwrap_or_default();
        Ok(Self {
            listen,
            addresses,
            callers: Data::new(callers),
            max_body: Data::new(MaxBody(max_body)),
            workers,
            connections_each,
        })
    }

    pub(crate) fn keys(&self) -> Option<Keys> {
        self.callers.keys()
    }

    /// Binds, and says where; then serves until it is told to leave. `timeout` is the longest a
    /// request takes.
    pub(crate) fn serve(
        self,
        sources: Sources,
        timeout: Duration,
    ) -> Result<impl Future<Output = io::Result<ShutdownReport>> + use<>, String> {
        let Self { callers, max_body, .. } = self;
        let Sources { statsig, probes, metrics, page } = sources;
        let data = Data::new(statsig.clone());
        let app = move || {
            App::new()
                .app_data(Data::clone(&data))
                .app_data(Data::clone(&probes))
                .app_data(Data::clone(&metrics))
                .app_data(Data::clone(&page))
                .app_data(Data::clone(&callers))
                .app_data(Data::clone(&max_body))
                .configure(api::routes)
                .wrap(NormalizePath::trim())
                .wrap(from_fn(access::guard))
                .wrap(from_fn(observe::observe))
        };
        let server = HttpServer::new(app)
            .workers(self.workers)
            .max_connections(self.connections_each)
            .keep_alive(KEEP_ALIVE)
            .client_request_timeout(HEAD_TIME);
        let cannot = |error: io::Error| self.listen.cannot_be(&error.to_string());
        let mut listeners = bind(&self.addresses).map_err(cannot)?.into_iter();
        let server = listeners.try_fold(server, HttpServer::listen);
        let server = server.map_err(cannot)?;
        let addresses = server.addrs();
        let serving = web::serve(server, &statsig, timeout.saturating_add(LEAVE));
        // Whoever reads this may send a signal at once.
        for address in addresses {
            output::say(format_args!("listening on http://{address}"));
        }
        Ok(serving)
    }
}

/// How many workers there are, and how many connections each of them has.
fn shares(args: &Args) -> Result<(usize, usize), String> {
    let connections = args.number("max_connections")?.unwrap_or(usize::MAX);
    let most = connections.min(MOST_WORKERS);
    let cores = || thread::available_parallelism().map_or(2, NonZeroUsize::get).min(most);
    let workers = args.number("workers")?.unwrap_or_else(cores);
    match (args.given("max_connections"), args.given("workers")) {
        (Some(fewer), Some(more)) if connections < workers => {
            Err(fewer.cannot_be(&format!("must be no less than {}, {workers}", more.by)))
        }
        _ => {
            let Shares { workers, connections } =
                limits::fit(args, Shares { workers, connections })?;
            Ok((workers, connections / workers))
        }
    }
}

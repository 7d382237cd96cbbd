//! The HTTP server in front: where it listens, how patient it is, and how it leaves.

use std::{io, num::NonZeroUsize, thread, time::Duration};

use actix_server::Server;
use actix_statsig::{ShutdownReport, Statsig, web};
use actix_web::{
    App,
    middleware::{NormalizePath, from_fn},
    web::Data,
};
use metrics_exporter_prometheus::PrometheusHandle;

use crate::{
    access::{self, Callers},
    api::{self, MaxBody},
    args::{Args, Given, MOST_WORKERS},
    bind::{Listener, Place},
    connection::{Door, Limits, attend},
    health::Probes,
    keys::Keys,
    limits::{self, Shares},
    loopback, observe, output,
    page::Page,
    upstream,
};

/// How much longer than a request the relay takes to leave.
const LEAVE: Duration = Duration::from_secs(2);

/// How long a client that has not finished its request, or its answer, keeps the relay from leaving.
const LAST_MOMENT: Duration = Duration::from_secs(1);

/// How the relay is served, as it was told to be.
pub(crate) struct Serving {
    listen: Given,
    place: Place,
    socket_mode: u32,
    drain_delay: Duration,
    callers: Data<Callers>,
    max_body: Data<MaxBody>,
    limits: Limits,
    max_incoming: usize,
    workers: usize,
    connections: usize,
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
        let place = Place::parse(listen.text()?);
        let place = place.map_err(|error| listen.cannot_be(&error.to_string()))?;
        let callers = Callers::choose(args)?;
        if !callers.are_decided_for(place.addresses()) {
            return Err(listen.cannot_be(
                "it would be open to the network, and nobody said who may ask: set \
                 STATSIG_RELAY_KEYS or --keys-file, or --allow-anyone",
            ));
        }
        if loopback::are_reached_from_elsewhere(place.addresses()) && !upstream::is_decided(args) {
            return Err(listen.cannot_be(
                "the network would get made-up answers, for there is no key: set STATSIG_API_KEY \
                 or --api-key-file, or --rules",
            ));
        }
        let (workers, connections) = shares(args)?;
        let max_body = args.number("max_body")?.unwrap_or_default();
        Ok(Self {
            listen,
            place,
            socket_mode: args.mode("socket_mode")?,
            drain_delay: args.delay("drain_delay")?,
            callers: Data::new(callers),
            max_body: Data::new(MaxBody(max_body)),
            limits: Limits {
                keep_alive: args.duration("keep_alive")?,
                client: args.duration("client_timeout")?,
                leave: LAST_MOMENT,
            },
            max_incoming: args.number("max_incoming")?.unwrap_or(usize::MAX),
            workers,
            connections,
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
        let Self { listen, place, socket_mode, drain_delay, callers, max_body, .. } = self;
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
                .wrap(from_fn(attend))
        };
        // The library's limit is a worker's, and rounded up here: the door keeps the process's.
        let server = Server::build()
            .workers(self.workers)
            .max_concurrent_connections(self.connections.div_ceil(self.workers));
        let leaving = server.graceful_shutdown_signal();
        let door = Door::new(self.connections, self.limits, self.max_incoming, leaving);
        let cannot = |error: io::Error| listen.cannot_be(&error.to_string());
        let listeners = place.bind(socket_mode).map_err(cannot)?;
        let urls = listeners.iter().map(Listener::url).collect::<io::Result<Vec<_>>>();
        let urls = urls.map_err(cannot)?;
        let mut files = Vec::new();
        let server = listeners.into_iter().try_fold(server, |server, listener| {
            let (server, file) = door.listen(server, listener, app.clone())?;
            files.extend(file);
            Ok(server)
        });
        let server = server.map_err(cannot)?;
        let shutdown =
            web::GracefulShutdown::within(timeout.saturating_add(LEAVE)).delay(drain_delay);
        let serving = web::serve_builder(server, &statsig, shutdown);
        // Whoever reads this may send a signal at once.
        for url in urls {
            output::say(format_args!("listening on {url}"));
        }
        Ok(async move {
            let served = serving.await;
            drop(files);
            served
        })
    }
}

/// How many workers there are, and how many connections they have in all.
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
            let fitting = limits::fit(args, Shares { workers, connections })?;
            Ok((fitting.workers, fitting.connections))
        }
    }
}

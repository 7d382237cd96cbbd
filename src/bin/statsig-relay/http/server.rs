//! The HTTP server: where it listens, its limits, and how it shuts down.

use std::{io, num::NonZeroUsize, thread, time::Duration};

use actix_server::Server;
use actix_statsig::{ShutdownReport, Statsig, web};
use actix_web::{
    App,
    middleware::{NormalizePath, from_fn},
    web::Data,
};
use metrics_exporter_prometheus::PrometheusHandle;

use super::{
    access_log,
    api::{self, MaxBody},
    health::ReadinessProbe,
};
use crate::{
    access::{self, Callers, keys::Keys, loopback},
    args::{Args, MAX_WORKERS, OptionValue, ServingOptions, SettingName},
    connection::{Acceptor, Limits, track_request},
    listen::{ListenAddress, Listener},
    machine::limits::{self, Capacity, Needs, Origins},
    output,
    page::Page,
    upstream,
};

/// How much longer than a request a graceful shutdown may take.
const SHUTDOWN_MARGIN: Duration = Duration::from_secs(2);

/// How long a shutdown waits for a client to finish sending its request, or reading its answer.
const CLIENT_SHUTDOWN_LIMIT: Duration = Duration::from_secs(1);

/// The relay's server, configured by the options.
pub(crate) struct RelayServer {
    listen: OptionValue<String>,
    address: ListenAddress,
    socket_mode: u32,
    drain_delay: Duration,
    callers: Data<Callers>,
    max_body: Data<MaxBody>,
    limits: Limits,
    max_incoming: usize,
    capacity: Capacity,
}

/// The state that the routes share.
pub(crate) struct AppState {
    pub(crate) statsig: Statsig,
    pub(crate) probe: Data<ReadinessProbe>,
    pub(crate) metrics: Data<PrometheusHandle>,
    pub(crate) page: Data<Page>,
}

impl RelayServer {
    /// Checks the options; an error names the flag or variable to fix.
    pub(crate) fn from_args(args: &Args) -> Result<Self, String> {
        let options = &args.serving;
        let listen = options.listen.clone();
        let address = ListenAddress::parse(&listen.get()?);
        let address = address.map_err(|error| listen.invalid(&error.to_string()))?;
        let callers = Callers::from_options(&args.callers)?;
        if !callers.allow_listening_on(address.addresses()) {
            return Err(listen.invalid(
                "the network can reach this address, and access is not configured: set \
                 STATSIG_RELAY_KEYS or --keys-file, or --allow-anyone",
            ));
        }
        if loopback::is_any_public(address.addresses()) && !upstream::is_configured(&args.statsig) {
            return Err(listen.invalid(
                "the network can reach this address, and without a key the answers are made up: \
                 set STATSIG_API_KEY or --api-key-file, or --rules",
            ));
        }
        Ok(Self {
            listen,
            address,
            socket_mode: options.socket_mode.get()?,
            drain_delay: options.drain_delay.get()?,
            callers: Data::new(callers),
            max_body: Data::new(MaxBody(options.max_body.get()?)),
            limits: Limits {
                keep_alive: options.keep_alive.get()?,
                client: options.client_timeout.get()?,
                shutdown: CLIENT_SHUTDOWN_LIMIT,
            },
            max_incoming: options.max_incoming.get()?,
            capacity: capacity(args)?,
        })
    }

    /// Returns the list of callers' keys, if there is one.
    pub(crate) fn keys(&self) -> Option<Keys> {
        self.callers.keys()
    }

    /// Binds and prints the addresses. The future serves until a signal shuts it down. A request
    /// takes at most `timeout`.
    pub(crate) fn serve(
        self,
        state: AppState,
        timeout: Duration,
    ) -> Result<impl Future<Output = io::Result<ShutdownReport>> + use<>, String> {
        let Self { listen, address, socket_mode, drain_delay, callers, max_body, .. } = self;
        let AppState { statsig, probe, metrics, page } = state;
        let data = Data::new(statsig.clone());
        let app = move || {
            App::new()
                .app_data(Data::clone(&data))
                .app_data(Data::clone(&probe))
                .app_data(Data::clone(&metrics))
                .app_data(Data::clone(&page))
                .app_data(Data::clone(&callers))
                .app_data(Data::clone(&max_body))
                .configure(api::routes)
                .wrap(NormalizePath::trim())
                .wrap(from_fn(access::guard))
                .wrap(from_fn(access_log::log_request))
                .wrap(from_fn(track_request))
        };
        // The library's limit is for each worker and rounded up; the acceptor enforces the
        // process's limit.
        let Capacity { workers, connections } = self.capacity;
        let server = Server::build()
            .workers(workers)
            .max_concurrent_connections(connections.div_ceil(workers));
        let shutdown = server.graceful_shutdown_signal();
        let acceptor = Acceptor::new(connections, self.limits, self.max_incoming, shutdown);
        let explain = |error: io::Error| listen.invalid(&error.to_string());
        let listeners = address.bind(socket_mode).map_err(explain)?;
        let urls = listeners.iter().map(Listener::url).collect::<io::Result<Vec<_>>>();
        let urls = urls.map_err(explain)?;
        let mut socket_files = Vec::new();
        let server = listeners.into_iter().try_fold(server, |server, listener| {
            let (server, file) = acceptor.listen(server, listener, app.clone())?;
            socket_files.extend(file);
            Ok(server)
        });
        let server = server.map_err(explain)?;
        let shutdown = web::GracefulShutdown::within(timeout.saturating_add(SHUTDOWN_MARGIN))
            .delay(drain_delay);
        let serving = web::serve_builder(server, &statsig, shutdown);
        // Print this line last, because its reader may send a signal at once.
        for url in urls {
            output::print_status(format_args!("listening on {url}"));
        }
        Ok(async move {
            let served = serving.await;
            drop(socket_files);
            served
        })
    }
}

/// Chooses the numbers of workers and connections, and fits them into the machine's limits.
fn capacity(args: &Args) -> Result<Capacity, String> {
    let ServingOptions { workers: workers_option, max_connections, .. } = &args.serving;
    let connections = max_connections.get()?;
    let workers = match workers_option {
        Some(option) => {
            let workers = option.get()?;
            if workers > connections && max_connections.if_set().is_some() {
                let rule = format!("must be no less than {}, {workers}", option.origin());
                return Err(max_connections.invalid(&rule));
            }
            workers
        }
        None => {
            let cores = thread::available_parallelism().map_or(2, NonZeroUsize::get);
            cores.min(connections).min(MAX_WORKERS)
        }
    };
    let wanted = Capacity { workers, connections };
    let settings = &args.statsig.settings;
    let needs = Needs {
        in_flight: settings.number(SettingName::MAX_IN_FLIGHT)?,
        transports: settings.number(SettingName::TRANSPORTS)?,
        has_stand_in: args.statsig.api_key().is_none(),
    };
    let in_flight = settings.origin(SettingName::MAX_IN_FLIGHT);
    let origins = Origins {
        workers: workers_option.as_ref().map_or("--workers", OptionValue::origin),
        connections: max_connections.origin(),
        in_flight: &in_flight,
    };
    limits::fit(wanted, needs, origins)
}

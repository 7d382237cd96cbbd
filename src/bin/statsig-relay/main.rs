//! `statsig-relay`: answers the Statsig HTTP API itself, and asks Statsig in batches.
//!
//! What one runs to see the component work, and what a team in another language deploys beside its
//! app. Its routes are in `api.rs`, its options in `args.rs`; where there is no key, it asks a
//! stand-in for Statsig that lives in the same process (`upstream.rs`).

mod api;
mod args;
mod output;
mod respond;
mod signals;
mod upstream;

use std::{env, io, process::ExitCode, time::Duration};

use actix_statsig::Statsig;
use actix_web::{
    App, HttpServer,
    dev::{Server, ServerHandle},
    rt,
    web::Data,
};
use futures_util::future::{Either, join, select};

use crate::{args::Args, signals::Signals, upstream::Upstream};

/// The exit code for what whoever starts the relay has to mend: options, environment, files, ports.
const MISUSE: u8 = 2;

#[actix_web::main]
async fn main() -> ExitCode {
    let ended = match start().await {
        Ok(relay) => relay.run().await.map_err(|error| (1, error.to_string())),
        Err(message) => Err((MISUSE, message)),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, message)) => {
            output::complain(message);
            ExitCode::from(code)
        }
    }
}

struct Relay {
    server: Server,
    statsig: Statsig,
    signals: Signals,
    /// The longest a request takes, and so the longest a drain does.
    timeout: Duration,
    upstream: Upstream,
}

/// Sets everything up; an error is one line that names the option or variable to mend.
async fn start() -> Result<Relay, String> {
    let args = Args::parse(env::args_os(), env::var_os)?;
    output::log_to_stderr()?;
    let upstream = Upstream::choose(&args)?;
    let config = upstream.config(&args)?;
    let timeout = config.timeout();
    let statsig = Statsig::start(config).map_err(|error| error.to_string())?;
    let signals = Signals::listen().map_err(|error| format!("no signals: {error}"))?;
    let server = serve(&args.listen, statsig.clone(), timeout)?;
    Ok(Relay { server, statsig, signals, timeout, upstream })
}

/// Binds, and says where.
fn serve(listen: &str, statsig: Statsig, timeout: Duration) -> Result<Server, String> {
    let statsig = Data::new(statsig);
    let server =
        HttpServer::new(move || App::new().app_data(Data::clone(&statsig)).configure(api::routes))
            .disable_signals()
            .shutdown_timeout(timeout.as_secs() + 2)
            .bind(listen)
            .map_err(|error| format!("--listen cannot be {listen:?}: {error}"))?;
    for address in server.addrs() {
        output::say(format_args!("listening on http://{address}"));
    }
    Ok(server.run())
}

impl Relay {
    async fn run(self) -> io::Result<()> {
        let Self { server, statsig, mut signals, timeout, upstream: _answers_until_then } = self;
        let handle = server.handle();
        let serving = rt::spawn(server);
        match select(Box::pin(signals.received()), serving).await {
            Either::Left(((), serving)) => {
                drain(&handle, &statsig, timeout).await;
                serving.await??;
            }
            Either::Right((ended, _)) => ended??,
        }
        Ok(())
    }
}

/// Answers what has been received, and takes no more. The component ends last: the server's
/// connections wait for its answers.
async fn drain(server: &ServerHandle, statsig: &Statsig, limit: Duration) {
    tracing::info!("draining");
    // A server that is told to stop drops what it has not accepted or not read yet.
    rt::time::sleep(TIME_TO_READ).await;
    let (_, flushed) = join(server.stop(true), statsig.flush()).await;
    if let Err(error) = flushed {
        tracing::warn!(%error, "the component ended before it was told to");
    }
    statsig.shutdown(limit).await;
}

/// How long requests that have arrived at a signal have to be read.
const TIME_TO_READ: Duration = Duration::from_millis(100);

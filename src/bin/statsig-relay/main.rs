//! `statsig-relay`: answers the Statsig HTTP API itself, and asks Statsig in batches.
//!
//! What one runs to see the component work, and what a team in another language deploys beside its
//! app. Its routes are in `api.rs`, its page to watch in `page.rs`, its options in `args.rs`; where there is no key, it asks a
//! stand-in for Statsig that lives in the same process (`upstream.rs`).

mod api;
mod args;
mod output;
mod page;
mod recent;
mod respond;
mod server;
mod signals;
mod upstream;

use std::{env, io, process::ExitCode, time::Duration};

use actix_statsig::Statsig;
use actix_web::{dev::Server, rt};
use futures_util::future::{Either, select};

use crate::{
    args::Args,
    page::{Page, Recent},
    signals::Signals,
    upstream::Upstream,
};

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
    let recent = Recent::default();
    let config = upstream.config(&args, recent.hook())?;
    let page = Page::new(upstream.name(&config), &config, recent);
    let timeout = config.timeout();
    let statsig = Statsig::start(config).map_err(|error| error.to_string())?;
    let signals = Signals::listen().map_err(|error| format!("no signals: {error}"))?;
    let server = server::serve(&args.listen, statsig.clone(), page, timeout)?;
    Ok(Relay { server, statsig, signals, timeout, upstream })
}

impl Relay {
    async fn run(self) -> io::Result<()> {
        let Self { server, statsig, mut signals, timeout, upstream: _answers_until_then } = self;
        let handle = server.handle();
        let serving = rt::spawn(server);
        match select(Box::pin(signals.received()), serving).await {
            Either::Left(((), serving)) => {
                server::drain(&handle, &statsig, timeout).await;
                serving.await??;
            }
            Either::Right((ended, _)) => ended??,
        }
        Ok(())
    }
}

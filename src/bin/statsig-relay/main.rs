//! `statsig-relay`: answers the Statsig HTTP API itself, and asks Statsig in batches.
//!
//! What one runs to see the component work, and what a team in another language deploys beside its
//! app. Its routes are in `api.rs`, its options in `args.rs`; where there is no key, it asks a
//! stand-in for Statsig that lives in the same process (`upstream.rs`).

mod api;
mod args;
mod output;
mod respond;
mod server;
mod upstream;

use std::{env, io, process::ExitCode};

use actix_statsig::{ShutdownReport, Statsig};
use futures_util::future::{FutureExt, LocalBoxFuture};

use crate::{args::Args, upstream::Upstream};

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
    serving: LocalBoxFuture<'static, io::Result<ShutdownReport>>,
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
    let serving = server::serve(&args.listen, &statsig, timeout)?.boxed_local();
    Ok(Relay { serving, upstream })
}

impl Relay {
    async fn run(self) -> io::Result<()> {
        let Self { serving, upstream: _answers_until_then } = self;
        serving.await.map(drop)
    }
}

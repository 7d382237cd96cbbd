//! `statsig-relay`: the Statsig HTTP API in front, and behind it a component that asks Statsig in
//! batches.
//!
//! What one runs to see the component work, and what a team in another language deploys beside its
//! app. Its routes are in `api.rs`, its page to watch in `page.rs`, its options in `args/`, who may
//! ask in `access.rs`, what clients may do to their connections in `connection/`; its commands for
//! the shell are in `ask.rs`. Where there is no key, it asks a stand-in for Statsig that lives in the
//! same process (`upstream.rs`).

mod access;
mod api;
mod args;
mod ask;
mod bind;
mod clock;
mod connection;
mod health;
mod keys;
mod loopback;
mod observe;
mod output;
mod page;
mod prometheus;
mod recent;
mod request_id;
mod respond;
mod server;
#[cfg(unix)]
mod unix;
mod upstream;

use std::{env, io, process::ExitCode};

use actix_statsig::{ShutdownReport, Statsig};
use actix_web::web::Data;
use futures_util::future::{FutureExt, LocalBoxFuture};

use crate::{
    args::{Args, Task},
    health::Probes,
    page::{Page, Recent},
    server::{Serving, Sources},
    upstream::Upstream,
};

/// The exit code for what whoever starts the relay has to mend: options, environment, files, ports.
const MISUSE: u8 = 2;

#[actix_web::main]
async fn main() -> ExitCode {
    let ended = match Args::parse(env::args_os(), env::vars_os()) {
        Ok(args) => run(&args).await,
        Err(message) => Err((MISUSE, message)),
    };
    match ended {
        Ok(code) => ExitCode::from(code),
        Err((code, message)) => {
            output::complain(message);
            ExitCode::from(code)
        }
    }
}

/// Does what it is told to; the exit code, with a line to say where something is wrong.
async fn run(args: &Args) -> Result<u8, (u8, String)> {
    match &args.task {
        Task::Serve => {
            let relay = start(args).map_err(|message| (MISUSE, message))?;
            relay.run().await.map(|()| 0).map_err(|error| (1, error.to_string()))
        }
        Task::Check(asked) => ask::check(args, asked).await,
        Task::Config(asked) => ask::config(args, asked).await,
    }
}

struct Relay {
    serving: LocalBoxFuture<'static, io::Result<ShutdownReport>>,
    upstream: Upstream,
}

/// Sets everything up; an error is one line that names the option or variable to mend.
fn start(args: &Args) -> Result<Relay, String> {
    output::log_to_stderr(args, output::USUAL_WHILE_SERVING)?;
    output::log_panics();
    let serving = Serving::of(args)?;
    let upstream = Upstream::choose(args, output::say)?;
    let recent = Recent::default();
    let config = upstream.config(args, recent.hook())?;
    let page = Data::new(Page::new(upstream.name(&config), &config, recent));
    let timeout = config.timeout();
    let metrics = Data::new(prometheus::install()?);
    let statsig = Statsig::start(config).map_err(|error| error.to_string())?;
    let probes = Data::new(Probes::default());
    let sources = Sources { statsig, probes, metrics, page };
    let serving = serving.serve(sources, timeout)?.boxed_local();
    for variable in &args.unknown {
        tracing::warn!("{variable} is set, but there is no such setting");
    }
    Ok(Relay { serving, upstream })
}

impl Relay {
    async fn run(self) -> io::Result<()> {
        let Self { serving, upstream: _answers_until_then } = self;
        serving.await.map(drop)
    }
}

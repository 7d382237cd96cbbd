//! `statsig-relay`: the Statsig HTTP API in front, and behind it a component that asks Statsig in
//! batches.
//!
//! What one runs to see the component work, and what a team in another language deploys beside its
//! app. Its routes are in `api.rs`, its page to watch in `page.rs`, its options in `args/`, who may
//! ask in `access.rs`, what clients may do to their connections in `connection/`; its commands for
//! the shell are in `ask.rs`. Where there is no key, it asks a stand-in for Statsig that lives in the
//! same process (`upstream.rs`).

mod access;
mod args;
mod connection;
mod http;
mod listen;
mod machine;
mod output;
mod page;
mod query;
mod upstream;

use std::{env, io, process};

use actix_statsig::{ShutdownReport, Statsig};
use actix_web::{rt::System, web::Data};
use futures_util::future::{FutureExt, LocalBoxFuture};

use crate::{
    access::reload::{Hangup, Reloading},
    args::{Args, Task},
    http::{
        health::Probes,
        server::{Serving, Sources},
    },
    page::{Page, Recent},
    upstream::Upstream,
};

/// The exit code for what whoever starts the relay has to mend: options, environment, files, ports.
const MISUSE: u8 = 2;

fn main() -> ! {
    let args = Args::parse(env::args_os(), env::vars_os());
    let args = args.and_then(|args| machine::limits::raise_files().map(|()| args));
    let args = args.unwrap_or_else(|message| end(Err((MISUSE, message))));
    let system = System::new();
    end(system.block_on(run(&args)))
}

/// Ends the process. Nothing is dropped before: what that might wait for may never come.
fn end(ended: Result<u8, (u8, String)>) -> ! {
    let code = ended.unwrap_or_else(|(code, message)| {
        output::complain(message);
        code
    });
    output::flush();
    process::exit(code.into())
}

/// Does what it is told to; the exit code, with a line to say where something is wrong.
async fn run(args: &Args) -> Result<u8, (u8, String)> {
    match &args.task {
        Task::Serve => {
            let relay = start(args).map_err(|message| (MISUSE, message))?;
            relay.run().await.map(|()| 0).map_err(|error| (1, error.to_string()))
        }
        Task::Check(asked) => query::check(args, asked).await,
        Task::Config(asked) => query::config(args, asked).await,
    }
}

struct Relay {
    serving: LocalBoxFuture<'static, io::Result<ShutdownReport>>,
    upstream: Upstream,
}

/// Sets everything up; an error is one line that names the option or variable to mend.
fn start(args: &Args) -> Result<Relay, String> {
    let hangup = Hangup::catch()?;
    output::log_to_stderr(args, output::USUAL_WHILE_SERVING)?;
    output::log_panics();
    let serving = Serving::of(args)?;
    let upstream = Upstream::choose(args, output::say)?;
    let recent = Recent::default();
    let config = upstream.config(args, recent.hook())?;
    let page = Data::new(Page::new(upstream.name(&config), &config, recent));
    let timeout = config.timeout();
    let metrics = Data::new(http::prometheus::install()?);
    let statsig = Statsig::start(config).map_err(|error| args.blame(error))?;
    let probes = Data::new(Probes::default());
    Reloading::of(args, hangup, statsig.clone(), serving.keys()).start()?;
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

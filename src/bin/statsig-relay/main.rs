//! `statsig-relay`: serves the Statsig HTTP API, and asks Statsig in batches through the component.
//!
//! Run the relay to see the component work, or deploy it beside an app in any language.
//!
//! | module | responsibility |
//! |---|---|
//! | `args/` | the command line and the environment |
//! | `access/` | which callers have access; keys and their files |
//! | `listen/` | addresses and Unix sockets |
//! | `connection/` | limits on what clients may do with their connections |
//! | `http/` | the server, its routes, errors, log lines and metrics |
//! | `page/` | the live page |
//! | `output/` | stdout and the log |
//! | `machine/` | the process's limits, and the clock |
//! | `query` | the shell commands |
//! | `upstream` | Statsig, or a stand-in inside this process |

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
    access::reload::{KeyReloader, SighupListener},
    args::{Args, Command},
    http::{
        health::ReadinessProbe,
        prometheus,
        server::{AppState, RelayServer},
    },
    machine::limits,
    page::{Activity, Page},
    upstream::Upstream,
};

/// The exit code for errors that the operator must fix: in options, environment, files, or ports.
const MISUSE: u8 = 2;

fn main() -> ! {
    let args = Args::parse(env::args_os());
    let args = args.and_then(|args| limits::raise_file_limit().map(|()| args));
    let args = args.unwrap_or_else(|message| exit(Err((MISUSE, message))));
    let system = System::new();
    exit(system.block_on(run(&args)))
}

/// Ends the process without dropping anything, because a destructor might never return.
fn exit(result: Result<u8, (u8, String)>) -> ! {
    let code = result.unwrap_or_else(|(code, message)| {
        output::print_error(message);
        code
    });
    output::flush();
    process::exit(code.into())
}

/// Runs the command. Returns the exit code, with a message for stderr on failure.
async fn run(args: &Args) -> Result<u8, (u8, String)> {
    match &args.command {
        Command::Serve => {
            let relay = start(args).map_err(|message| (MISUSE, message))?;
            relay.run().await.map(|()| 0).map_err(|error| (1, error.to_string()))
        }
        Command::Check(query) => query::check(args, query).await,
        Command::Config(query) => query::config(args, query).await,
    }
}

struct Relay {
    serving: LocalBoxFuture<'static, io::Result<ShutdownReport>>,
    upstream: Upstream,
}

/// Starts everything. An error is one line that names the option or variable to fix.
fn start(args: &Args) -> Result<Relay, String> {
    let sighup = SighupListener::new()?;
    output::log_to_stderr(&args.logging, output::SERVING_FILTER)?;
    output::log_panics();
    let server = RelayServer::from_args(args)?;
    let upstream = Upstream::choose(&args.statsig, output::print_status)?;
    let activity = Activity::default();
    let config = upstream.config(&args.statsig, activity.error_hook())?;
    let page = Data::new(Page::new(upstream.name(&config), &config, activity));
    let timeout = config.timeout();
    let metrics = Data::new(prometheus::install()?);
    let statsig = Statsig::start(config);
    let statsig = statsig.map_err(|error| args.statsig.settings.explain(error))?;
    Page::start_sampling(Data::clone(&page), statsig.clone());
    let probe = Data::new(ReadinessProbe::default());
    KeyReloader::new(args, sighup, statsig.clone(), server.keys()).start()?;
    let state = AppState { statsig, probe, metrics, page };
    let serving = server.serve(state, timeout)?.boxed_local();
    for variable in &args.unknown_variables {
        tracing::warn!("{variable} is set, but there is no such setting: check its spelling");
    }
    Ok(Relay { serving, upstream })
}

impl Relay {
    async fn run(self) -> io::Result<()> {
        let Self { serving, upstream: _answers_until_then } = self;
        serving.await.map(drop)
    }
}

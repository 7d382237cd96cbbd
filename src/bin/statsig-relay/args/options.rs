//! The command line: the relay's own options and its commands.
//!
//! Every option has a variable, and a flag wins over it. Two values are secret and have no flag,
//! because every user of the machine can read a command line: [`API_KEY`] and [`CALLER_KEYS`].

use std::{ffi::OsStr, path::PathBuf, time::Duration};

use clap::{Args, CommandFactory, Parser, Subcommand};

use super::{
    settings::Settings,
    value::{Invalid, OptionValue, delay, duration, file_mode, number, option, path, switch, text},
};

/// The variable with the server secret key.
pub(crate) const API_KEY: &str = "STATSIG_API_KEY";

/// The variable with the keys of callers.
pub(crate) const CALLER_KEYS: &str = "STATSIG_RELAY_KEYS";

/// The most workers that actix-server accepts.
pub(crate) const MAX_WORKERS: usize = 512;

const MAX_CONNECTIONS: usize = 10_000_000;

const GIB: usize = 1024 * 1024 * 1024;

const AFTER_HELP: &str = "\
Environment:
  STATSIG_API_KEY     the server secret key; without a key, a stand-in for Statsig answers inside
                      this process
  STATSIG_RELAY_KEYS  keys of callers with access, separated by commas; keys from --keys-file are
                      accepted as well

Callers on this machine may ask, unless --trust-loopback is off. Callers from elsewhere need one of
those keys, in the header `statsig-api-key` or as `Authorization: Bearer KEY`. A flag wins over its
variable. Logs go to stderr. On invalid configuration the relay prints one line on stderr and exits
with 2.";

const AFTER_CHECK_HELP: &str = "\
Exit codes:
  0  the gate is open; with several gates, all of them are
  1  at least one gate is closed
  2  a mistake to fix: an option, a name, the user, the key, or stdout
  3  Statsig did not answer

Statsig logs an exposure for the user, unless you set --exposure-logging off. The options and
variables for logs and for calls to Statsig are the same as for serving: see statsig-relay --help.";

const AFTER_CONFIG_HELP: &str = "\
Exit codes:
  0  Statsig answered
  2  a mistake to fix: an option, the name, the user, the key, or stdout
  3  Statsig did not answer

Statsig logs an exposure for the user, unless you set --exposure-logging off. The options and
variables for logs and for calls to Statsig are the same as for serving: see statsig-relay --help.";

/// Serves the Statsig HTTP API and asks Statsig in batches. Without a command it serves; a command
/// asks once and exits.
#[derive(Debug, Parser)]
#[command(
    name = "statsig-relay",
    version,
    after_help = AFTER_HELP,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true,
    next_line_help = true
)]
pub(super) struct CommandLine {
    #[command(subcommand)]
    pub(super) command: Option<QueryCommand>,
    #[command(flatten)]
    pub(super) serving: ServingOptions,
    #[command(flatten)]
    pub(super) callers: CallerOptions,
    #[command(flatten)]
    pub(super) logging: LoggingOptions,
    #[command(flatten)]
    pub(super) statsig: StatsigOptions,
}

#[derive(Debug, Subcommand)]
pub(super) enum QueryCommand {
    /// Says whether gates are open for a user
    #[command(after_help = AFTER_CHECK_HELP)]
    Check {
        /// The gate; with several gates, each answer is a line that begins with the name
        #[arg(value_name = "GATE", num_args = 1.., required = true)]
        names: Vec<String>,
        #[command(flatten)]
        query: QueryOptions,
    },
    /// Prints the value of a dynamic config or experiment for a user, as JSON
    #[command(after_help = AFTER_CONFIG_HELP)]
    Config {
        /// The config; a config that Statsig does not know has the value {}
        #[arg(value_name = "NAME")]
        name: String,
        #[command(flatten)]
        query: QueryOptions,
    },
}

/// The options of both commands.
#[derive(Args, Debug)]
pub(super) struct QueryOptions {
    /// The user, like {"userID": "u1"}; - reads the user from stdin
    #[arg(long, value_name = "JSON")]
    pub(super) user: String,
    /// Print Statsig's whole answer, as JSON
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) logging: LoggingOptions,
    #[command(flatten)]
    pub(super) statsig: StatsigOptions,
}

/// Where and how the relay serves.
#[derive(Args, Debug)]
#[command(next_help_heading = "Serving")]
pub(crate) struct ServingOptions {
    /// Where to listen: ADDRESS:PORT (port 0 picks one), or unix:PATH for a Unix socket
    #[arg(long, env = "STATSIG_RELAY_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:8080", value_parser = option(text))]
    pub(crate) listen: OptionValue<String>,
    /// Permissions of the Unix socket, in octal
    #[arg(long, env = "STATSIG_RELAY_SOCKET_MODE", value_name = "MODE", default_value = "0600", value_parser = option(file_mode))]
    pub(crate) socket_mode: OptionValue<u32>,
    /// Threads that serve, 1 to 512; by default one for each core, but no more than connections
    #[arg(long, env = "STATSIG_RELAY_WORKERS", value_name = "NUMBER", value_parser = option(number(1..=MAX_WORKERS)))]
    pub(crate) workers: Option<OptionValue<usize>>,
    /// Open connections of the process, 1 to 10000000; more wait until one is closed
    #[arg(long, env = "STATSIG_RELAY_MAX_CONNECTIONS", value_name = "NUMBER", default_value = "10000", value_parser = option(number(1..=MAX_CONNECTIONS)))]
    pub(crate) max_connections: OptionValue<usize>,
    /// How long an idle connection is kept open
    #[arg(long, env = "STATSIG_RELAY_KEEP_ALIVE", value_name = "DURATION", default_value = "120s", value_parser = option(duration))]
    pub(crate) keep_alive: OptionValue<Duration>,
    /// The longest a client may take to send a request, or to read an answer
    #[arg(long, env = "STATSIG_RELAY_CLIENT_TIMEOUT", value_name = "DURATION", default_value = "15s", value_parser = option(duration))]
    pub(crate) client_timeout: OptionValue<Duration>,
    /// How long the relay keeps serving after SIGTERM, not ready, before it drains: for load
    /// balancers that are slow to notice
    #[arg(long, env = "STATSIG_RELAY_DRAIN_DELAY", value_name = "DURATION", default_value = "0", value_parser = option(delay))]
    pub(crate) drain_delay: OptionValue<Duration>,
    /// The largest body that the relay reads, 1 to 1073741824
    #[arg(long, env = "STATSIG_RELAY_MAX_BODY", value_name = "BYTES", default_value = "1048576", value_parser = option(number(1..=GIB)))]
    pub(crate) max_body: OptionValue<usize>,
    /// Bytes that unanswered requests may hold together, beyond 8 KiB each, 1 to 68719476736;
    /// answers that clients have not read may hold as many
    #[arg(long, env = "STATSIG_RELAY_MAX_INCOMING", value_name = "BYTES", default_value = "67108864", value_parser = option(number(1..=64 * GIB)))]
    pub(crate) max_incoming: OptionValue<usize>,
}

/// Which callers have access.
#[derive(Args, Debug)]
#[command(next_help_heading = "Access")]
pub(crate) struct CallerOptions {
    /// From [`CALLER_KEYS`].
    #[arg(skip)]
    pub(crate) keys: Option<OptionValue<String>>,
    /// Keys of callers with access, one per line; # begins a comment; read again when the file
    /// changes, and on SIGHUP
    #[arg(long, env = "STATSIG_RELAY_KEYS_FILE", value_name = "FILE", value_parser = option(path))]
    pub(crate) keys_file: Option<OptionValue<PathBuf>>,
    /// Let every caller that can reach the relay ask, without a key
    #[arg(
        long, env = "STATSIG_RELAY_ALLOW_ANYONE", value_name = "BOOL", default_value = "false", value_parser = option(switch),
        num_args = 0..=1, require_equals = true, default_missing_value = "true"
    )]
    pub(crate) allow_anyone: OptionValue<bool>,
    /// Let callers on this machine ask without a key
    #[arg(long, env = "STATSIG_RELAY_TRUST_LOOPBACK", value_name = "on|off", default_value = "on", value_parser = option(switch))]
    pub(crate) trust_loopback: OptionValue<bool>,
}

/// What is logged, and how.
#[derive(Args, Debug)]
#[command(next_help_heading = "Logging")]
pub(crate) struct LoggingOptions {
    /// A level, or levels by target: warn, or info,actix_statsig=debug; serving logs info; RUST_LOG
    /// counts if this is not set
    #[arg(long, env = "STATSIG_RELAY_LOG", value_name = "FILTER", value_parser = option(text))]
    pub(crate) log: Option<OptionValue<String>>,
    /// The format of the log: text or json
    #[arg(long, env = "STATSIG_RELAY_LOG_FORMAT", value_name = "FORMAT", default_value = "text", value_parser = option(log_format))]
    pub(crate) log_format: OptionValue<LogFormat>,
}

/// The format of the log.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// How to call Statsig.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "Calls to Statsig")]
pub(crate) struct StatsigOptions {
    /// File with the server secret key, in place of STATSIG_API_KEY; read again when the file
    /// changes, and on SIGHUP
    #[arg(long, env = "STATSIG_RELAY_API_KEY_FILE", value_name = "FILE", value_parser = option(path))]
    pub(crate) api_key_file: Option<OptionValue<PathBuf>>,
    /// Rules for the stand-in for Statsig that answers without a key
    #[arg(long, env = "STATSIG_RELAY_RULES", value_name = "FILE", value_parser = option(path))]
    pub(crate) rules: Option<OptionValue<PathBuf>>,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

fn log_format(format: &OsStr) -> Result<LogFormat, Invalid> {
    match text(format)?.as_str() {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("must be text or json".into()),
    }
}

/// Builds the command line's grammar. The help shows no variable's value, and the commands' help
/// omits the options that serving shares.
pub(super) fn command() -> clap::Command {
    let hide_values = |arg: clap::Arg| arg.hide_env_values(true).allow_hyphen_values(true);
    let hide_shared = move |arg: clap::Arg| {
        let is_shared = arg.get_env().is_some();
        arg.hide_env_values(true).allow_hyphen_values(is_shared).hide(is_shared)
    };
    CommandLine::command()
        .mut_args(hide_values)
        .mut_subcommands(|command| command.mut_args(hide_shared))
}

//! The command line and its help.

use clap::{Arg, ArgAction, Command, builder::ValueParser};

use super::options::{About, Opt};

/// What the environment has that the command line does not, and who may ask.
const AFTER: &str = "\
Environment:
  STATSIG_API_KEY     the server secret key; without one, a stand-in for Statsig answers
                      inside this process
  STATSIG_RELAY_KEYS  keys of callers who may ask, with commas between them; those of --keys-file
                      may ask as well

Callers on this machine may ask, unless --trust-loopback is off. Others need one of those keys, in
the header `statsig-api-key` or as `Authorization: Bearer KEY`. A flag wins over its variable. Logs
go to stderr. On invalid configuration the relay prints one line on stderr and exits with 2.";

const AFTER_CHECK: &str = "\
Exit codes:
  0  open; of several gates, all of them
  1  closed, at least one of them
  2  something to fix: an option, a name, the user, the key, stdout
  3  Statsig did not answer";

const AFTER_CONFIG: &str = "\
Exit codes:
  0  answered
  2  something to fix: an option, the name, the user, the key, stdout
  3  Statsig did not answer";

/// What holds for both commands that ask.
const AFTER_ASKING: &str = "\
Statsig logs an exposure for the user, unless it is told not to: --exposure-logging off.
How Statsig is asked, and what is logged, has the same options and variables as for serving: see
statsig-relay --help.";

pub(crate) fn command() -> Command {
    let headings = [About::Serving, About::Callers, About::Logging, About::Asking];
    let options = headings.map(|about| Opt::all().filter(move |opt| opt.about == about));
    Command::new("statsig-relay")
        .version(env!("CARGO_PKG_VERSION"))
        .about(
            "Serves the Statsig HTTP API and asks Statsig in batches. Without a command it \
             serves; a command asks once and exits.",
        )
        .after_help(AFTER)
        .args_conflicts_with_subcommands(true)
        .disable_help_subcommand(true)
        .next_line_help(true)
        .args(options.into_iter().flatten().filter_map(arg))
        .subcommand(check())
        .subcommand(config())
}

fn check() -> Command {
    let gates = Arg::new("names").value_name("GATE").num_args(1..).required(true);
    asking("check", "Says whether gates are open for a user")
        .arg(gates.help("The gate; of several, each is answered on a line, its name first"))
        .after_help(format!("{AFTER_CHECK}\n\n{AFTER_ASKING}"))
}

fn config() -> Command {
    let name = Arg::new("names").value_name("NAME").required(true);
    asking("config", "Prints the value of a dynamic config or experiment for a user, as JSON")
        .arg(name.help("The config; one that Statsig does not know has the value {}"))
        .after_help(format!("{AFTER_CONFIG}\n\n{AFTER_ASKING}"))
}

/// What the commands that ask have in common. The settings are not said again.
fn asking(name: &'static str, about: &'static str) -> Command {
    let user = Arg::new("user").long("user").value_name("JSON").required(true);
    let json = Arg::new("json").long("json").action(ArgAction::SetTrue);
    let options = Opt::all().filter(|opt| matches!(opt.about, About::Logging | About::Asking));
    Command::new(name)
        .about(about)
        .arg(user.help("The user, like {\"userID\": \"u1\"}; - reads it from stdin"))
        .arg(json.help("Print all that Statsig said, as JSON"))
        .args(options.filter_map(arg).map(|arg| arg.hide(true)))
}

fn arg(opt: Opt) -> Option<Arg> {
    let bounds = opt.bounds.as_ref().map(|of| format!("{} to {}", of.start(), of.end()));
    let default = opt.default.as_ref().map(|text| format!("default: {text}"));
    let variables = format!("env: {}", opt.variables().join(" or "));
    let facts: Vec<_> = bounds.into_iter().chain(default).chain([variables]).collect();
    let (first, rest) = opt.meaning.split_at(1);
    let help = format!("{}{rest} [{}]", first.to_uppercase(), facts.join(", "));
    let arg = Arg::new(opt.name)
        .long(opt.flag()?)
        .value_name(opt.value)
        .value_parser(ValueParser::os_string())
        .allow_hyphen_values(true)
        .help_heading(heading(opt.about))
        .help(help);
    Some(if opt.value == "BOOL" {
        // May be given alone, as a switch.
        arg.num_args(0..=1).require_equals(true).default_missing_value("true")
    } else {
        arg
    })
}

fn heading(about: About) -> &'static str {
    match about {
        About::Serving => "Serving",
        About::Callers => "Who may ask",
        About::Logging => "Logging",
        About::Asking => "Asking Statsig",
    }
}

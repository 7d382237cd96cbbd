//! Reads the command line and the environment.

mod options;
mod settings;
mod value;
mod variables;

use std::{env, ffi::OsString};

use clap::FromArgMatches;

use self::{
    options::{API_KEY, CALLER_KEYS, CommandLine, QueryCommand},
    value::text,
};
pub(crate) use self::{
    options::{
        CallerOptions, LogFormat, LoggingOptions, MAX_WORKERS, ServingOptions, StatsigOptions,
    },
    settings::SettingName,
    value::OptionValue,
};

/// The variable that many programs use for their log filter.
const USUAL_LOG: &str = "RUST_LOG";

/// The parsed command line and environment.
#[derive(Debug)]
pub(crate) struct Args {
    pub(crate) command: Command,
    pub(crate) serving: ServingOptions,
    pub(crate) callers: CallerOptions,
    pub(crate) logging: LoggingOptions,
    pub(crate) statsig: StatsigOptions,
    /// Variables that look like options but are not.
    pub(crate) unknown_variables: Vec<String>,
}

/// What to do.
#[derive(Debug, PartialEq)]
pub(crate) enum Command {
    Serve,
    Check(Query),
    Config(Query),
}

/// The question that a command asks Statsig.
#[derive(Debug, PartialEq)]
pub(crate) struct Query {
    pub(crate) names: Vec<String>,
    /// The argument of `--user`: JSON, or `-` for stdin.
    pub(crate) user: String,
    /// Whether to print the whole answer.
    pub(crate) json: bool,
}

impl Args {
    /// Reads the command line and the process's environment; an error is one line.
    ///
    /// On `--help` and `--version`, prints the text and ends the process.
    pub(crate) fn parse(line: impl IntoIterator<Item = OsString>) -> Result<Self, String> {
        let grammar = options::command();
        let unknown_variables = variables::unknown(&grammar, env::vars_os());
        let matches = grammar.try_get_matches_from(line);
        let line = matches.and_then(|matches| CommandLine::from_arg_matches(&matches));
        let line = line.map_err(|error| {
            if error.use_stderr() { first_paragraph(&error.to_string()) } else { error.exit() }
        })?;
        let mut args = Self::new(line, unknown_variables);
        args.read_variables();
        args.statsig.read_key_file()?;
        Ok(args)
    }

    /// A command has its own logging and Statsig options, in place of the serving ones.
    fn new(line: CommandLine, unknown_variables: Vec<String>) -> Self {
        let CommandLine { command, serving, callers, logging, statsig } = line;
        let (command, logging, statsig) = match command {
            None => (Command::Serve, logging, statsig),
            Some(QueryCommand::Check { names, query }) => {
                let check = Query { names, user: query.user, json: query.json };
                (Command::Check(check), query.logging, query.statsig)
            }
            Some(QueryCommand::Config { name, query }) => {
                let config = Query { names: vec![name], user: query.user, json: query.json };
                (Command::Config(config), query.logging, query.statsig)
            }
        };
        Self { command, serving, callers, logging, statsig, unknown_variables }
    }

    /// Reads the variables that clap does not: secrets, which have no flag, and the second variable
    /// of `--log`.
    fn read_variables(&mut self) {
        let read =
            |variable| env::var_os(variable).map(|value| OptionValue::parse(value, variable, text));
        self.callers.keys = read(CALLER_KEYS);
        if let Some(key) = read(API_KEY) {
            self.statsig.settings.set_api_key(key);
        }
        if self.logging.log.is_none() {
            self.logging.log = read(USUAL_LOG).filter(|filter| filter.get() != Ok(String::new()));
        }
    }
}

impl StatsigOptions {
    /// Returns the API key, with the variable or flag that set it.
    pub(crate) fn api_key(&self) -> Option<&OptionValue<String>> {
        self.settings.get(SettingName::API_KEY)
    }

    /// Reads the API key from its file.
    fn read_key_file(&mut self) -> Result<(), String> {
        let Some(file) = &self.api_key_file else { return Ok(()) };
        if let Some(key) = self.api_key() {
            let (key, file) = (key.origin(), file.origin());
            return Err(format!("{key} and {file} both give the key: leave one out"));
        }
        let key = file.read_file()?.trim_end().to_owned();
        self.settings.set_api_key(OptionValue::parse(key.into(), file.origin(), text));
        Ok(())
    }
}

/// Returns the first paragraph of clap's message as one line. That paragraph says what is wrong;
/// the rest is usage help.
fn first_paragraph(message: &str) -> String {
    let lines = message.lines().take_while(|line| !line.is_empty()).map(str::trim);
    let text = lines.collect::<Vec<_>>().join(" ");
    text.strip_prefix("error: ").map(str::to_owned).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &[&str]) -> Result<Args, String> {
        Args::parse([&["statsig-relay"], line].concat().into_iter().map(OsString::from))
    }

    #[test]
    fn each_public_option_has_help_with_default_and_variable() {
        let mut grammar = options::command();
        let help = grammar.render_help().to_string();
        for arg in grammar.get_arguments().filter(|arg| arg.get_env().is_some()) {
            let flag = format!("--{}", arg.get_long().unwrap());
            assert!(help.contains(&flag), "{flag}: {help}");
            let variable = arg.get_env().unwrap().to_str().unwrap();
            assert!(variable.starts_with("STATSIG_"), "{variable}");
            assert!(help.contains(&format!("[env: {variable}]")), "{variable}: {help}");
            assert!(arg.is_hide_env_values_set(), "{variable}");
        }
        assert!(help.contains("[env: STATSIG_FLUSH_INTERVAL] [default: 5ms]"), "{help}");
        assert!(!help.contains("--api-key ") && !help.contains("--keys "), "{help}");
        assert!(help.contains(API_KEY) && help.contains(CALLER_KEYS), "{help}");
        for heading in ["Serving:", "Access:", "Logging:", "Calls to Statsig:", "Environment:"] {
            assert!(help.contains(&format!("\n{heading}\n")), "{heading} {help}");
        }
    }

    #[test]
    fn commands_take_client_options_and_no_server_options() {
        let line = ["check", "beta", "new_checkout", "--user", "-", "--json", "--upstream", "here"];
        let args = parse(&line).unwrap();
        let names = vec!["beta".to_owned(), "new_checkout".to_owned()];
        assert_eq!(args.command, Command::Check(Query { names, user: "-".to_owned(), json: true }));
        let upstream = args.statsig.settings.get(SettingName::BASE_URL).unwrap();
        assert_eq!((upstream.origin(), upstream.get()), ("--upstream", Ok("here".to_owned())));

        for (line, message) in [
            (&["check", "beta", "--listen", "[::]:1"][..], "unexpected argument '--listen' found"),
            (
                &["--timeout", "1s", "check", "beta"],
                "the subcommand 'check' cannot be used with '--timeout <VALUE>'",
            ),
            (
                &["check", "beta"],
                "the following required arguments were not provided: --user <JSON>",
            ),
            (&["chekc"], "unrecognized subcommand 'chekc'"),
        ] {
            assert_eq!(parse(line).unwrap_err(), message);
        }
    }

    #[test]
    fn help_states_the_enforced_bounds() {
        let help = options::command().render_help().to_string();
        type Number = fn(&ServingOptions) -> Option<&OptionValue<usize>>;
        let numbers: [(&str, Number); 4] = [
            ("workers", |options| options.workers.as_ref()),
            ("max-connections", |options| Some(&options.max_connections)),
            ("max-body", |options| Some(&options.max_body)),
            ("max-incoming", |options| Some(&options.max_incoming)),
        ];
        for (flag, option) in numbers {
            let text = help.split(&format!("--{flag} ")).nth(1).unwrap();
            let (_, bounds) = text.split('[').next().unwrap().split_once("1 to ").unwrap();
            let max = bounds.split(|c: char| !c.is_ascii_digit()).next().unwrap();
            let max: usize = max.parse().unwrap();
            let number = |number: usize| {
                let args = parse(&[&format!("--{flag}"), &number.to_string()]).unwrap();
                option(&args.serving).unwrap().get()
            };
            assert_eq!((number(1), number(max)), (Ok(1), Ok(max)));
            for beyond in [0, max + 1] {
                assert!(number(beyond).unwrap_err().contains(&format!("from 1 to {max}")));
            }
        }
    }
}

//! The options: a flag for each setting of the component, and the environment where there is none.

use std::{collections::BTreeMap, ffi::OsString, path::PathBuf};

use actix_statsig::{Config, Error};
use clap::{Arg, ArgMatches, Command, builder::ValueParser, value_parser};

/// What the relay was started with.
#[derive(Debug)]
pub(crate) struct Args {
    /// Where to listen, as it was given.
    pub(crate) listen: String,
    /// The file of rules for the stand-in.
    pub(crate) rules: Option<PathBuf>,
    /// The component's settings that were given, by name.
    settings: BTreeMap<&'static str, Given>,
}

/// A setting's text, and the flag or variable it came from. Not `Debug`-able by accident: one of
/// them is the key.
struct Given {
    text: String,
    by: String,
}

impl std::fmt::Debug for Given {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.by)
    }
}

impl Args {
    /// Reads the command line, and the environment for the settings it does not give.
    ///
    /// Ends the process where `--help` or `--version` is asked for.
    pub(crate) fn parse(
        line: impl IntoIterator<Item = OsString>,
        variable: impl Fn(String) -> Option<OsString>,
    ) -> Result<Self, String> {
        let mut matches = command().try_get_matches_from(line).map_err(|error| {
            if error.use_stderr() { first_line(&error.to_string()) } else { error.exit() }
        })?;
        let mut settings = BTreeMap::new();
        for (setting, _) in Config::SETTINGS {
            if let Some(given) = flag_of(setting, &mut matches) {
                settings.insert(setting, given);
            } else if let Some(given) = variable_of(setting, &variable)? {
                settings.insert(setting, given);
            }
        }
        Ok(Self {
            listen: matches.remove_one("listen").unwrap_or_default(),
            rules: matches.remove_one("rules"),
            settings,
        })
    }

    /// The flag or variable that gave this setting, if one did.
    pub(crate) fn given(&self, setting: &str) -> Option<&str> {
        self.settings.get(setting).map(|given| given.by.as_str())
    }

    /// The component's configuration: these settings over what is given, over the defaults.
    /// Errors are told to this hook.
    pub(crate) fn config(
        &self,
        over: &[(&str, &str)],
        on_error: impl Fn(&Error) + Send + Sync + 'static,
    ) -> Result<Config, String> {
        let mut builder = Config::builder("");
        for (setting, given) in &self.settings {
            builder = builder.set(setting, &given.text).map_err(|error| self.blame(error))?;
        }
        for (setting, text) in over {
            builder = builder.set(setting, text).map_err(|error| self.blame(error))?;
        }
        builder.on_error(on_error).build().map_err(|error| self.blame(error))
    }

    /// Says it with the flag's or variable's name, which is what there is to mend.
    fn blame(&self, error: Error) -> String {
        match error {
            Error::InvalidConfig { setting, value, rule } => {
                let flag = format!("--{}", flag_name(setting));
                let by = self.given(setting).unwrap_or(&flag);
                format!("{by} cannot be {value}: {rule}")
            }
            other => other.to_string(),
        }
    }
}

fn command() -> Command {
    let listen = Arg::new("listen")
        .long("listen")
        .value_name("ADDR")
        .default_value("127.0.0.1:8080")
        .help("Where to listen; port 0 picks one");
    let rules = Arg::new("rules")
        .long("rules")
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .help("Rules for the stand-in for Statsig that answers where there is no key");
    let settings = Config::SETTINGS.into_iter().filter(|(setting, _)| *setting != KEY);
    Command::new("statsig-relay")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Answers the Statsig HTTP API, and asks Statsig in batches")
        .after_help(
            "The key comes from STATSIG_API_KEY alone. Without one, a stand-in for Statsig answers \
             inside this process.\nLogs go to stderr; RUST_LOG chooses which.",
        )
        .arg(listen)
        .arg(rules)
        .args(settings.map(|(setting, meaning)| setting_arg(setting, meaning)))
}

fn setting_arg(setting: &'static str, meaning: &'static str) -> Arg {
    let default = Config::new("-").ok().and_then(|config| config.text(setting));
    let default = default.map(|text| format!("default: {text}, ")).unwrap_or_default();
    Arg::new(setting)
        .long(flag_name(setting))
        .value_name("VALUE")
        .value_parser(ValueParser::string())
        .allow_hyphen_values(true)
        .help(format!(
            "{}{} [{default}env: {}]",
            meaning[..1].to_uppercase(),
            &meaning[1..],
            variable_name(setting)
        ))
}

fn flag_of(setting: &str, matches: &mut ArgMatches) -> Option<Given> {
    let text = matches.try_remove_one(setting).ok().flatten()?;
    Some(Given { text, by: format!("--{}", flag_name(setting)) })
}

fn variable_of(
    setting: &str,
    variable: impl Fn(String) -> Option<OsString>,
) -> Result<Option<Given>, String> {
    let by = variable_name(setting);
    match variable(by.clone()).map(OsString::into_string) {
        None => Ok(None),
        Some(Ok(text)) => Ok(Some(Given { text, by })),
        Some(Err(_)) => Err(format!("{by} must be UTF-8")),
    }
}

/// The setting that has no flag: a command line is there for every user of the machine to read.
const KEY: &str = "api_key";

fn flag_name(setting: &str) -> String {
    match setting {
        "base_url" => "upstream".to_owned(),
        _ => setting.replace('_', "-"),
    }
}

fn variable_name(setting: &str) -> String {
    format!("STATSIG_{}", setting.to_ascii_uppercase())
}

/// clap says what is wrong on the first line, and how to use the program on those below.
fn first_line(error: &str) -> String {
    let line = error.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &[&str], variables: &[(&str, &str)]) -> Result<Args, String> {
        let line = [&["statsig-relay"], line].concat();
        Args::parse(line.into_iter().map(OsString::from), |name| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, text)| OsString::from(text))
        })
    }

    fn config(line: &[&str], variables: &[(&str, &str)]) -> Result<Config, String> {
        parse(line, variables)?.config(&[(KEY, "secret-key")], |_| {})
    }

    #[test]
    fn each_setting_but_the_key_has_a_flag_whose_help_says_default_and_variable() {
        let help = command().render_long_help().to_string();
        for (setting, _) in Config::SETTINGS.into_iter().filter(|(setting, _)| *setting != KEY) {
            assert!(help.contains(&format!("--{} ", flag_name(setting))), "{setting}: {help}");
            assert!(help.contains(&variable_name(setting)), "{setting}: {help}");
        }
        assert!(help.contains("[default: 5ms, env: STATSIG_FLUSH_INTERVAL]"), "{help}");
        assert!(!help.contains("--api-key"), "{help}");
    }

    #[test]
    fn a_flag_wins_over_its_variable_and_a_variable_over_the_default() {
        let variables = [("STATSIG_BATCH_SIZE", "7"), ("STATSIG_MAX_PENDING", "8")];

        let config = config(&["--batch-size", "9"], &variables).unwrap();

        assert_eq!((config.batch_size(), config.max_pending()), (9, 8));
        assert_eq!(config.retry_attempts(), 3);
    }

    #[test]
    fn a_refusal_is_one_line_that_names_the_flag_or_the_variable() {
        for (line, variables, message) in [
            (
                &["--batch-size", "0"][..],
                &[][..],
                "--batch-size cannot be 0: must be from 1 to 100",
            ),
            (&["--batch-size", "-1"], &[], "--batch-size cannot be \"-1\": must be a whole number"),
            (
                &[],
                &[("STATSIG_BATCH_SIZE", "ten")],
                "STATSIG_BATCH_SIZE cannot be \"ten\": must be a whole number",
            ),
            (
                &["--upstream", "ftp://a"],
                &[],
                "--upstream cannot be \"ftp://a\": must begin with https:// or http://",
            ),
            (
                &["--timeout", "4ms"],
                &[],
                "--flush-interval cannot be 5ms: must be less than `timeout`, 4ms",
            ),
            (&["--api-key=hunter2"], &[], "unexpected argument '--api-key' found"),
        ] {
            assert_eq!(config(line, variables).unwrap_err(), message);
        }
    }
}
